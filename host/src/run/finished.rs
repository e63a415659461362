//! A run that is read from: by `sample` and `export`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::Device;
use dsl_engine::Trainer;
use dsl_loader::{Injection, Plugin, TaskDescription, TaskHandle};
use dsl_nets::{AttentionType, DenoiserConfig, Model, TaskModulesConfig, Tokenizer};

use super::{checkpoints, feed_of, read_config, trainer_config};
use crate::bridge::data::Data;
use crate::bridge::feed::{Feed, TargetShape};
use crate::bridge::latents::LatentCoder;
use crate::bridge::model_card::{self, ModelCard};
use crate::bridge::pipeline::PipelineFolder;
use crate::bridge::text::TextReader;
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
    /// Of the model's own text encoder, without the words that it was taught.
    pub tokenizer: Option<Tokenizer>,
    /// Who makes features of texts.
    text: TextReader,
    /// For networks that work on latents.
    pub latents: Option<Arc<LatentCoder>>,
    /// Steps done at the checkpoint.
    pub step: u64,
    /// What the run's own pictures show.
    pub prompts: Vec<String>,
    /// The plugin that it was trained with.
    plugin: PathBuf,
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
    let card = model_card::of_run(&run)?;
    let tokenizer = match card.max_tokens() {
        0 => None,
        _ => Some(Tokenizer::from_json(&read(&run.path().join(TOKENIZER))?)?),
    };
    let device = config.device.open()?;
    let trains_all = config.model.trainable.is_all() && card.model.pipeline_text.is_none();
    let mut model = match trains_all {
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
            let pipeline = PipelineFolder::open(folder)?;
            let coder = LatentCoder::new(pipeline, &config.model.latents, &device)?;
            Some(Arc::new(coder))
        }
        None => None,
    };
    let text = TextReader::of(&card, tokenizer.as_ref(), latents.as_ref())?;
    if let Some(learned) = &card.learned {
        model = learned.add_to(model, &text)?;
    }
    let mut trainer = Trainer::new(trainer_config(&config), model, &device)?;
    trainer.restore(&loaded.checkpoint)?;
    Ok(Finished {
        prompts: config.sampling.prompts.clone(),
        plugin: run.read_record()?.plugin.path,
        step: loaded.checkpoint.step(),
        model: trainer.sampling_model(),
        config,
        card,
        tokenizer,
        text,
        latents,
        device,
    })
}

/// The task of a run, for samples under its conditions.
pub struct Opened {
    /// The task.
    pub task: TaskHandle,
    /// Held-out samples; those of training where there are no others.
    pub data: Data,
    /// How columns become what networks read.
    pub feed: Arc<Feed>,
}

impl Finished {
    /// What prompts are read by without the plugin, and the column that they stand in, where there is text; nothing for
    /// generators that are told more than text.
    pub fn prompts_alone(&self) -> Option<(Arc<Feed>, Option<String>)> {
        let is_plain = match &self.card.model.denoiser {
            DenoiserConfig::Mlp(_) => true,
            DenoiserConfig::Unet(unet) => {
                let plain = TaskModulesConfig {
                    no_text: unet.task_modules.no_text,
                    ..TaskModulesConfig::default()
                };
                unet.attention_type == AttentionType::Default && unet.task_modules == plain
            }
        };
        if !is_plain || self.card.learned.is_some() {
            return None;
        }
        let has_text = !matches!(self.text, TextReader::None);
        let column = has_text.then(|| "text".to_owned());
        let injections = (column.iter())
            .map(|column| Injection::CrossAttention {
                column: column.clone(),
                dropout: 0.0,
            })
            .collect();
        let description = TaskDescription {
            injections,
            ..TaskDescription::default()
        };
        let [channels, height, width] = self.card.sample_shape;
        let shape = TargetShape {
            rows: 1,
            domains: 1,
            picture: match &self.latents {
                Some(coder) => {
                    let [height, width] = coder.picture_size([height, width]);
                    [3, height, width]
                }
                None => [channels, height, width],
            },
        };
        let feed = feed_of(
            &Feed::new(&description, shape),
            &self.text,
            self.latents.as_ref(),
            false,
        );
        Some((Arc::new(feed), column))
    }

    /// Opens the task that the run was trained with.
    ///
    /// # Errors
    /// A plugin that is no longer there; what it says.
    pub fn open_task(&self) -> Result<Opened> {
        let features = Arc::new(FeatureService::default());
        features.configure(&self.config.features, &self.device);
        let plugin = plugin::open_file(&self.plugin, &Interrupt::watch()?, &features)?;
        let task = plugin::keep_folder(|| Ok(plugin.open_task(&self.config.task)?))?;
        let split = &self.config.validation.split;
        let data = match task.splits().contains(split) {
            true => Data::open(&task, split)?,
            false => Data::open(&task, "train")?,
        };
        let feed = Arc::new(feed_of(
            data.feed(),
            &self.text,
            self.latents.as_ref(),
            false,
        ));
        Ok(Opened {
            task,
            data: data.fed_by(&feed),
            feed,
        })
    }
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
