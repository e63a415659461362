//! What tasks add to a denoiser: layers that a base model does not have, each declared by a plugin.
//!
//! | kind | built where | source | starts as |
//! |---|---|---|---|
//! | [`ContextConfig`] | before the first block | Liu et al. 2023 (Zero-1-to-3), a linear layer to cross-attention tokens | fresh weights |
//! | class labels | added to the timestep embedding | Nichol and Dhariwal 2021 | fresh weights |
//! | concatenated channels | first convolution | Rombach et al. 2022 | zero weights: the base exactly |
//! | [`CameraPoseConfig`] | added to the timestep embedding | Shi et al. 2023 (MVDream) | zero output: the base exactly |
//! | grounding tokens | [`crate::gligen`] | Li et al. 2023 (GLIGEN) | closed gates: the base exactly |
//! | [`FeaturePyramidConfig`] | every residual block | Wang et al. 2023 (StableSR) | see there |
//! | [`ViewVolumeConfig`] | after the middle and up blocks | Liu et al. 2023 (SyncDreamer) | zero convolutions: the base exactly |
//! | [`MultiViewConfig`] | every transformer block | Li et al. 2024 (Era3D), Shi et al. 2023 (MVDream) | zero output: the base exactly |
//! | [`CameraRegressionConfig`] | after the middle block | Li et al. 2024 (Era3D) | fresh weights |

mod camera_pose;
mod camera_regression;
mod class_labels;
pub(crate) mod concat;
pub(crate) mod context;
mod feature_pyramid;
mod kinds;
mod multi_view;
mod spatial_feature_transform;
mod view_volume;

pub use camera_pose::CameraPoseEmbedding;
pub use camera_regression::{CameraRegression, CameraRegressor, ResidualMlp};
pub use class_labels::ClassLabelEmbedding;
pub use context::ContextEmbedding;
pub use feature_pyramid::{FeaturePyramid, PyramidAttention, PyramidLevel, PyramidMiddle};
pub use kinds::{TaskModule, TaskModuleKind};
pub(crate) use spatial_feature_transform::SftShape;
pub use spatial_feature_transform::SpatialFeatureTransform;
pub use view_volume::{
    Block3D, Conv3d, DepthAttention, Level3D, RowEmbedding, UNet3D, Upsample3D, ViewEncoder,
    ViewResnetBlock, ViewVolume,
};
pub(crate) use view_volume::{DepthAttentionShape, ViewVolumeShape};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::NetsError;
use crate::unet_2d_condition::UNet2DConditionConfig;

/// The layers that a task adds to a UNet; none by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskModulesConfig {
    /// Whether the network is without text. Without `context` too, it attends to one token of zeros. With `context`, text is
    /// never asked for.
    pub no_text: bool,
    /// Vectors or tokens for cross-attention that no text encoder made.
    pub context: Option<ContextConfig>,
    /// Number of classes; the embedding has one more, which stands for none of them.
    pub class_labels: Option<usize>,
    /// Channels of `in_channels` that hold a condition, the last ones.
    pub concat_channels: usize,
    /// Numbers of a camera.
    pub camera_pose: Option<CameraPoseConfig>,
    /// A picture in every residual block.
    pub feature_pyramid: Option<FeaturePyramidConfig>,
    /// A volume made of all views.
    pub view_volume: Option<ViewVolumeConfig>,
    /// Attention across views.
    pub multi_view: Option<MultiViewConfig>,
    /// An estimate of the conditioning picture's camera. Needs `multi_view`.
    pub camera_regression: Option<CameraRegressionConfig>,
}

impl TaskModulesConfig {
    /// Whether the network is as its base.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that the layers fit the network.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] naming the first field that does not fit, and why.
    pub(crate) fn validate(&self, unet: &UNet2DConditionConfig) -> Result<(), NetsError> {
        let wrong = |field: &str, found: usize, reason: String| {
            Err(NetsError::config(
                format!("task_modules.{field}"),
                found,
                reason,
            ))
        };
        for (field, value) in [
            (
                "context.features",
                self.context.as_ref().map(|context| context.features),
            ),
            ("class_labels", self.class_labels),
            (
                "camera_pose.numbers",
                self.camera_pose.as_ref().map(|pose| pose.numbers),
            ),
            (
                "feature_pyramid.in_channels",
                self.feature_pyramid
                    .as_ref()
                    .map(|pyramid| pyramid.in_channels),
            ),
        ] {
            if value == Some(0) {
                return wrong(field, 0, "it must be at least 1".to_owned());
            }
        }
        let (inputs, outputs) = (unet.in_channels, unet.out_channels);
        if self.concat_channels > 0 && inputs != outputs + self.concat_channels {
            let reason = format!(
                "in_channels = {inputs} must be out_channels = {outputs} and these channels together"
            );
            return wrong("concat_channels", self.concat_channels, reason);
        }
        let text = unet.cross_attention_dim.at(0);
        let mut levels = 0..unet.block_out_channels.len();
        if (self.context.is_some() || self.no_text)
            && levels.any(|i| unet.cross_attention_dim.at(i) != text)
        {
            return Err(NetsError::config(
                "cross_attention_dim",
                &unet.cross_attention_dim,
                "tokens of `task_modules.context` are for all blocks, which must have one number",
            ));
        }
        if let Some(pyramid) = &self.feature_pyramid {
            let (channels, groups) = (pyramid.channels(unet), unet.norm_num_groups);
            if channels == 0 || channels % groups != 0 || channels % 2 != 0 {
                let reason =
                    format!("it must be even, and a multiple of norm_num_groups = {groups}");
                return wrong("feature_pyramid.model_channels", channels, reason);
            }
        }
        self.validate_views(unet.block_out_channels.len())
    }

    /// Whether the layers that read several views of an object fit together, in a network of `levels` sizes.
    fn validate_views(&self, levels: usize) -> Result<(), NetsError> {
        if let Some(multi_view) = &self.multi_view {
            multi_view.validate()?;
        } else if let Some(regression) = &self.camera_regression {
            return Err(NetsError::config(
                "task_modules.camera_regression",
                regression,
                "it needs task_modules.multi_view, which says how many views an object has",
            ));
        }
        if let Some(volume) = &self.view_volume {
            volume.validate(levels)?;
            let rows = self
                .multi_view
                .as_ref()
                .map_or(volume.views, MultiViewConfig::rows);
            if rows != volume.views {
                let reason = format!(
                    "task_modules.multi_view has {rows} rows for each object, and a volume is made of one domain's views"
                );
                return Err(NetsError::config(
                    "task_modules.view_volume.views",
                    volume.views,
                    reason,
                ));
            }
        }
        Ok(())
    }
}

/// A linear layer from vectors or tokens to `cross_attention_dim`; its tokens follow those of the text, where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ContextConfig {
    /// Features of each token.
    #[schemars(range(min = 1))]
    pub features: usize,
}

/// Two linear layers from numbers to the timestep embedding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraPoseConfig {
    /// How many numbers.
    #[schemars(range(min = 1))]
    pub numbers: usize,
}

/// A time-aware encoder of a picture, and spatial feature transforms in every residual block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FeaturePyramidConfig {
    /// Channels of the picture.
    #[schemars(range(min = 1))]
    pub in_channels: usize,
    /// Features of the first level; null takes the denoiser's first block's. The reference has 256.
    #[serde(default)]
    pub model_channels: Option<usize>,
    /// Whether residual features are normalised before they are scaled and shifted: `group` as in the released code, `none`
    /// as in the paper.
    #[serde(default)]
    pub sft_norm: SftNorm,
}

/// Normalisation in a spatial feature transform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SftNorm {
    /// Group norm with weight and bias (the released code). Fresh layers change what the base computes.
    #[default]
    Group,
    /// None (the paper, equation 3). Fresh layers leave the base as it is: scale and shift start at 0.
    None,
}

/// A feature volume built of all noised views, and depth-wise attention to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewVolumeConfig {
    /// Views of an object.
    #[schemars(range(min = 1))]
    pub views: usize,
    /// Half the side of the cube around the origin.
    pub half_side: f64,
    /// Nearest and farthest depth of a ray's samples.
    pub depth_range: [f64; 2],
    /// Grid points along each side of the cube. The reference has 32.
    #[serde(default = "ViewVolumeConfig::default_resolution")]
    #[schemars(range(min = 8))]
    pub resolution: usize,
    /// Depths at which each pixel's ray is sampled. The reference has 48.
    #[serde(default = "ViewVolumeConfig::default_depths")]
    #[schemars(range(min = 8))]
    pub depths: usize,
    /// Features of the volume's networks by level, finest first. The reference has 64, 128, 256, 512.
    #[serde(default = "ViewVolumeConfig::default_channels")]
    #[schemars(length(min = 1))]
    pub channels: Vec<usize>,
}

impl ViewVolumeConfig {
    /// The reference's grid.
    pub fn default_resolution() -> usize {
        32
    }

    /// The reference's depths.
    pub fn default_depths() -> usize {
        48
    }

    /// The reference's features.
    pub fn default_channels() -> Vec<usize> {
        vec![64, 128, 256, 512]
    }
}

/// Self-attention across the views of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MultiViewConfig {
    /// Views of an object in one domain. Rows of a batch are object by object, domain by domain, view by view.
    #[schemars(range(min = 1))]
    pub views: usize,
    /// Pictures of each view, such as 2 for colour and normals.
    #[schemars(range(min = 1))]
    pub domains: usize,
    /// Who attends to whom.
    pub attention: AcrossViews,
}

impl MultiViewConfig {
    /// Rows of a batch that belong to one object.
    pub fn rows(&self) -> usize {
        self.views * self.domains
    }
}

/// Who attends to whom across views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AcrossViews {
    /// Every position to every position of every view (MVDream).
    Dense,
    /// Every position to the same row of pixels in every view (Era3D).
    RowWise,
}

/// Two small networks that estimate elevation and inverse focal length from the middle block.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CameraRegressionConfig {}
