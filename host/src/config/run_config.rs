//! The configuration of a run: composed of the parts' own configurations.

mod check;
mod model;
#[cfg(test)]
mod tests;

use std::path::Path;

use dsl_engine::{
    CheckpointConfig, LossConfig, ObjectiveConfig, TrainConfig, ValidationConfig,
    sampler::SamplerConfig,
};
use dsl_nets::WeightFile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use model::{BaseModel, ModelSection, TaskModuleSizes};

use super::{
    ConfigError, ConfigErrors, Configuration, PluginParts, Problem, Resolved, export,
    resolve_config, resolve_over,
};
use crate::bridge::model_card;
use crate::bridge::pipeline::PipelineFolder;
use crate::device::DeviceSelector;
use crate::features::FeaturesConfig;
use crate::run_dir::RunDir;

/// Configuration of a dsl-host run.
///
/// Everything has a default: an empty file runs. A file or `--set` changes what it names and leaves the rest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Configuration of the task plugin.
    pub task: Value,
    /// The networks, and what they are trained to predict.
    pub model: ModelSection,
    /// What the generator learns from.
    pub objective: ObjectiveConfig,
    /// Conventions of all losses.
    pub loss: LossConfig,
    /// The training loop.
    pub train: TrainConfig,
    /// Sample grids.
    pub sampling: SamplingConfig,
    /// Errors on a fixed bank of held-out samples.
    pub validation: ValidationConfig,
    /// When checkpoints are written, and how many are kept.
    pub checkpoint: CheckpointConfig,
    /// What is written while training.
    pub logging: LoggingConfig,
    /// Feature networks that plugins measure with.
    pub features: FeaturesConfig,
    /// The device to compute on: `cpu`, `cuda:0`, `vulkan:0` or `tch`.
    pub device: DeviceSelector,
}

/// Sample grids: on one bank of prompts and noise for the whole run, so that pictures of two steps can be compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingConfig {
    /// Steps between two grids; null draws none before the end. One more follows the last step.
    #[schemars(range(min = 1))]
    pub every_steps: Option<u64>,
    /// Samples per grid.
    #[schemars(range(min = 1, max = 4096))]
    pub count: u32,
    /// What the samples show, taken in turn. Empty: the prompts that the plugin proposes.
    pub prompts: Vec<String>,
    /// Seed of the samples' noise, apart from the run's seed.
    pub seed: u64,
    /// Classifier-free guidance: `uncond + guidance_scale * (cond - uncond)`; 1 is off.
    #[schemars(range(min = 0.0))]
    pub guidance_scale: f64,
    /// What sampling starts from.
    pub start_from: StartFrom,
    /// For tasks with boxes: the share of the steps, from the first, in which boxes count (GLIGEN's scheduled sampling,
    /// tau); 1 is all of them.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub grounding_share: f64,
    /// For pictures larger than those that the network was trained on, such as a user's own in super-resolution: by how much
    /// the tiles overlap that they are drawn in, as a share of a tile.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub tile_overlap: f64,
    /// How samples are drawn.
    pub sampler: SamplerConfig,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            every_steps: Some(500),
            count: 16,
            prompts: Vec::new(),
            seed: 0,
            guidance_scale: 3.0,
            start_from: StartFrom::Noise,
            grounding_share: 1.0,
            tile_overlap: 0.5,
            sampler: SamplerConfig::default(),
        }
    }
}

/// What sampling starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartFrom {
    /// Noise alone.
    #[default]
    Noise,
    /// The conditioning picture, noised to the first step's level: for super-resolution (StableSR).
    Condition,
}

/// What is written while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoggingConfig {
    /// Steps between two lines of `metrics.jsonl` and two points of TensorBoard's curves.
    #[schemars(range(min = 1))]
    pub every_steps: u64,
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self { every_steps: 10 }
    }
}

impl Configuration for RunConfig {
    fn check(&self) -> Vec<Problem> {
        check::check(self)
    }
}

/// Resolves the configuration of a run: host defaults < what the plugin recommends < what the base was trained with < the
/// file < `--set`.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn resolve(
    plugin: &PluginParts,
    file: Option<&Path>,
    sets: &[String],
) -> Result<Resolved<RunConfig>, ConfigErrors> {
    let resolved: Resolved<RunConfig> = resolve_config(plugin, file, sets)?;
    let BaseModel::Path(base) = &resolved.config.model.base else {
        return Ok(resolved);
    };
    let told =
        |error: anyhow::Error| ConfigErrors::from(vec![ConfigError::new(format!("{error:#}"))]);
    match trained_with(base).map_err(told)? {
        // A base goes on as it was trained, unless the user says otherwise.
        Some(defaults) => resolve_over(plugin, Some(defaults), file, sets),
        None => Ok(resolved),
    }
}

/// What a base says of its training, and where it says so. What is wrong with its weights is told when they are read.
fn trained_with(base: &Path) -> anyhow::Result<Option<(String, Value)>> {
    let of_pipeline = |folder: &Path| -> anyhow::Result<_> {
        let defaults = PipelineFolder::defaults(folder)?;
        Ok(Some((
            format!("scheduler of {}", folder.display()),
            defaults,
        )))
    };
    if PipelineFolder::is_one(base) {
        return of_pipeline(base);
    }
    let card = match RunDir::open_to_read(base) {
        Ok(run) => model_card::of_run(&run).ok(),
        Err(_) => WeightFile::open(base)
            .ok()
            .and_then(|file| model_card::read(&file).ok().flatten())
            .map(|(card, _)| card),
    };
    let Some(card) = card else {
        return Ok(None);
    };
    if let Some(folder) = card
        .pipeline
        .filter(|folder| PipelineFolder::is_one(folder))
    {
        return of_pipeline(&folder);
    }
    let defaults = json!({"model": {
        "prediction_type": card.prediction_type,
        "noise_schedule": card.noise_schedule,
    }});
    Ok(Some((
        format!("model card of {}", base.display()),
        defaults,
    )))
}

/// The JSON Schema (draft 7) of a run's configuration, with the plugin's own at `task` when there is one.
///
/// # Errors
/// When the plugin's schema is not a JSON Schema.
pub fn schema(plugin: Option<&PluginParts>) -> Result<Value, ConfigError> {
    export::<RunConfig>(plugin)
}

/// A schema as it is printed and kept in files: indented, with a line break at its end.
pub fn schema_text(schema: &Value) -> String {
    format!("{schema:#}\n")
}
