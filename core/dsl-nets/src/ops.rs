//! The operations that decide how fast a network is, each behind one function.
//!
//! Networks call these instead of burn's own, so that a faster implementation replaces one body here and nothing else.
//!
//! The forms chosen are the fastest of those that burn's automatic differentiation allows, measured on its CPU device: softmax
//! with late division, convolution by shifted copies or by products before shifting, and other spellings of SiLU gain nothing
//! or lose. What costs is the backward pass of convolutions (for x, as a transposed convolution), softmax and the scalar
//! exponentials; only operations with their own backward pass can change that.

use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions};
use burn::tensor::{Tensor, activation, module};

/// `x * sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
}

/// `input @ weight + bias`.
///
/// # Shapes
/// - `input`: `[.., d_input]`, `weight`: `[d_input, d_output]`, `bias`: `[d_output]`
/// - result: `[.., d_output]`
pub fn linear<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    module::linear(input, weight, bias)
}

/// Convolution with the same stride and zero padding on both axes.
///
/// # Shapes
/// - `x`: `[batch, channels_in, height, width]`, `weight`: `[channels_out, channels_in, kernel, kernel]`, `bias`: `[channels_out]`
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    module::conv2d(
        x,
        weight,
        bias,
        ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1),
    )
}

/// Group normalisation with an affine map per channel.
///
/// `(x - mean) / sqrt(var + norm_eps) * weight + bias`, mean and (biased) variance over the channels of a group and all positions.
///
/// # Shapes
/// - `x`, result: `[batch, channels, height, width]`; `weight`, `bias`: `[channels]`; `channels` is a multiple of `groups`
pub fn group_norm(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm_eps: f64,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let x = x.reshape([batch, groups, channels / groups * height * width]);
    let mean = x.clone().mean_dim(2);
    let centred = x - mean;
    let var = (centred.clone() * centred.clone()).mean_dim(2);
    let normed = centred * (var + norm_eps).sqrt().recip();
    normed.reshape([batch, channels, height, width]) * weight.reshape([1, channels, 1, 1])
        + bias.reshape([1, channels, 1, 1])
}

/// Layer normalisation over the last axis.
///
/// # Shapes
/// - `x`, result: `[.., features]`; `weight`, `bias`: `[features]`
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm_eps: f64,
) -> Tensor<D> {
    module::layer_norm(x, weight, Some(bias), norm_eps)
}

/// `softmax(query keyᵀ / sqrt(head_size)) value`, without a mask.
///
/// # Shapes
/// - `query`: `[batch, heads, tokens_q, head_size]`; `key`, `value`: `[batch, heads, tokens_kv, head_size]`; result as `query`
pub fn attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let head_size = query.dims()[3];
    let scores = (query * (head_size as f64).powf(-0.5)).matmul(key.swap_dims(2, 3));
    activation::softmax(scores, 3).matmul(value)
}

/// `x_value * gelu(x_gate)`, the two halves of the last axis; the exact (erf) GELU, as the reference has it.
///
/// # Shapes
/// - `x`: `[batch, tokens, 2 * features]`, value half first; result: `[batch, tokens, features]`
pub fn geglu(x: Tensor<3>) -> Tensor<3> {
    let features = x.dims()[2] / 2;
    let value = x.clone().narrow(2, 0, features);
    let gate = x.narrow(2, features, features);
    value * activation::gelu(gate)
}

/// The exact (erf) GELU.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// Resizes by repeating the nearest element.
///
/// # Shapes
/// - `x`: `[batch, channels, height, width]`; result: `[batch, channels, size[0], size[1]]`
pub fn interpolate_nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    module::interpolate(
        x,
        InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(size),
    )
}
