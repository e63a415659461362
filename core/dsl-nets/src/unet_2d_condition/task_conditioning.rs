//! What tasks add before the first block, see [`crate::task_modules`].

use burn::tensor::Tensor;

use super::UNet2DCondition;
use crate::conditioning::Conditioning;
use crate::error::NetsError;
use crate::gradient_checkpointing::Passed;
use crate::task_modules::{concat, context};

/// What a network attends to, and what it must be told.
#[derive(Debug, Clone)]
pub(super) struct Declared {
    /// `cross_attention_dim`.
    pub cross_attention_dim: usize,
    /// Whether text has to be there.
    pub text: bool,
    /// Further input channels, which have to be there.
    pub concat_channels: usize,
}

impl UNet2DCondition {
    /// Input channels that hold a condition, the last ones.
    pub(crate) fn concat_channels(&self) -> usize {
        self.declared.concat_channels
    }

    /// `temb` with the class and the camera added.
    pub(super) fn add_to_timestep(
        &self,
        mut temb: Tensor<2>,
        conditioning: &Conditioning,
    ) -> Tensor<2> {
        if let (Some(layer), Some(ids)) = (&self.class_label_embedding, &conditioning.class_ids) {
            temb = temb + layer.forward(ids.clone());
        }
        if let (Some(layer), Some(pose)) = (&self.camera_pose_embedding, &conditioning.camera_pose)
        {
            temb = temb + layer.forward(pose.clone());
        }
        temb
    }

    /// x_t with the condition's channels behind its own, where the network has them.
    pub(super) fn with_concat(&self, x_t: Tensor<4>, conditioning: &Conditioning) -> Tensor<4> {
        let condition = conditioning.concat.clone();
        concat::join(x_t, condition.filter(|_| self.concat_channels() > 0))
    }

    /// What cross-attention attends to.
    pub(super) fn attended(&self, conditioning: &Conditioning, x_t: &Tensor<4>) -> Tensor<3> {
        let layer = self.context_embedding.as_ref();
        let context = layer.zip(conditioning.context.clone());
        context::tokens(
            conditioning.encoder_hidden_states.clone(),
            context.map(|(layer, context)| layer.forward(context)),
            x_t,
            self.declared.cross_attention_dim,
        )
    }

    /// One map of features per level, full size first; none without a feature pyramid.
    pub(super) fn pyramid(
        &self,
        conditioning: &Conditioning,
        timestep: Tensor<1>,
    ) -> Vec<Tensor<4>> {
        self.feature_pyramid
            .as_ref()
            .zip(conditioning.pyramid.clone())
            .map(|(pyramid, picture)| pyramid.forward(picture, timestep))
            .unwrap_or_default()
    }

    /// The level, full size first, of a block; blocks are numbered as they run.
    pub(super) fn level(&self, block: usize) -> usize {
        let levels = self.down_blocks.len();
        match block.checked_sub(levels + 1) {
            None => block.min(levels - 1),
            Some(up) => levels - 1 - up,
        }
    }

    pub(super) fn check_task_conditioning(
        &self,
        conditioning: &Conditioning,
    ) -> Result<(), NetsError> {
        let parts = [
            (
                self.declared.text && conditioning.encoder_hidden_states.is_none(),
                "encoder_hidden_states",
                "every block attends to text, unless `task_modules.no_text` is set",
            ),
            (
                self.context_embedding.is_some() && conditioning.context.is_none(),
                "context",
                "the network has `task_modules.context`",
            ),
            (
                self.class_label_embedding.is_some() && conditioning.class_ids.is_none(),
                "class_ids",
                "the network has `task_modules.class_labels`",
            ),
            (
                self.declared.concat_channels > 0 && conditioning.concat.is_none(),
                "concat",
                "the network has `task_modules.concat_channels`",
            ),
            (
                self.camera_pose_embedding.is_some() && conditioning.camera_pose.is_none(),
                "camera_pose",
                "the network has `task_modules.camera_pose`",
            ),
            (
                self.feature_pyramid.is_some() && conditioning.pyramid.is_none(),
                "pyramid",
                "the network has `task_modules.feature_pyramid`",
            ),
            (
                self.view_volume.is_some() && conditioning.volume.is_none(),
                "volume",
                "the network has `task_modules.view_volume`",
            ),
        ];
        match parts.into_iter().find(|(missing, ..)| *missing) {
            Some((_, part, reason)) => Err(NetsError::MissingConditioning { part, reason }),
            None => Ok(()),
        }
    }
}

/// The maps of a pyramid on their way through the blocks, see [`Passed`].
pub(super) struct PassedLevels(Vec<Passed<4>>);

impl PassedLevels {
    pub(super) fn new(levels: &[Tensor<4>]) -> Self {
        Self(levels.iter().map(Passed::new).collect())
    }

    /// For the next block of this level.
    pub(super) fn next(&mut self, level: usize) -> Option<Tensor<4>> {
        self.0.get_mut(level).map(Passed::next)
    }
}
