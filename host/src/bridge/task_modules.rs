//! From what a plugin declares to the layers that its task adds to the denoiser.

use anyhow::{Result, anyhow, bail};
use dsl_loader::{Injection, MultiViewAttention, TaskDescription};
use dsl_nets::{
    AcrossViews, AttentionType, CameraPoseConfig, CameraRegressionConfig, ContextConfig,
    DenoiserConfig, FeaturePyramidConfig, MultiViewConfig, TaskModulesConfig, ViewVolumeConfig,
};

use super::data::{Data, caption_column};
use crate::config::TaskModuleSizes;
use crate::failure;

/// `denoiser` with the layers that a task declares, and no others. `latent_channels` is the number of channels that a
/// picture of three has where the networks work on latents.
///
/// # Errors
/// A usage error for a denoiser that cannot have them.
pub fn with_task_modules(
    denoiser: DenoiserConfig,
    description: &TaskDescription,
    data: &Data,
    sizes: &TaskModuleSizes,
    latent_channels: Option<usize>,
) -> Result<DenoiserConfig> {
    let mut unet = match denoiser {
        DenoiserConfig::Unet(unet) => unet,
        DenoiserConfig::Mlp(_) if reads_text_alone(description, data) => {
            if !description.injections.is_empty() {
                tracing::warn!("an MLP does not read the task's text");
            }
            return Ok(denoiser);
        }
        DenoiserConfig::Mlp(_) => {
            return Err(failure::usage(anyhow!(
                "the task conditions its network, and an MLP takes no conditions\n\
                 hint: take a base that is a UNet, or `model.base: none` with `model.denoiser: {{kind: unet}}`"
            )));
        }
    };
    let rows = data.shape().rows;
    let mut modules = TaskModulesConfig {
        no_text: caption_column(description, data).is_none(),
        ..TaskModulesConfig::default()
    };
    let mut has_boxes = false;
    for injection in &description.injections {
        match injection {
            Injection::CrossAttention { column, .. } => {
                if !data.is_text(column) {
                    let features = last_axis(data, column)?;
                    modules.context = Some(ContextConfig { features });
                }
            }
            Injection::ClassLabel { classes, .. } => {
                modules.class_labels = Some(usize::try_from(*classes)?);
            }
            Injection::ConcatChannels { column, .. } => {
                modules.concat_channels = channels(data, column, latent_channels)?;
            }
            Injection::GroundingTokens { .. } => has_boxes = true,
            Injection::FeaturePyramid { column, .. } => {
                modules.feature_pyramid = Some(FeaturePyramidConfig {
                    in_channels: channels(data, column, latent_channels)?,
                    model_channels: sizes.feature_pyramid.model_channels,
                    sft_norm: sizes.feature_pyramid.sft_norm,
                });
            }
            Injection::ViewVolume {
                half_side,
                depth_range,
                ..
            } => {
                modules.view_volume = Some(ViewVolumeConfig {
                    views: rows,
                    half_side: *half_side,
                    depth_range: *depth_range,
                    resolution: sizes.view_volume.resolution,
                    depths: sizes.view_volume.depths,
                    channels: sizes.view_volume.channels.clone(),
                });
            }
            Injection::MultiView { attention, domains } => {
                let domains = usize::try_from(*domains)?.max(1);
                modules.multi_view = Some(MultiViewConfig {
                    views: rows / domains,
                    domains,
                    attention: match attention {
                        MultiViewAttention::Dense => AcrossViews::Dense,
                        MultiViewAttention::RowWise => AcrossViews::RowWise,
                    },
                });
            }
            Injection::CameraPose { column, .. } => {
                let numbers = last_axis(data, column)?;
                modules.camera_pose = Some(CameraPoseConfig { numbers });
            }
            Injection::CameraRegression { .. } => {
                modules.camera_regression = Some(CameraRegressionConfig {});
            }
            // New words are the text encoder's.
            Injection::LearnedTokens { .. } => {}
        }
    }
    if has_boxes && !unet.attention_type.is_gated() {
        unet.attention_type = AttentionType::Gated;
    }
    unet.in_channels = unet.out_channels + modules.concat_channels;
    unet.task_modules = modules;
    Ok(DenoiserConfig::Unet(unet))
}

/// Whether a task is told text and nothing else, or nothing.
fn reads_text_alone(description: &TaskDescription, data: &Data) -> bool {
    (description.injections.iter()).all(|injection| match injection {
        Injection::CrossAttention { column, .. } => data.is_text(column),
        _ => false,
    })
}

/// Length of the last axis of a column's samples.
fn last_axis(data: &Data, column: &str) -> Result<usize> {
    let shape = data.column_shape(column).unwrap_or_default();
    match shape.last().copied().flatten() {
        Some(length) => Ok(usize::try_from(length)?),
        None => bail!("column `{column}` has no fixed number of features"),
    }
}

/// Channels of a column's pictures, as the denoiser sees them.
fn channels(data: &Data, column: &str, latent_channels: Option<usize>) -> Result<usize> {
    if let Some(channels) = latent_channels {
        return Ok(channels);
    }
    let shape = data.column_shape(column).unwrap_or_default();
    let axis = shape.len().checked_sub(3).and_then(|axis| shape[axis]);
    match axis {
        Some(channels) => Ok(usize::try_from(channels)?),
        None => bail!("column `{column}` has no fixed number of channels"),
    }
}
