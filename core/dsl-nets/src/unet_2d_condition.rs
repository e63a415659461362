//! The conditional UNet, equal to diffusers' `UNet2DConditionModel`.
//!
//! Fields are named as keys in a weight file, so that `down_blocks.0.attentions.0.proj_in.weight` leads to its line.

mod checkpointed;
mod config;

pub(crate) use checkpointed::UNetTape;
pub use config::{DownBlockType, MidBlockType, OneOrMany, UNet2DConditionConfig, UpBlockType};

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use crate::embeddings::{TimestepEmbedding, Timesteps};
use crate::error::NetsError;
use crate::gradient_checkpointing::Passed;
use crate::layers::{Conv2d, GroupNorm};
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;
use crate::unet_2d_blocks::{BlockConfig, DownBlock, UNetMidBlock2DCrossAttn, UpBlock};

/// A UNet that predicts from x_t, a timestep, and text features.
#[derive(Module, Debug)]
pub struct UNet2DCondition {
    /// First convolution.
    pub conv_in: Conv2d,
    /// Two linear layers after the sinusoids.
    pub time_embedding: TimestepEmbedding,
    /// Down path, full size first.
    pub down_blocks: Vec<DownBlock>,
    /// Middle.
    pub mid_block: UNetMidBlock2DCrossAttn,
    /// Up path, full size last.
    pub up_blocks: Vec<UpBlock>,
    /// Norm before the last convolution.
    pub conv_norm_out: GroupNorm,
    /// Last convolution.
    pub conv_out: Conv2d,
    #[module(skip)]
    time_proj: Timesteps,
    #[module(skip)]
    center_input_sample: bool,
}

impl_for_each_linear!(UNet2DCondition {
    conv_in,
    time_embedding,
    down_blocks,
    mid_block,
    up_blocks,
    conv_out
});

impl UNet2DCondition {
    /// Builds the network with fresh values.
    ///
    /// # Errors
    /// As [`UNet2DConditionConfig::validate`].
    pub fn new(config: &UNet2DConditionConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        config.validate()?;
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let block = |level: usize, layers: usize| BlockConfig {
            time_embed_dim: config.time_embed_dim(),
            layers,
            groups: config.norm_num_groups,
            norm_eps: config.norm_eps,
            heads: config.heads().at(level),
            cross_attention_dim: config.cross_attention_dim.at(level),
            transformer_layers: config.transformer_layers_per_block.at(level),
            use_linear_projection: config.use_linear_projection,
        };

        let down = init.at("down_blocks");
        let down_blocks = (0..=last).map(|i| {
            let from = channels[i.saturating_sub(1)];
            let layers = config.layers_per_block.at(i);
            DownBlock::new(
                &down.at(i),
                config.down_block_types[i],
                &block(i, layers),
                [from, channels[i]],
                i < last,
            )
        });
        let up = init.at("up_blocks");
        let up_blocks = (0..=last).map(|i| {
            // The up path walks the levels backwards: `level` is the down block whose size this block works at.
            let level = last - i;
            let previous = channels[(level + 1).min(last)];
            let skip = channels[level.saturating_sub(1)];
            let layers = config.layers_per_block.at(level) + 1;
            UpBlock::new(
                &up.at(i),
                config.up_block_types[i],
                &block(level, layers),
                [previous, skip, channels[level]],
                i < last,
            )
        });

        Ok(Self {
            conv_in: Conv2d::new(
                &init.at("conv_in"),
                [config.in_channels, channels[0]],
                config.conv_in_kernel,
                1,
                (config.conv_in_kernel - 1) / 2,
            ),
            time_embedding: TimestepEmbedding::new(
                &init.at("time_embedding"),
                channels[0],
                config.time_embed_dim(),
            ),
            down_blocks: down_blocks.collect(),
            mid_block: UNetMidBlock2DCrossAttn::new(
                &init.at("mid_block"),
                &block(last, 1),
                channels[last],
            ),
            up_blocks: up_blocks.collect(),
            conv_norm_out: GroupNorm::new(
                &init.at("conv_norm_out"),
                config.norm_num_groups,
                channels[0],
                config.norm_eps,
            ),
            conv_out: Conv2d::new(
                &init.at("conv_out"),
                [channels[0], config.out_channels],
                config.conv_out_kernel,
                1,
                (config.conv_out_kernel - 1) / 2,
            ),
            time_proj: Timesteps::new(channels[0], config.flip_sin_to_cos, config.freq_shift),
            center_input_sample: config.center_input_sample,
        })
    }

    /// Predicts noise, velocity or x_0, whichever the network was trained for.
    ///
    /// # Shapes
    /// - `x_t`: `[batch, in_channels, height, width]`, any height and width
    /// - `timestep`: `[batch]`, or `[1]` for the whole batch
    /// - `encoder_hidden_states`: `[batch, tokens, cross_attention_dim]`
    /// - result: `[batch, out_channels, height, width]`
    pub fn forward(
        &self,
        x_t: Tensor<4>,
        timestep: Tensor<1>,
        encoder_hidden_states: Tensor<3>,
    ) -> Tensor<4> {
        let (mut sample, temb) = self.begin(x_t, timestep);
        let (mut temb, mut text) = (Passed::new(&temb), Passed::new(&encoder_hidden_states));
        let mut skips = vec![sample.clone()];
        for block in &self.down_blocks {
            sample = block.forward(sample, &temb.next(), &text.next(), &mut skips);
        }
        sample = self.mid_block.forward(sample, &temb.next(), &text.next());
        for block in &self.up_blocks {
            sample = block.forward(sample, &temb.next(), &text.next(), &mut skips);
        }
        self.end(sample)
    }

    /// What the first block gets: the first convolution's output, and the activated embedding of the timestep.
    fn begin(&self, x_t: Tensor<4>, timestep: Tensor<1>) -> (Tensor<4>, Tensor<2>) {
        let batch = x_t.dims()[0];
        let timestep = if timestep.dims()[0] == batch {
            timestep
        } else {
            timestep.expand([batch])
        };
        // Sinusoids are computed in float32: the timesteps 998 and 999 are one number in bfloat16.
        let sinusoids = self.time_proj.forward(timestep).cast(x_t.dtype());
        let temb = self.time_embedding.forward(sinusoids);
        // Every residual block begins by activating the embedding; once is enough.
        let temb = kernels::silu(temb);

        let x_t = if self.center_input_sample {
            x_t * 2.0 - 1.0
        } else {
            x_t
        };
        (self.conv_in.forward(x_t), temb)
    }

    /// From the last block's output to the prediction.
    fn end(&self, sample: Tensor<4>) -> Tensor<4> {
        self.conv_out
            .forward(self.conv_norm_out.forward_silu(sample))
    }
}
