//! The `model` section: where weights come from, the shape of the networks, what they predict.

use std::path::PathBuf;

use dsl_engine::{NoiseScheduleConfig, PredictionType, TrainableConfig};
use dsl_nets::{DenoiserConfig, TextEncoderConfig};
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
    /// A safetensors file, or a folder as diffusers writes it: a UNet's, or a whole pipeline's.
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
                            (from scratch), or the path of a safetensors file or of a folder as diffusers writes it (a UNet's, or a \
                            pipeline's with `model_index.json`).",
            "anyOf": [
                {"enum": ["bundled", "none"]},
                {"type": "string", "format": "path", "minLength": 1}
            ],
            "examples": ["bundled", "none", "model.safetensors"],
        })
    }
}
