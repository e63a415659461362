//! A run that is read from: by `sample` and `export`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::Device;
use dsl_engine::Trainer;
use dsl_loader::Plugin;
use dsl_nets::{Model, Tokenizer};

use super::{checkpoints, read_config, trainer_config};
use crate::bridge::latents::LatentCoder;
use crate::bridge::model_card::ModelCard;
use crate::bridge::pipeline::Pipeline;
use crate::bridge::{model, plugin};
use crate::config::RunConfig;
use crate::failure;
use crate::features::FeatureService;
use crate::interrupt::Interrupt;
use crate::run_dir::{MODEL_CARD, RunDir, TOKENIZER, write_atomic};

/// The generator of a run's last checkpoint.
pub struct Finished {
    /// The run's configuration.
    pub config: RunConfig,
    /// The generator, its moving average where one is kept.
    pub model: Model,
    /// Its shape and meaning.
    pub card: ModelCard,
    /// For networks with text.
    pub tokenizer: Option<Tokenizer>,
    /// For networks that work on latents.
    pub latents: Option<LatentCoder>,
    /// What the run's own pictures show.
    pub prompts: Vec<String>,
    /// Where the networks are.
    pub device: Device,
}

/// Reads the generator of a run. The run may still be training.
///
/// # Errors
/// A usage error for a folder that is no run; a run without a usable checkpoint.
pub fn open_finished(path: &Path) -> Result<Finished> {
    let run = RunDir::open_to_read(path).map_err(failure::usage)?;
    let config = read_config(&run)?;
    let card: ModelCard = serde_json::from_str(&read(&run.path().join(MODEL_CARD))?)
        .with_context(|| format!("`{}` cannot be read", run.path().join(MODEL_CARD).display()))?;
    let tokenizer = match card.max_tokens() {
        0 => None,
        _ => Some(Tokenizer::from_json(&read(&run.path().join(TOKENIZER))?)?),
    };
    let device = config.device.open()?;
    let model = match config.model.trainable.is_all() {
        true => card.model.init(config.train.seed, &device)?,
        // Checkpoints hold what is trained; the rest is the base's.
        false => model::base_of_run(&config, &card, || plugin_of(&run), &device)?,
    };
    let loaded = checkpoints(&run, &config).load_latest()?;
    for damage in &loaded.damaged {
        tracing::warn!("{damage}; the one before it is used");
    }
    let latents = match &card.pipeline {
        Some(folder) => {
            let pipeline = Pipeline::open(folder)?;
            Some(LatentCoder::new(pipeline, &config.model.latents, &device)?)
        }
        None => None,
    };
    let mut trainer = Trainer::new(trainer_config(&config), model, &device)?;
    trainer.restore(&loaded.checkpoint)?;
    Ok(Finished {
        prompts: config.sampling.prompts.clone(),
        model: trainer.sampling_model(),
        config,
        card,
        tokenizer,
        latents,
        device,
    })
}

/// The plugin that the run was begun with: a base may be inside it.
fn plugin_of(run: &RunDir) -> Result<Plugin> {
    let record = run.read_record()?;
    let features = Arc::new(FeatureService::default());
    plugin::open_file(&record.plugin.path, &Interrupt::watch()?, &features)
}

/// Keeps what is needed to use the generator of a run's checkpoints.
pub(super) fn write_model(
    run: &RunDir,
    card: &ModelCard,
    tokenizer: Option<&Tokenizer>,
) -> Result<()> {
    let write = |name: &str, text: &str| write_atomic(&run.path().join(name), text.as_bytes());
    write(MODEL_CARD, &format!("{:#}\n", serde_json::to_value(card)?))?;
    if let Some(tokenizer) = tokenizer {
        write(TOKENIZER, &tokenizer.to_json()?)?;
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}
