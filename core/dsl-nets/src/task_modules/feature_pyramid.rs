//! The time-aware encoder of a picture (Wang et al. 2023, StableSR): half a UNet, which knows the timestep and gives
//! features at every size that the denoiser works at.

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use super::SftShape;
use crate::attention::Attention;
use crate::embeddings::{TimestepEmbedding, Timesteps};
use crate::gradient_checkpointing::Passed;
use crate::layers::{Conv2d, GroupNorm};
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;
use crate::resnet::{Downsample2D, ResnetBlock2D};
use crate::task_modules::FeaturePyramidConfig;
use crate::unet_2d_condition::{DownBlockType, UNet2DConditionConfig};

/// Channels of each level in multiples of the first's; further levels are as the last.
const MULTIPLIERS: [usize; 4] = [1, 1, 2, 2];
/// Heads of the reference; fewer where they do not divide the channels.
const HEADS: usize = 4;

/// Self attention over the positions of a picture, with a skip connection.
#[derive(Module, Debug)]
pub struct PyramidAttention {
    /// Before the attention.
    pub norm: GroupNorm,
    /// Of every position to every position.
    pub attn: Attention,
}

impl_for_each_linear!(PyramidAttention { attn });

impl PyramidAttention {
    fn new(init: &ParameterInit, shape: &Shape, channels: usize) -> Self {
        let heads = [HEADS, 2, 1]
            .into_iter()
            .find(|n| channels.is_multiple_of(*n));
        let norm = GroupNorm::new(&init.at("norm"), shape.groups, channels, shape.norm_eps);
        Self {
            norm,
            attn: Attention::new(&init.at("attn"), channels, channels, heads.unwrap_or(1)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let dims = x.dims();
        let normed = self.norm.forward(x.clone());
        let tokens = normed.flatten::<3>(2, 3).swap_dims(1, 2);
        let seen = self.attn.forward(tokens.clone(), tokens);
        x + seen.swap_dims(1, 2).reshape(dims)
    }
}

/// Residual blocks, each perhaps with attention, then half the size.
#[derive(Module, Debug)]
pub struct PyramidLevel {
    /// As many as the denoiser's level has.
    pub resnets: Vec<ResnetBlock2D>,
    /// One per residual block, or none.
    pub attentions: Vec<PyramidAttention>,
    /// One, or none in the last level.
    pub downsamplers: Vec<Downsample2D>,
}

impl_for_each_linear!(PyramidLevel {
    resnets,
    attentions,
    downsamplers
});

/// Residual block, attention, residual block.
#[derive(Module, Debug)]
pub struct PyramidMiddle {
    /// Two.
    pub resnets: Vec<ResnetBlock2D>,
    /// One.
    pub attentions: Vec<PyramidAttention>,
}

impl_for_each_linear!(PyramidMiddle {
    resnets,
    attentions
});

/// A picture and a timestep to one map of features for each level of the denoiser.
#[derive(Module, Debug)]
pub struct FeaturePyramid {
    /// First convolution.
    pub conv_in: Conv2d,
    /// Two linear layers after the sinusoids, apart from the denoiser's.
    pub time_embedding: TimestepEmbedding,
    /// Full size first.
    pub down_blocks: Vec<PyramidLevel>,
    /// Middle.
    pub mid_block: PyramidMiddle,
    /// One residual block per level, to the features that all levels have.
    pub out_blocks: Vec<ResnetBlock2D>,
    #[module(skip)]
    time_proj: Timesteps,
}

impl_for_each_linear!(FeaturePyramid {
    conv_in,
    time_embedding,
    down_blocks,
    mid_block,
    out_blocks
});

/// What all parts have in common.
struct Shape {
    time_embed_dim: usize,
    groups: usize,
    norm_eps: f64,
}

impl Shape {
    fn resnet(&self, init: &ParameterInit, channels: [usize; 2]) -> ResnetBlock2D {
        let time_embed_dim = Some(self.time_embed_dim);
        ResnetBlock2D::new(init, channels, time_embed_dim, self.groups, self.norm_eps)
    }
}

impl FeaturePyramidConfig {
    /// Features of the first level, and of every map that comes out.
    pub(crate) fn channels(&self, unet: &UNet2DConditionConfig) -> usize {
        self.model_channels.unwrap_or(unet.block_out_channels[0])
    }

    /// The transforms that read the maps.
    pub(crate) fn sft(&self, unet: &UNet2DConditionConfig) -> SftShape {
        SftShape {
            features: self.channels(unet),
            norm: self.sft_norm,
            groups: unet.norm_num_groups,
            norm_eps: unet.norm_eps,
        }
    }
}

impl FeaturePyramid {
    /// For the denoiser that `unet` describes: as many levels and residual blocks, attention where its down path has it.
    pub(crate) fn new(
        init: &ParameterInit,
        config: &FeaturePyramidConfig,
        unet: &UNet2DConditionConfig,
    ) -> Self {
        let first = config.channels(unet);
        let levels = unet.block_out_channels.len();
        let channels: Vec<usize> = (0..levels)
            .map(|level| first * MULTIPLIERS[level.min(MULTIPLIERS.len() - 1)])
            .collect();
        let last = channels[levels - 1];
        let shape = Shape {
            time_embed_dim: 4 * first,
            groups: unet.norm_num_groups,
            norm_eps: unet.norm_eps,
        };
        let down = init.at("down_blocks");
        let level = |i: usize| {
            let (init, to) = (down.at(i), channels[i]);
            let from = if i == 0 { first } else { channels[i - 1] };
            let (resnets, attentions) = (init.at("resnets"), init.at("attentions"));
            let count = unet.layers_per_block.at(i);
            let attends = unet.down_block_types[i] == DownBlockType::CrossAttnDownBlock2D;
            PyramidLevel {
                resnets: (0..count)
                    .map(|k| shape.resnet(&resnets.at(k), [if k == 0 { from } else { to }, to]))
                    .collect(),
                attentions: (0..if attends { count } else { 0 })
                    .map(|k| PyramidAttention::new(&attentions.at(k), &shape, to))
                    .collect(),
                downsamplers: (i + 1 < levels)
                    .then(|| Downsample2D::new(&init.at("downsamplers.0"), to))
                    .into_iter()
                    .collect(),
            }
        };
        let (middle, out) = (init.at("mid_block"), init.at("out_blocks"));
        let resnets = middle.at("resnets");
        Self {
            conv_in: Conv2d::new(&init.at("conv_in"), [config.in_channels, first], 3, 1, 1),
            time_embedding: TimestepEmbedding::new(
                &init.at("time_embedding"),
                first,
                shape.time_embed_dim,
            ),
            down_blocks: (0..levels).map(level).collect(),
            mid_block: PyramidMiddle {
                resnets: (0..2)
                    .map(|k| shape.resnet(&resnets.at(k), [last, last]))
                    .collect(),
                attentions: vec![PyramidAttention::new(
                    &middle.at("attentions.0"),
                    &shape,
                    last,
                )],
            },
            out_blocks: (0..levels)
                .map(|i| shape.resnet(&out.at(i), [channels[i], first]))
                .collect(),
            time_proj: Timesteps::new(first, unet.flip_sin_to_cos, unet.freq_shift),
        }
    }

    /// # Shapes
    /// - `picture`: `[batch, in_channels, height, width]`, the size of x_t; `timestep`: `[batch]`
    /// - result: for each level `[batch, model_channels, ..]`, at the size of the denoiser's level
    pub fn forward(&self, picture: Tensor<4>, timestep: Tensor<1>) -> Vec<Tensor<4>> {
        let sinusoids = self.time_proj.forward(timestep).cast(picture.dtype());
        let temb = kernels::silu(self.time_embedding.forward(sinusoids));
        let mut temb = Passed::new(&temb);
        let mut x = self.conv_in.forward(picture);
        let mut levels = Vec::new();
        for (i, block) in self.down_blocks.iter().enumerate() {
            for (k, resnet) in block.resnets.iter().enumerate() {
                x = resnet.forward(x, &temb.next());
                if let Some(attention) = block.attentions.get(k) {
                    x = attention.forward(x);
                }
            }
            if i + 1 < self.down_blocks.len() {
                levels.push(x.clone());
            }
            for downsampler in &block.downsamplers {
                x = downsampler.forward(x);
            }
        }
        let mut attentions = self.mid_block.attentions.iter();
        for resnet in &self.mid_block.resnets {
            x = resnet.forward(x, &temb.next());
            if let Some(attention) = attentions.next() {
                x = attention.forward(x);
            }
        }
        levels.push(x);
        self.out_blocks
            .iter()
            .zip(levels)
            .map(|(block, level)| block.forward(level, &temb.next()))
            .collect()
    }
}
