//! The conditional UNet, equal to diffusers' `UNet2DConditionModel`.
//!
//! Fields are named as keys in a weight file, so that `down_blocks.0.attentions.0.proj_in.weight` leads to its line.

mod checkpointed;
mod config;
mod task_conditioning;

pub(crate) use checkpointed::UNetTape;
pub use config::{
    AdditionEmbedType, AttentionType, ClassEmbedType, DownBlockType, MidBlockType, OneOrMany,
    UNet2DConditionConfig, UpBlockType,
};

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use crate::attention::AttentionContext;
use crate::conditioning::{AddedConditioning, CameraEstimate, Conditioning};
use crate::embeddings::{TimestepEmbedding, Timesteps};
use crate::error::NetsError;
use crate::gligen::PositionNet;
use crate::gradient_checkpointing::{Passed, PassedContext};
use crate::layers::{Conv2d, GroupNorm};
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;
use crate::task_modules::{
    CameraPoseEmbedding, CameraRegression, ClassLabelEmbedding, ContextEmbedding,
    DepthAttentionShape, FeaturePyramid, MultiViewConfig, ViewVolume, ViewVolumeShape,
};
use crate::unet_2d_blocks::{BlockConfig, DownBlock, UNetMidBlock2DCrossAttn, UpBlock};
use task_conditioning::{Declared, PassedLevels};

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
    /// SDXL: pooled text features and sinusoids of the sizes, added to the timestep embedding.
    pub add_embedding: Option<TimestepEmbedding>,
    /// unCLIP: features of a picture, added to the timestep embedding.
    pub class_embedding: Option<TimestepEmbedding>,
    /// GLIGEN: makes tokens of boxes.
    pub position_net: Option<PositionNet>,
    /// Task: tokens that no text encoder made.
    pub context_embedding: Option<ContextEmbedding>,
    /// Task: classes, added to the timestep embedding.
    pub class_label_embedding: Option<ClassLabelEmbedding>,
    /// Task: numbers of a camera, added to the timestep embedding.
    pub camera_pose_embedding: Option<CameraPoseEmbedding>,
    /// Task: features of a picture for every residual block.
    pub feature_pyramid: Option<FeaturePyramid>,
    #[module(skip)]
    declared: Declared,
    /// Of several domains of views: added to the timestep embedding, `[domains, time_embed_dim]`.
    pub domain_embedding: Option<Param<Tensor<2>>>,
    /// Era3D: estimates the camera after the middle block.
    pub camera_regression: Option<CameraRegression>,
    /// SyncDreamer: makes features of all views, which the middle and up blocks attend to.
    pub view_volume: Option<ViewVolume>,
    #[module(skip)]
    multi_view: Option<MultiViewConfig>,
    #[module(skip)]
    time_proj: Timesteps,
    #[module(skip)]
    add_time_proj: Option<Timesteps>,
    #[module(skip)]
    center_input_sample: bool,
}

/// What the first block gets.
struct Begun {
    /// The first convolution's output.
    sample: Tensor<4>,
    /// The embedding of the timestep and of what is added to it.
    embedding: Tensor<2>,
    /// The same, activated.
    temb: Tensor<2>,
    context: AttentionContext,
    /// Of a feature pyramid, one map per level.
    pyramid: Vec<Tensor<4>>,
}

impl_for_each_linear!(UNet2DCondition {
    conv_in,
    time_embedding,
    down_blocks,
    mid_block,
    up_blocks,
    add_embedding,
    class_embedding,
    position_net,
    context_embedding,
    camera_pose_embedding,
    feature_pyramid,
    camera_regression,
    view_volume,
    conv_out
});

impl UNet2DCondition {
    /// Builds the network with fresh values.
    ///
    /// # Errors
    /// As [`UNet2DConditionConfig::validate`].
    pub fn new(config: &UNet2DConditionConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        config.validate()?;
        let task = &config.task_modules;
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
            gated: config.attention_type.is_gated(),
            sft: (task.feature_pyramid.as_ref()).map(|pyramid| pyramid.sft(config)),
            multi_view: config.task_modules.multi_view.clone(),
            depth_attention: None,
        };
        let projected = |name: &str| {
            let features = config.projection_class_embeddings_input_dim.unwrap_or(0);
            TimestepEmbedding::new(&init.at(name), features, config.time_embed_dim())
        };
        let add_time_proj = config
            .addition_embed_type
            .map(|AdditionEmbedType::TextTime| {
                let channels = config.addition_time_embed_dim.unwrap_or(0);
                Timesteps::new(channels, config.flip_sin_to_cos, config.freq_shift)
            });

        let multi_view = config.task_modules.multi_view.clone();
        let view_volume = config.task_modules.view_volume.as_ref();
        let depth_attention = |level: usize| {
            view_volume.map(|volume| DepthAttentionShape {
                level,
                features: volume.channels[level],
            })
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
                &BlockConfig {
                    depth_attention: (i > 0).then(|| depth_attention(level)).flatten(),
                    ..block(level, layers)
                },
                [previous, skip, channels[level]],
                i < last,
            )
        });

        Ok(Self {
            conv_in: Conv2d::new(
                &init.at("conv_in"),
                [config.in_channels - task.concat_channels, channels[0]],
                config.conv_in_kernel,
                1,
                (config.conv_in_kernel - 1) / 2,
            )
            .with_zero_inputs(&init.at("conv_in"), task.concat_channels),
            time_embedding: TimestepEmbedding::new(
                &init.at("time_embedding"),
                channels[0],
                config.time_embed_dim(),
            ),
            down_blocks: down_blocks.collect(),
            mid_block: UNetMidBlock2DCrossAttn::new(
                &init.at("mid_block"),
                &BlockConfig {
                    depth_attention: depth_attention(last),
                    ..block(last, 1)
                },
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
            add_embedding: add_time_proj.is_some().then(|| projected("add_embedding")),
            class_embedding: config
                .class_embed_type
                .map(|ClassEmbedType::Projection| projected("class_embedding")),
            position_net: config.attention_type.is_gated().then(|| {
                let features = config.cross_attention_dim.at(0);
                let reads_images = config.attention_type == AttentionType::GatedTextImage;
                PositionNet::new(&init.at("position_net"), features, features, reads_images)
            }),
            context_embedding: task.context.as_ref().map(|context| {
                let features = config.cross_attention_dim.at(0);
                ContextEmbedding::new(&init.at("context_embedding"), context, features)
            }),
            class_label_embedding: task.class_labels.map(|classes| {
                let init = init.at("class_label_embedding");
                ClassLabelEmbedding::new(&init, classes, config.time_embed_dim())
            }),
            camera_pose_embedding: task.camera_pose.as_ref().map(|pose| {
                let init = init.at("camera_pose_embedding");
                CameraPoseEmbedding::new(&init, pose, config.time_embed_dim())
            }),
            feature_pyramid: (task.feature_pyramid.as_ref())
                .map(|pyramid| FeaturePyramid::new(&init.at("feature_pyramid"), pyramid, config)),
            declared: Declared {
                cross_attention_dim: config.cross_attention_dim.at(0),
                text: !task.no_text && task.context.is_none(),
                concat_channels: task.concat_channels,
            },
            domain_embedding: multi_view.as_ref().filter(|m| m.domains > 1).map(|m| {
                init.constant(
                    "domain_embedding",
                    [m.domains, config.time_embed_dim()],
                    0.0,
                )
            }),
            camera_regression: multi_view
                .as_ref()
                .filter(|_| config.task_modules.camera_regression.is_some())
                .map(|m| {
                    let init = init.at("camera_regression");
                    CameraRegression::new(&init, m, channels[last], config.time_embed_dim())
                }),
            view_volume: view_volume.map(|volume| {
                let modules = &config.task_modules;
                let shape = ViewVolumeShape {
                    channels_in: config.in_channels.saturating_sub(modules.concat_channels),
                    camera_numbers: modules.camera_pose.as_ref().map(|camera| camera.numbers),
                    flip_sin_to_cos: config.flip_sin_to_cos,
                    freq_shift: config.freq_shift,
                };
                ViewVolume::new(&init.at("view_volume"), volume, shape)
            }),
            multi_view,
            time_proj: Timesteps::new(channels[0], config.flip_sin_to_cos, config.freq_shift),
            add_time_proj,
            center_input_sample: config.center_input_sample,
        })
    }

    /// Predicts noise, velocity or x_0, whichever the network was trained for.
    ///
    /// # Shapes
    /// - `x_t`: `[batch, in_channels, height, width]`, any height and width; without the channels of `conditioning.concat`
    /// - `timestep`: `[batch]`, or `[1]` for the whole batch
    /// - `conditioning`: with every part that [`Self::check_conditioning`] asks for
    /// - result: `[batch, out_channels, height, width]`
    ///
    /// # Panics
    /// When a part of the conditioning is missing, or tensors do not have these shapes.
    pub fn forward(
        &self,
        x_t: Tensor<4>,
        timestep: Tensor<1>,
        conditioning: &Conditioning,
    ) -> Tensor<4> {
        self.forward_with_camera(x_t, timestep, conditioning).0
    }

    /// As [`Self::forward`], with what a network with `camera_regression` takes the conditioning picture's camera to be.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn forward_with_camera(
        &self,
        x_t: Tensor<4>,
        timestep: Tensor<1>,
        conditioning: &Conditioning,
    ) -> (Tensor<4>, Option<CameraEstimate>) {
        if let Err(error) = self.check_conditioning(conditioning) {
            panic!("{error}");
        }
        let Begun {
            mut sample,
            embedding,
            temb,
            context,
            pyramid,
        } = self.begin(x_t, timestep, conditioning);
        let (mut temb, mut context) = (Passed::new(&temb), PassedContext::new(&context));
        let mut pyramid = PassedLevels::new(&pyramid);
        let mut blocks = 0..;
        let mut next_context = || AttentionContext {
            features: (blocks.next()).and_then(|block| pyramid.next(self.level(block))),
            volume: context.next_volume(),
            ..context.next()
        };
        let mut skips = vec![sample.clone()];
        for block in &self.down_blocks {
            sample = block.forward(sample, &temb.next(), &next_context(), &mut skips);
        }
        sample = self
            .mid_block
            .forward(sample, &temb.next(), &next_context());
        let camera = self.camera_regression.as_ref().map(|regression| {
            let (estimate, of_camera) = regression.forward(&sample);
            temb = Passed::new(&kernels::silu(embedding + of_camera));
            estimate
        });
        for block in &self.up_blocks {
            sample = block.forward(sample, &temb.next(), &next_context(), &mut skips);
        }
        (self.end(sample), camera)
    }

    /// What comes before the first block.
    fn begin(&self, x_t: Tensor<4>, timestep: Tensor<1>, conditioning: &Conditioning) -> Begun {
        let batch = x_t.dims()[0];
        let timestep = if timestep.dims()[0] == batch {
            timestep
        } else {
            timestep.expand([batch])
        };
        let volume = self.view_volume.as_ref().zip(conditioning.volume.as_ref());
        let volume = volume.map(|(net, cameras)| {
            let camera_pose = conditioning.camera_pose.clone();
            net.forward(x_t.clone(), timestep.clone(), cameras, camera_pose)
        });
        // Sinusoids are computed in float32: the timesteps 998 and 999 are one number in bfloat16.
        let sinusoids = self.time_proj.forward(timestep.clone()).cast(x_t.dtype());
        let mut temb = self.time_embedding.forward(sinusoids);
        if let (Some(layer), Some(labels)) = (&self.class_embedding, &conditioning.class_labels) {
            temb = temb + layer.forward(labels.clone());
        }
        if let (Some(layer), Some(added)) = (&self.add_embedding, &conditioning.added) {
            temb = temb + layer.forward(self.added_features(added));
        }
        temb = self.add_to_timestep(temb, conditioning);
        if let (Some(of_domains), Some(multi_view)) = (&self.domain_embedding, &self.multi_view) {
            temb = temb + multi_view.of_rows(of_domains.val(), batch);
        }
        let embedding = temb;
        // Every residual block begins by activating the embedding; once is enough.
        let temb = kernels::silu(embedding.clone());

        let x_t = if self.center_input_sample {
            x_t * 2.0 - 1.0
        } else {
            x_t
        };
        let context = AttentionContext {
            encoder_hidden_states: self.attended(conditioning, &x_t),
            objects: self
                .position_net
                .as_ref()
                .zip(conditioning.gligen.as_ref())
                .map(|(net, gligen)| net.forward(gligen)),
            features: None,
            volume: volume.unwrap_or_default(),
        };
        Begun {
            sample: self.conv_in.forward(self.with_concat(x_t, conditioning)),
            embedding,
            temb,
            context,
            pyramid: self.pyramid(conditioning, timestep),
        }
    }

    /// From the last block's output to the prediction.
    fn end(&self, sample: Tensor<4>) -> Tensor<4> {
        self.conv_out
            .forward(self.conv_norm_out.forward_silu(sample))
    }

    /// Whether `conditioning` has every part that this network reads. Boxes are never asked for.
    ///
    /// # Errors
    /// [`NetsError::MissingConditioning`] names the part.
    pub fn check_conditioning(&self, conditioning: &Conditioning) -> Result<(), NetsError> {
        let missing = |part, reason| Err(NetsError::MissingConditioning { part, reason });
        self.check_task_conditioning(conditioning)?;
        if self.add_embedding.is_some() && conditioning.added.is_none() {
            return missing(
                "added",
                "the network has `addition_embed_type` = \"text_time\"",
            );
        }
        if self.class_embedding.is_some() && conditioning.class_labels.is_none() {
            return missing(
                "class_labels",
                "the network has `class_embed_type` = \"projection\"",
            );
        }
        Ok(())
    }

    /// Residual blocks of the first down block.
    pub(crate) fn layers_per_block(&self) -> usize {
        match self.down_blocks.first() {
            Some(DownBlock::CrossAttnDownBlock2D(block)) => block.resnets.len(),
            Some(DownBlock::DownBlock2D(block)) => block.resnets.len(),
            None => 0,
        }
    }

    /// Pooled text features beside the sinusoids of each size, `[batch, projection_class_embeddings_input_dim]`.
    fn added_features(&self, added: &AddedConditioning) -> Tensor<2> {
        let [batch, sizes] = added.time_ids.dims();
        let time_ids = added.time_ids.clone().reshape([batch * sizes]);
        let Some(sinusoids) = &self.add_time_proj else {
            return added.text_embeds.clone();
        };
        let sinusoids = sinusoids.forward(time_ids);
        let features = sinusoids.dims()[1];
        let sinusoids = sinusoids.reshape([batch, sizes * features]);
        let text = added.text_embeds.clone();
        let dtype = text.dtype();
        Tensor::cat(vec![text, sinusoids.cast(dtype)], 1)
    }
}
