//! The layers that hold parameters: fields are named as in weight files, values come from [`ParameterInit`].
//!
//! Fresh values follow PyTorch's defaults: linear and convolution weights and biases U(±1/√fan_in), norms 1 and 0.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, module};
use dsl_kernels as kernels;

use crate::lora::{ConvLoraAdapter, LoraAdapter};
use crate::parameter_init::ParameterInit;

/// `y = x W + b`, plus a low-rank adapter where one is attached.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[d_input, d_output]`; weight files hold the transpose.
    pub weight: Param<Tensor<2>>,
    /// `[d_output]`.
    pub bias: Option<Param<Tensor<1>>>,
    /// The low-rank adapter on the activation path.
    pub lora: Option<LoraAdapter>,
    /// A frozen adapter below the one that trains: what the base had already learned.
    pub base_lora: Option<LoraAdapter>,
}

impl Linear {
    /// A layer with a bias.
    pub fn new(init: &ParameterInit, d_input: usize, d_output: usize) -> Self {
        let bound = (d_input as f64).powf(-0.5);
        Self {
            bias: Some(init.uniform("bias", [d_output], bound)),
            ..Self::without_bias(init, d_input, d_output)
        }
    }

    /// A layer without a bias.
    pub fn without_bias(init: &ParameterInit, d_input: usize, d_output: usize) -> Self {
        let bound = (d_input as f64).powf(-0.5);
        Self {
            weight: init.uniform("weight", [d_input, d_output], bound),
            bias: None,
            lora: None,
            base_lora: None,
        }
    }

    /// A layer with a bias whose output starts at zero.
    pub fn zeros(init: &ParameterInit, d_input: usize, d_output: usize) -> Self {
        Self {
            weight: init.constant("weight", [d_input, d_output], 0.0),
            bias: Some(init.constant("bias", [d_output], 0.0)),
            lora: None,
            base_lora: None,
        }
    }

    /// # Shapes
    /// - `x`: `[.., d_input]`; result: `[.., d_output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut y = kernels::linear(x.clone(), self.weight.val(), self.bias());
        for adapter in self.base_lora.iter().chain(&self.lora) {
            y = kernels::add(y, adapter.forward(x.clone()));
        }
        y
    }

    /// # Shapes
    /// - `x`: `[batch, d_input, height, width]`; result: `[batch, height * width, d_output]`
    pub fn forward_from_pixels(&self, x: Tensor<4>) -> Tensor<3> {
        let mut y = kernels::linear_from_pixels(x.clone(), self.weight.val(), self.bias());
        for adapter in self.base_lora.iter().chain(&self.lora) {
            y = kernels::add(y, adapter.forward_from_pixels(x.clone()));
        }
        y
    }

    /// # Shapes
    /// - `tokens`: `[batch, size[0] * size[1], d_input]`; result: `[batch, d_output, size[0], size[1]]`
    pub fn forward_to_pixels(&self, tokens: Tensor<3>, size: [usize; 2]) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias());
        let mut y = kernels::linear_to_pixels(tokens.clone(), weight, bias, size);
        for adapter in self.base_lora.iter().chain(&self.lora) {
            y = kernels::add(y, adapter.forward_to_pixels(tokens.clone(), size));
        }
        y
    }

    fn bias(&self) -> Option<Tensor<1>> {
        self.bias.as_ref().map(Param::val)
    }
}

/// A convolution with a square kernel, plus a low-rank adapter where one is attached.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[channels_out, channels_in, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[channels_out]`.
    pub bias: Param<Tensor<1>>,
    /// The low-rank adapter on the activation path.
    pub lora: Option<ConvLoraAdapter>,
    /// A frozen adapter below the one that trains: what the base had already learned.
    pub base_lora: Option<ConvLoraAdapter>,
    #[module(skip)]
    pub(crate) stride: usize,
    #[module(skip)]
    pub(crate) padding: usize,
}

impl Conv2d {
    /// A convolution of `kernel` × `kernel` elements.
    pub fn new(
        init: &ParameterInit,
        [channels_in, channels_out]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        let bound = ((channels_in * kernel * kernel) as f64).powf(-0.5);
        Self {
            weight: init.uniform("weight", [channels_out, channels_in, kernel, kernel], bound),
            bias: init.uniform("bias", [channels_out], bound),
            lora: None,
            base_lora: None,
            stride,
            padding,
        }
    }

    /// As [`Self::new`], with output that starts at zero.
    pub fn zeros(
        init: &ParameterInit,
        [channels_in, channels_out]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        Self {
            weight: init.constant("weight", [channels_out, channels_in, kernel, kernel], 0.0),
            bias: init.constant("bias", [channels_out], 0.0),
            lora: None,
            base_lora: None,
            stride,
            padding,
        }
    }

    /// The same convolution with `further` input channels behind its own, whose weights are zero: it computes what it did.
    /// Fresh values of the others are those of the convolution without them.
    pub(crate) fn with_zero_inputs(self, init: &ParameterInit, further: usize) -> Self {
        if further == 0 {
            return self;
        }
        let [channels_out, channels_in, kernel, _] = self.weight.lazy_shape().dims();
        let bound = ((channels_in * kernel * kernel) as f64).powf(-0.5);
        let shape = [channels_out, channels_in + further, kernel, kernel];
        Self {
            weight: init.uniform_then_zeros("weight", shape, bound, channels_in),
            ..self
        }
    }

    /// # Shapes
    /// - `x`: `[batch, channels_in, height, width]`; result: `[batch, channels_out, ..]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = kernels::conv2d(
            x.clone(),
            self.weight.val(),
            Some(self.bias.val()),
            self.stride,
            self.padding,
        );
        for adapter in self.base_lora.iter().chain(&self.lora) {
            y = kernels::add(y, adapter.forward(x.clone()));
        }
        y
    }

    /// The convolution of the picture at twice the size, by repeated elements; for 3×3 kernels that keep the size.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels_in, height, width]`; result: `[batch, channels_out, 2 height, 2 width]`
    pub(crate) fn forward_doubled(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = kernels::upsample_conv2d(x.clone(), self.weight.val(), Some(self.bias.val()));
        let mut adapters = self.base_lora.iter().chain(&self.lora).peekable();
        if adapters.peek().is_some() {
            let [_, _, height, width] = x.dims();
            let x = kernels::interpolate_nearest(x, [2 * height, 2 * width]);
            for adapter in adapters {
                y = kernels::add(y, adapter.forward(x.clone()));
            }
        }
        y
    }
}

/// A 1×1 convolution, which over tokens is a matrix product; plus a low-rank adapter where one is attached.
#[derive(Module, Debug)]
pub struct PointwiseConv {
    /// `[channels_out, channels_in, 1, 1]`.
    pub weight: Param<Tensor<4>>,
    /// `[channels_out]`.
    pub bias: Param<Tensor<1>>,
    /// The low-rank adapter on the activation path: that of a linear layer, for either form of the input.
    pub lora: Option<LoraAdapter>,
    /// A frozen adapter below the one that trains: what the base had already learned.
    pub base_lora: Option<LoraAdapter>,
}

impl PointwiseConv {
    /// A 1×1 convolution with a bias.
    pub fn new(init: &ParameterInit, channels_in: usize, channels_out: usize) -> Self {
        let bound = (channels_in as f64).powf(-0.5);
        Self {
            weight: init.uniform("weight", [channels_out, channels_in, 1, 1], bound),
            bias: init.uniform("bias", [channels_out], bound),
            lora: None,
            base_lora: None,
        }
    }

    /// # Shapes
    /// - `x`: `[batch, channels_in, height, width]`; result: `[batch, height * width, channels_out]`
    pub fn forward_from_pixels(&self, x: Tensor<4>) -> Tensor<3> {
        let bias = Some(self.bias.val());
        let mut y = kernels::linear_from_pixels(x.clone(), self.matrix(), bias);
        for adapter in self.base_lora.iter().chain(&self.lora) {
            y = kernels::add(y, adapter.forward_from_pixels(x.clone()));
        }
        y
    }

    /// # Shapes
    /// - `tokens`: `[batch, size[0] * size[1], channels_in]`; result: `[batch, channels_out, size[0], size[1]]`
    pub fn forward_to_pixels(&self, tokens: Tensor<3>, size: [usize; 2]) -> Tensor<4> {
        let bias = Some(self.bias.val());
        let mut y = kernels::linear_to_pixels(tokens.clone(), self.matrix(), bias, size);
        for adapter in self.base_lora.iter().chain(&self.lora) {
            y = kernels::add(y, adapter.forward_to_pixels(tokens.clone(), size));
        }
        y
    }

    /// The weight of the linear layer over tokens, `[channels_in, channels_out]`.
    fn matrix(&self) -> Tensor<2> {
        let [channels_out, channels_in, _, _] = self.weight.dims();
        self.weight
            .val()
            .reshape([channels_out, channels_in])
            .transpose()
    }

    /// # Shapes
    /// - `x`: `[batch, channels_in, height, width]`; result: `[batch, channels_out, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = kernels::conv2d(x.clone(), self.weight.val(), Some(self.bias.val()), 1, 0);
        for adapter in self.base_lora.iter().chain(&self.lora) {
            y = kernels::add(y, adapter.forward_pixels(x.clone()));
        }
        y
    }
}

/// Group normalisation, see [`kernels::group_norm`].
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `[channels]`.
    pub weight: Param<Tensor<1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    norm_eps: f64,
}

impl GroupNorm {
    /// `channels` must be a multiple of `groups`.
    pub fn new(init: &ParameterInit, groups: usize, channels: usize, norm_eps: f64) -> Self {
        Self {
            weight: init.constant("weight", [channels], 1.0),
            bias: init.constant("bias", [channels], 0.0),
            groups,
            norm_eps,
        }
    }

    /// # Shapes
    /// - `x`, result: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        kernels::group_norm(x, self.groups, weight, bias, self.norm_eps)
    }

    /// The norm, then SiLU.
    ///
    /// # Shapes
    /// - as [`Self::forward`]
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        kernels::group_norm_silu(x, self.groups, weight, bias, self.norm_eps)
    }
}

/// Layer normalisation over the last axis, see [`kernels::layer_norm`].
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[features]`.
    pub weight: Param<Tensor<1>>,
    /// `[features]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    norm_eps: f64,
}

impl LayerNorm {
    /// PyTorch's default for `nn.LayerNorm`.
    const NORM_EPS: f64 = 1e-5;

    /// A norm over `features` elements.
    pub fn new(init: &ParameterInit, features: usize) -> Self {
        Self::with_eps(init, features, Self::NORM_EPS)
    }

    /// As [`Self::new`], with `norm_eps` added to the variance.
    pub fn with_eps(init: &ParameterInit, features: usize, norm_eps: f64) -> Self {
        Self {
            norm_eps,
            weight: init.constant("weight", [features], 1.0),
            bias: init.constant("bias", [features], 0.0),
        }
    }

    /// # Shapes
    /// - `x`, result: `[.., features]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        kernels::layer_norm(x, self.weight.val(), self.bias.val(), self.norm_eps)
    }
}

/// A single number that is learned. Files hold it without axes, under the name of the field that this is.
#[derive(Module, Debug)]
pub struct Scalar {
    /// `[1]`.
    pub value: Param<Tensor<1>>,
}

impl Scalar {
    /// A number that starts at `value`.
    pub fn new(init: &ParameterInit, value: f32) -> Self {
        Self {
            value: init.constant("value", [1], value),
        }
    }

    /// `[1]`.
    pub fn val(&self) -> Tensor<1> {
        self.value.val()
    }
}

/// A table of vectors looked up by id.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[entries, features]`.
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Standard deviation of a fresh table, as in CLIP's token table.
    const STD: f64 = 0.02;

    /// A table drawn from N(0, 0.02²).
    pub fn new(init: &ParameterInit, entries: usize, features: usize) -> Self {
        Self {
            weight: init.normal("weight", [entries, features], Self::STD),
        }
    }

    /// # Shapes
    /// - `ids`: `[batch, tokens]`, each in `0..entries`; result: `[batch, tokens, features]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        module::embedding(self.weight.val(), ids)
    }
}
