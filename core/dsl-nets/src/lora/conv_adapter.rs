//! The adapter of a convolution.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use super::adapter::{LoraConfig, LoraInit, drop_inputs};
use crate::parameter_init::ParameterInit;

/// A convolution to `rank` channels of the layer's own kernel, stride and padding, and a 1×1 convolution from there: what
/// PEFT attaches to a `Conv2d`.
#[derive(Module, Debug)]
pub struct ConvLoraAdapter {
    /// A, `[rank, channels_in, kernel, kernel]`.
    pub lora_a: Param<Tensor<4>>,
    /// B, `[channels_out, rank, 1, 1]`.
    pub lora_b: Param<Tensor<4>>,
    #[module(skip)]
    pub(crate) scale: f64,
    #[module(skip)]
    pub(crate) dropout: f64,
    #[module(skip)]
    pub(crate) stride: usize,
    #[module(skip)]
    pub(crate) padding: usize,
}

impl ConvLoraAdapter {
    /// An adapter of a convolution with a weight of shape `[channels_out, channels_in, kernel, kernel]`.
    pub(super) fn new(
        init: &ParameterInit,
        config: &LoraConfig,
        [channels_out, channels_in, height, width]: [usize; 4],
        stride: usize,
        padding: usize,
    ) -> Self {
        let shape = [config.rank, channels_in, height, width];
        let fan_in = channels_in * height * width;
        let lora_a = match config.init {
            LoraInit::KaimingUniform => init.uniform("lora_a", shape, (fan_in as f64).powf(-0.5)),
            LoraInit::Gaussian => init.normal("lora_a", shape, 1.0 / config.rank as f64),
        };
        Self {
            lora_a,
            lora_b: init.constant("lora_b", [channels_out, config.rank, 1, 1], 0.0),
            scale: config.alpha / config.rank as f64,
            dropout: config.dropout,
            stride,
            padding,
        }
    }

    /// `alpha / rank`.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// # Shapes
    /// - `x`: `[batch, channels_in, height, width]`; result: as of the layer
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = drop_inputs(x, self.dropout);
        let down = kernels::conv2d(x, self.lora_a.val(), None, self.stride, self.padding);
        let up = kernels::conv2d(down, self.lora_b.val(), None, 1, 0);
        if self.scale == 1.0 {
            up
        } else {
            up * self.scale
        }
    }

    /// What the adapter adds to the layer's weight, `[channels_out, channels_in, kernel, kernel]`.
    pub fn delta(&self) -> Tensor<4> {
        let [rank, channels_in, height, width] = self.lora_a.dims();
        let channels_out = self.lora_b.dims()[0];
        let a = self
            .lora_a
            .val()
            .reshape([rank, channels_in * height * width]);
        let b = self.lora_b.val().reshape([channels_out, rank]);
        b.matmul(a)
            .mul_scalar(self.scale)
            .reshape([channels_out, channels_in, height, width])
    }
}
