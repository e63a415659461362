//! The `model` section: where weights come from, the shape of the networks, what they predict.

use std::path::PathBuf;

use dsl_engine::{NoiseScheduleConfig, PredictionType, TrainableConfig};
use dsl_nets::{DenoiserConfig, SftNorm, TextEncoderConfig, ViewVolumeConfig};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::bridge::latents::LatentsConfig;

/// The networks, and what they are trained to predict.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSection {
    /// Where the weights come from at step 0.
    pub base: BaseModel,
    /// Which parameters are trained; all others stay as the base has them.
    pub trainable: TrainableConfig,
    /// Shape of the denoiser. null: that of the base.
    pub denoiser: Option<DenoiserConfig>,
    /// Shape of the text encoder that is trained along. null: that of the base, or none.
    pub text_encoder: Option<TextEncoderConfig>,
    /// What the denoiser predicts.
    pub prediction_type: PredictionType,
    /// Noise levels of training.
    pub noise_schedule: NoiseScheduleConfig,
    /// Of bases that work on latents: pipelines as diffusers keeps them.
    pub latents: LatentsConfig,
    /// Sizes of the layers that a task adds to the denoiser, where it adds such.
    pub task_modules: TaskModuleSizes,
}

/// Sizes of the layers that tasks add. Which ones there are, the plugin declares.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskModuleSizes {
    /// A picture in every residual block (StableSR).
    pub feature_pyramid: FeaturePyramidSizes,
    /// A volume made of all views (SyncDreamer).
    pub view_volume: ViewVolumeSizes,
}

/// Sizes of a time-aware feature pyramid.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FeaturePyramidSizes {
    /// Features of its first level. null: the denoiser's first block's. The reference has 256.
    pub model_channels: Option<usize>,
    /// Whether residual features are normalised before they are scaled and shifted.
    pub sft_norm: SftNorm,
}

/// Sizes of a view volume; the defaults are the reference's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ViewVolumeSizes {
    /// Grid points along each side of the cube.
    #[schemars(range(min = 8))]
    pub resolution: usize,
    /// Depths at which each pixel's ray is sampled.
    #[schemars(range(min = 8))]
    pub depths: usize,
    /// Features of its networks by level, finest first.
    #[schemars(length(min = 1))]
    pub channels: Vec<usize>,
}

impl Default for ViewVolumeSizes {
    fn default() -> Self {
        Self {
            resolution: ViewVolumeConfig::default_resolution(),
            depths: ViewVolumeConfig::default_depths(),
            channels: ViewVolumeConfig::default_channels(),
        }
    }
}

/// Where the weights come from at step 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum BaseModel {
    /// The model that travels inside the plugin; fresh weights when it has none.
    #[default]
    Bundled,
    /// Fresh weights: training from scratch.
    None,
    /// A safetensors file; the folder of a run; or a folder as diffusers writes it: a UNet's, or a whole pipeline's.
    Path(PathBuf),
}

impl BaseModel {
    /// A path from the root, so that a run can be gone on with from any folder.
    pub fn make_absolute(&mut self) {
        if let Self::Path(path) = self
            && let Ok(absolute) = std::path::absolute(&*path)
        {
            *path = absolute;
        }
    }
}

impl From<String> for BaseModel {
    fn from(text: String) -> Self {
        match text.as_str() {
            "bundled" => Self::Bundled,
            "none" => Self::None,
            _ => Self::Path(text.into()),
        }
    }
}

impl From<BaseModel> for String {
    fn from(base: BaseModel) -> Self {
        match base {
            BaseModel::Bundled => "bundled".into(),
            BaseModel::None => "none".into(),
            BaseModel::Path(path) => path.to_string_lossy().into_owned(),
        }
    }
}

impl JsonSchema for BaseModel {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BaseModel".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where the weights come from at step 0: `bundled` (the model inside the plugin), `none` \
                            (from scratch), or the path of a safetensors file, of a run's folder, or of a folder as diffusers \
                            writes it (a UNet's, or a pipeline's with `model_index.json`).",
            "anyOf": [
                {"enum": ["bundled", "none"]},
                {"type": "string", "format": "path", "minLength": 1}
            ],
            "examples": ["bundled", "none", "model.safetensors", "runs/t2i"],
        })
    }
}
