//! Attention of each pixel to the features along its ray.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation};
use dsl_kernels as kernels;

use super::{NORM_EPS, groups};
use crate::layers::{Conv2d, GroupNorm, Linear, PointwiseConv};
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// Shape of the [`DepthAttention`]s of one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DepthAttentionShape {
    /// Which of the volume's levels it reads.
    pub level: usize,
    /// Features of that level.
    pub features: usize,
}

/// Attends to the samples on the ray of each pixel and to nothing else, then two convolutions, with a skip connection.
///
/// Keys and values are the samples themselves, the same for all heads: a linear layer for either would be a factor of
/// `to_q`, or of `to_out`, and is part of it. So the volume's largest tensors are projected once.
#[derive(Module, Debug)]
pub struct DepthAttention {
    /// 1×1, `channels` to `inner`.
    pub proj_query: PointwiseConv,
    /// Before SiLU and `to_q`.
    pub norm_query: GroupNorm,
    /// `[features, features, 1, 1]`, for every sample. It has no bias, and ReLU follows: a volume of zeros gives zeros.
    pub proj_context: Param<Tensor<4>>,
    /// Before ReLU.
    pub norm_context: GroupNorm,
    /// `[inner] -> [heads * features]`.
    pub to_q: Linear,
    /// `[heads * features] -> [inner]`.
    pub to_out: Linear,
    /// Before ReLU and `conv_1`.
    pub norm_1: GroupNorm,
    /// 3×3.
    pub conv_1: Conv2d,
    /// Before ReLU and `conv_2`.
    pub norm_2: GroupNorm,
    /// 3×3, back to `channels`; starts at zero.
    pub conv_2: Conv2d,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    level: usize,
}

impl_for_each_linear!(DepthAttention {
    proj_query,
    to_q,
    to_out,
    conv_1,
    conv_2
});

impl DepthAttention {
    pub(crate) fn new(init: &ParameterInit, shape: DepthAttentionShape, channels: usize) -> Self {
        let DepthAttentionShape { level, features } = shape;
        // The reference has 4 heads for its 64 features and more; they shall not be thinner than 4 numbers.
        let heads = (features / 8).clamp(1, 4);
        let inner = heads * features.div_ceil(2);
        let norm = |name: &str, channels: usize| {
            GroupNorm::new(&init.at(name), groups(channels), channels, NORM_EPS)
        };
        let bound = (features as f64).powf(-0.5);
        Self {
            proj_query: PointwiseConv::new(&init.at("proj_query"), channels, inner),
            norm_query: norm("norm_query", inner),
            proj_context: init.uniform("proj_context", [features, features, 1, 1], bound),
            norm_context: norm("norm_context", features),
            to_q: Linear::without_bias(&init.at("to_q"), inner, heads * features),
            to_out: Linear::without_bias(&init.at("to_out"), heads * features, inner),
            norm_1: norm("norm_1", inner),
            conv_1: Conv2d::new(&init.at("conv_1"), [inner, inner], 3, 1, 1),
            norm_2: norm("norm_2", inner),
            conv_2: Conv2d::zeros(&init.at("conv_2"), [inner, channels], 3, 1, 1),
            heads,
            level,
        }
    }

    /// # Shapes
    /// - `x`, result: `[batch, channels, height, width]`
    /// - `volume`: features of all levels, of which its own is `[batch, features, depths, height, width]`; without any, the
    ///   result is `x`
    pub fn forward(&self, x: Tensor<4>, volume: &[Tensor<5>]) -> Tensor<4> {
        let Some(samples) = volume.get(self.level) else {
            return x;
        };
        let [batch, _, height, width] = x.dims();
        let [_, features, depths, ..] = samples.dims();
        let pixels = height * width;

        let samples = kernels::conv2d(
            samples.clone().reshape([batch, features, depths, pixels]),
            self.proj_context.val(),
            None,
            1,
            0,
        );
        let samples = activation::relu(self.norm_context.forward(samples))
            .reshape([batch, features, depths * pixels])
            .swap_dims(1, 2)
            .reshape([batch, depths, pixels, features])
            .swap_dims(1, 2);
        let query = self
            .norm_query
            .forward_silu(self.proj_query.forward(x.clone()));
        let query = self
            .to_q
            .forward(query.flatten::<3>(2, 3).swap_dims(1, 2))
            .reshape([batch, pixels, self.heads, features]);
        // Pixels stand for heads, and heads for the queries of a pixel.
        let seen = kernels::attention(query, samples.clone(), samples, None).reshape([
            batch,
            pixels,
            self.heads * features,
        ]);
        let seen = self.to_out.forward(seen).swap_dims(1, 2);
        let [_, inner, _] = seen.dims();
        let seen = seen.reshape([batch, inner, height, width]);
        let hidden = self
            .conv_1
            .forward(activation::relu(self.norm_1.forward(seen)));
        x + self
            .conv_2
            .forward(activation::relu(self.norm_2.forward(hidden)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn wave<const D: usize>(dims: [usize; D], step: f32) -> Tensor<D> {
        let count = dims.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * step).sin()).collect();
        Tensor::from_data(TensorData::new(values, dims), &Device::flex())
    }

    fn attention(features: usize) -> DepthAttention {
        let shape = DepthAttentionShape { level: 1, features };
        DepthAttention::new(&ParameterInit::new(1, &Device::flex()), shape, 12)
    }

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn small_levels_have_fewer_heads() {
        for (features, heads) in [(4, 1), (8, 1), (16, 2), (32, 4), (64, 4), (512, 4)] {
            assert_eq!(attention(features).heads, heads);
        }
    }

    #[test]
    fn fresh_layers_change_nothing_and_a_level_that_is_not_there_neither() {
        let attention = attention(16);
        let x = wave([2, 12, 3, 5], 0.73);
        let finer = wave([2, 8, 8, 6, 10], 0.3);
        let volume = [finer, wave([2, 16, 4, 3, 5], 0.37)];
        assert_eq!(
            numbers(attention.forward(x.clone(), &volume)),
            numbers(x.clone())
        );
        assert_eq!(numbers(attention.forward(x.clone(), &[])), numbers(x));
    }

    /// What each pixel sees, from the sums themselves.
    #[test]
    fn a_pixel_attends_to_the_samples_of_its_ray() {
        let (pixels, depths, features, inner) = (15, 4, 8, 4);
        let mut attention = attention(features);
        assert_eq!(attention.heads, 1);
        // What comes after the attention leaves it visible: 12 × what is behind `to_out`, summed over a neighbourhood.
        attention.conv_2.weight =
            ParameterInit::new(2, &Device::flex()).uniform("w", [12, inner, 3, 3], 0.3);
        let x = wave([2, 12, 3, 5], 0.73);
        let samples = wave([2, features, depths, 3, 5], 0.37);
        let found = attention.forward(x.clone(), &[samples.clone(), samples.clone()]);

        let query = attention
            .norm_query
            .forward_silu(attention.proj_query.forward(x.clone()));
        let query = numbers(query);
        let to_q = numbers(attention.to_q.weight.val());
        let to_out = numbers(attention.to_out.weight.val());
        let weight = attention.proj_context.val().reshape([features, features]);
        let mixed = weight
            .unsqueeze::<3>()
            .matmul(samples.reshape([2, features, depths * pixels]));
        let context = attention
            .norm_context
            .forward(mixed.reshape([2, features, depths, pixels]));
        let context = numbers(context).into_iter().map(|c| c.max(0.0));
        let context: Vec<f32> = context.collect();
        let mut seen = vec![0.0f32; 2 * inner * pixels];
        for row in 0..2 {
            for pixel in 0..pixels {
                let q: Vec<f32> = (0..features)
                    .map(|f| {
                        let of = |i: usize| query[(row * inner + i) * pixels + pixel];
                        (0..inner).map(|i| of(i) * to_q[i * features + f]).sum()
                    })
                    .collect();
                let at = |f: usize, d: usize| {
                    context[((row * features + f) * depths + d) * pixels + pixel]
                };
                let scores: Vec<f32> = (0..depths)
                    .map(|d| (0..features).map(|f| q[f] * at(f, d)).sum::<f32>())
                    .map(|score| (score / (features as f32).sqrt()).exp())
                    .collect();
                let whole: f32 = scores.iter().sum();
                for i in 0..inner {
                    seen[(row * inner + i) * pixels + pixel] = (0..features)
                        .map(|f| {
                            let of_ray: f32 =
                                (0..depths).map(|d| scores[d] / whole * at(f, d)).sum();
                            of_ray * to_out[f * inner + i]
                        })
                        .sum();
                }
            }
        }
        let seen = TensorData::new(seen, [2, inner, 3, 5]);
        let seen = Tensor::<4>::from_data(seen, &Device::flex());
        let hidden = activation::relu(attention.norm_1.forward(seen));
        let hidden = attention.norm_2.forward(attention.conv_1.forward(hidden));
        let expected = x.clone() + attention.conv_2.forward(activation::relu(hidden));
        let changed: f32 = (expected.clone() - x).abs().max().into_scalar();
        let difference: f32 = (found - expected).abs().max().into_scalar();
        assert!(difference < 1e-4 && changed > 0.1, "{difference} {changed}");
    }
}
