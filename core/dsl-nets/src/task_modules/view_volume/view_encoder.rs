//! Features of each noised view.

use burn::module::Module;
use burn::tensor::Tensor;

use super::{Condition, NORM_EPS, RowEmbedding, RowEmbeddingShape, groups};
use crate::layers::{Conv2d, GroupNorm};
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// Convolution, three residual blocks, norm, SiLU, convolution.
#[derive(Module, Debug)]
pub struct ViewEncoder {
    /// 3×3.
    pub conv_in: Conv2d,
    /// Three.
    pub blocks: Vec<ViewResnetBlock>,
    /// Before the last convolution.
    pub norm_out: GroupNorm,
    /// 3×3.
    pub conv_out: Conv2d,
}

impl_for_each_linear!(ViewEncoder {
    conv_in,
    blocks,
    conv_out
});

impl ViewEncoder {
    /// Whatever the network, the reference has this many.
    pub(super) const FEATURES: usize = 16;
    const BLOCKS: usize = 3;

    pub(super) fn new(
        init: &ParameterInit,
        channels_in: usize,
        embedding: RowEmbeddingShape,
    ) -> Self {
        let blocks = init.at("blocks");
        let features = Self::FEATURES;
        Self {
            conv_in: Conv2d::new(&init.at("conv_in"), [channels_in, features], 3, 1, 1),
            blocks: (0..Self::BLOCKS)
                .map(|i| ViewResnetBlock::new(&blocks.at(i), features, embedding))
                .collect(),
            norm_out: GroupNorm::new(&init.at("norm_out"), groups(features), features, NORM_EPS),
            conv_out: Conv2d::new(&init.at("conv_out"), [features; 2], 3, 1, 1),
        }
    }

    /// # Shapes
    /// - `x_t`: `[rows, channels, height, width]`; result: `[rows, 16, height, width]`
    pub(super) fn forward(&self, x_t: Tensor<4>, condition: &Condition) -> Tensor<4> {
        let mut x = self.conv_in.forward(x_t);
        for block in &self.blocks {
            x = block.forward(x, condition);
        }
        self.conv_out.forward(self.norm_out.forward_silu(x))
    }
}

/// `x + conv_2(silu(norm_2(conv_1(silu(norm_1(x + embedding))))))`.
#[derive(Module, Debug)]
pub struct ViewResnetBlock {
    /// Of timestep and camera.
    pub embedding: RowEmbedding,
    /// Before `conv_1`.
    pub norm_1: GroupNorm,
    /// 3×3.
    pub conv_1: Conv2d,
    /// Before `conv_2`.
    pub norm_2: GroupNorm,
    /// 3×3.
    pub conv_2: Conv2d,
}

impl_for_each_linear!(ViewResnetBlock {
    embedding,
    conv_1,
    conv_2
});

impl ViewResnetBlock {
    fn new(init: &ParameterInit, features: usize, embedding: RowEmbeddingShape) -> Self {
        let norm =
            |name: &str| GroupNorm::new(&init.at(name), groups(features), features, NORM_EPS);
        let conv = |name: &str| Conv2d::new(&init.at(name), [features; 2], 3, 1, 1);
        Self {
            embedding: RowEmbedding::new(&init.at("embedding"), embedding, features),
            norm_1: norm("norm_1"),
            conv_1: conv("conv_1"),
            norm_2: norm("norm_2"),
            conv_2: conv("conv_2"),
        }
    }

    fn forward(&self, x: Tensor<4>, condition: &Condition) -> Tensor<4> {
        let embedding = self.embedding.forward(condition);
        let [batch, features] = embedding.dims();
        let hidden = x.clone() + embedding.reshape([batch, features, 1, 1]);
        let hidden = self.conv_1.forward(self.norm_1.forward_silu(hidden));
        x + self.conv_2.forward(self.norm_2.forward_silu(hidden))
    }
}
