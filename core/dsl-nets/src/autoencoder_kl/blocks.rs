//! Encoder and decoder: residual blocks at falling and rising sizes, with attention at the smallest.

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use super::AutoencoderKLConfig;
use crate::attention::{merge_heads, split_heads};
use crate::layers::{Conv2d, GroupNorm, Linear};
use crate::parameter_init::ParameterInit;
use crate::resnet::{ResnetBlock2D, Upsample2D};

/// Every norm of an autoencoder adds this to the variance.
pub(super) const NORM_EPS: f64 = 1e-6;

fn resnet(
    init: &ParameterInit,
    config: &AutoencoderKLConfig,
    channels: [usize; 2],
) -> ResnetBlock2D {
    ResnetBlock2D::new(init, channels, None, config.norm_num_groups, NORM_EPS)
}

fn resnets(
    init: &ParameterInit,
    config: &AutoencoderKLConfig,
    [from, to]: [usize; 2],
    layers: usize,
) -> Vec<ResnetBlock2D> {
    let init = init.at("resnets");
    (0..layers)
        .map(|i| resnet(&init.at(i), config, [if i == 0 { from } else { to }, to]))
        .collect()
}

fn norm(init: &ParameterInit, config: &AutoencoderKLConfig, channels: usize) -> GroupNorm {
    GroupNorm::new(init, config.norm_num_groups, channels, NORM_EPS)
}

fn conv3x3(init: &ParameterInit, channels: [usize; 2]) -> Conv2d {
    Conv2d::new(init, channels, 3, 1, 1)
}

/// Attention of every position to every other, with one head, and a skip connection.
#[derive(Module, Debug)]
pub struct AutoencoderAttention {
    /// Before the projections.
    pub group_norm: GroupNorm,
    /// Queries.
    pub to_q: Linear,
    /// Keys.
    pub to_k: Linear,
    /// Values.
    pub to_v: Linear,
    /// One linear layer; a list because the reference keeps a dropout beside it.
    pub to_out: Vec<Linear>,
}

impl AutoencoderAttention {
    fn new(init: &ParameterInit, config: &AutoencoderKLConfig, channels: usize) -> Self {
        let linear = |name: &str| Linear::new(&init.at(name), channels, channels);
        Self {
            group_norm: norm(&init.at("group_norm"), config, channels),
            to_q: linear("to_q"),
            to_k: linear("to_k"),
            to_v: linear("to_v"),
            to_out: vec![linear("to_out.0")],
        }
    }

    /// # Shapes
    /// - `x`, result: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shape = x.dims();
        let normed = self.group_norm.forward(x.clone());
        let tokens = normed.flatten::<3>(2, 3).swap_dims(1, 2);
        let heads = |layer: &Linear| split_heads(layer.forward(tokens.clone()), 1);
        let (query, key, value) = (heads(&self.to_q), heads(&self.to_k), heads(&self.to_v));
        let mut hidden = merge_heads(kernels::attention(query, key, value, None));
        for layer in &self.to_out {
            hidden = layer.forward(hidden);
        }
        x + hidden.swap_dims(1, 2).reshape(shape)
    }
}

/// Residual block, perhaps attention, residual block.
#[derive(Module, Debug)]
pub struct AutoencoderMidBlock2D {
    /// Two.
    pub resnets: Vec<ResnetBlock2D>,
    /// One, or none with `mid_block_add_attention: false`.
    pub attentions: Vec<AutoencoderAttention>,
}

impl AutoencoderMidBlock2D {
    fn new(init: &ParameterInit, config: &AutoencoderKLConfig, channels: usize) -> Self {
        Self {
            resnets: resnets(init, config, [channels, channels], 2),
            attentions: config
                .mid_block_add_attention
                .then(|| AutoencoderAttention::new(&init.at("attentions.0"), config, channels))
                .into_iter()
                .collect(),
        }
    }

    fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        let mut attentions = self.attentions.iter();
        for (index, resnet) in self.resnets.iter().enumerate() {
            if index > 0
                && let Some(attention) = attentions.next()
            {
                x = attention.forward(x);
            }
            x = resnet.forward_without_timestep(x);
        }
        x
    }
}

/// Halves height and width: zeros at the right and the bottom only, then a strided convolution.
#[derive(Module, Debug)]
pub struct DownsampleAsymmetric {
    /// 3×3, stride 2.
    pub conv: Conv2d,
}

impl DownsampleAsymmetric {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = x.dims();
        let options = (&x.device(), x.dtype());
        let right = Tensor::zeros([batch, channels, height, 1], options);
        let bottom = Tensor::zeros([batch, channels, 1, width + 1], options);
        let x = Tensor::cat(vec![x, right], 3);
        self.conv.forward(Tensor::cat(vec![x, bottom], 2))
    }
}

/// Residual blocks, then half the size.
#[derive(Module, Debug)]
pub struct DownEncoderBlock2D {
    /// One per layer.
    pub resnets: Vec<ResnetBlock2D>,
    /// One, or none in the last block.
    pub downsamplers: Vec<DownsampleAsymmetric>,
}

/// Pictures to moments.
#[derive(Module, Debug)]
pub struct Encoder {
    /// First convolution.
    pub conv_in: Conv2d,
    /// Full size first.
    pub down_blocks: Vec<DownEncoderBlock2D>,
    /// Middle.
    pub mid_block: AutoencoderMidBlock2D,
    /// Norm before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// Last convolution.
    pub conv_out: Conv2d,
}

impl Encoder {
    pub(super) fn new(init: &ParameterInit, config: &AutoencoderKLConfig) -> Self {
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let blocks = init.at("down_blocks");
        let block = |i: usize| {
            let (init, to) = (blocks.at(i), channels[i]);
            let from = channels[i.saturating_sub(1)];
            let downsampler = (i < last).then(|| DownsampleAsymmetric {
                conv: Conv2d::new(&init.at("downsamplers.0.conv"), [to, to], 3, 2, 0),
            });
            DownEncoderBlock2D {
                resnets: resnets(&init, config, [from, to], config.layers_per_block),
                downsamplers: downsampler.into_iter().collect(),
            }
        };
        Self {
            conv_in: conv3x3(&init.at("conv_in"), [config.in_channels, channels[0]]),
            down_blocks: (0..=last).map(block).collect(),
            mid_block: AutoencoderMidBlock2D::new(&init.at("mid_block"), config, channels[last]),
            conv_norm_out: norm(&init.at("conv_norm_out"), config, channels[last]),
            conv_out: conv3x3(
                &init.at("conv_out"),
                [channels[last], 2 * config.latent_channels],
            ),
        }
    }

    /// # Shapes
    /// - `x`: `[batch, in_channels, height, width]`; result: `[batch, 2 * latent_channels, height / f, width / f]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, &mut |_| ())
    }

    /// As [`Self::forward`], with the output of each block before it is halved, full size first.
    pub fn forward_with_features(&self, x: Tensor<4>) -> (Tensor<4>, Vec<Tensor<4>>) {
        let mut features = Vec::new();
        let moments = self.run(x, &mut |x| features.push(x.clone()));
        (moments, features)
    }

    fn run(&self, x: Tensor<4>, see: &mut dyn FnMut(&Tensor<4>)) -> Tensor<4> {
        let mut x = self.conv_in.forward(x);
        for block in &self.down_blocks {
            for resnet in &block.resnets {
                x = resnet.forward_without_timestep(x);
            }
            see(&x);
            for downsampler in &block.downsamplers {
                x = downsampler.forward(x);
            }
        }
        let x = self.mid_block.forward(x);
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}

/// Residual blocks, then twice the size.
#[derive(Module, Debug)]
pub struct UpDecoderBlock2D {
    /// One more than in the encoder's block.
    pub resnets: Vec<ResnetBlock2D>,
    /// One, or none in the last block.
    pub upsamplers: Vec<Upsample2D>,
}

/// Latents to pictures.
#[derive(Module, Debug)]
pub struct Decoder {
    /// First convolution.
    pub conv_in: Conv2d,
    /// Middle.
    pub mid_block: AutoencoderMidBlock2D,
    /// Full size last.
    pub up_blocks: Vec<UpDecoderBlock2D>,
    /// Norm before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// Last convolution.
    pub conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn new(init: &ParameterInit, config: &AutoencoderKLConfig) -> Self {
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let blocks = init.at("up_blocks");
        let block = |i: usize| {
            let (init, to) = (blocks.at(i), channels[last - i]);
            let from = channels[(last - i + 1).min(last)];
            let upsampler = (i < last).then(|| Upsample2D::new(&init.at("upsamplers.0"), to));
            UpDecoderBlock2D {
                resnets: resnets(&init, config, [from, to], config.layers_per_block + 1),
                upsamplers: upsampler.into_iter().collect(),
            }
        };
        Self {
            conv_in: conv3x3(
                &init.at("conv_in"),
                [config.latent_channels, channels[last]],
            ),
            mid_block: AutoencoderMidBlock2D::new(&init.at("mid_block"), config, channels[last]),
            up_blocks: (0..=last).map(block).collect(),
            conv_norm_out: norm(&init.at("conv_norm_out"), config, channels[0]),
            conv_out: conv3x3(&init.at("conv_out"), [channels[0], config.out_channels]),
        }
    }

    /// # Shapes
    /// - `z`: `[batch, latent_channels, height, width]`; result: `[batch, out_channels, f height, f width]`
    pub fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        self.forward_with(z, &mut |_, x| x)
    }

    /// As [`Self::forward`], with `change` made to the features of each block before they are doubled. Blocks are numbered as
    /// they run.
    pub fn forward_with(
        &self,
        z: Tensor<4>,
        change: &mut dyn FnMut(usize, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let mut x = self.mid_block.forward(self.conv_in.forward(z));
        for (i, block) in self.up_blocks.iter().enumerate() {
            for resnet in &block.resnets {
                x = resnet.forward_without_timestep(x);
            }
            x = change(i, x);
            for upsampler in &block.upsamplers {
                let [_, _, height, width] = x.dims();
                x = upsampler.forward(x, [2 * height, 2 * width]);
            }
        }
        self.conv_out.forward(self.conv_norm_out.forward_silu(x))
    }
}
