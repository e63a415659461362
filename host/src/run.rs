//! A training run, in the order it happens: configuration, plugin, batch, conditioning, step, checkpoint and metrics,
//! report. The first file to read.

mod finished;
mod training;
mod wrapping;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use dsl_engine::{Checkpoints, Trainer, TrainerConfig};
use dsl_loader::{Plugin, TaskHandle};
use dsl_nets::{Model, WeightDType};

pub use finished::{Finished, Opened, open_finished};
pub use wrapping::wrap_decoder;

use crate::bridge::data::Data;
use crate::bridge::feed::Feed;
use crate::bridge::latents::LatentCoder;
use crate::bridge::model::{self, Prepared};
use crate::bridge::model_card;
use crate::bridge::plugin;
use crate::bridge::text::TextReader;
use crate::command::run::RunArgs;
use crate::config::{self, BaseModel, RunConfig};
use crate::failure;
use crate::features::FeatureService;
use crate::interrupt::Interrupt;
use crate::report::Report;
use crate::run_dir::{BASE, RunDir, RunRecord, SessionRecord};

use crate::sampling::SampleSource;

/// Where runs without a name of their own go.
const RUNS: &str = "runs";

/// Begins a run.
///
/// # Errors
/// Usage errors in arguments and configuration, before anything is written; whatever stops the training.
pub fn start(args: &RunArgs, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let name = args.plugin.as_deref().unwrap_or_default();
    let features = Arc::new(FeatureService::default());
    let plugin = plugin::open(name, &interrupt, &features)?;
    let parts = plugin::parts(&plugin)?;
    let resolved = config::resolve(&parts, args.config.as_deref(), &args.sets)?;
    if args.dry_run {
        let lines = resolved.origins().into_iter();
        let text: String = lines
            .map(|(key, value, origin)| format!("{key} = {value}  # {origin}\n"))
            .collect();
        return failure::print(&text);
    }
    let mut config = resolved.config;
    let path = match &args.out {
        Some(path) => path.clone(),
        None => RunDir::automatic_path(Path::new(RUNS), &parts.id),
    };
    let run = RunDir::create(&path).map_err(failure::usage)?;
    let begun = begin(&mut config, &plugin, &features, &run);
    let (session, report) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            // Nothing was trained: a folder with half a beginning would only be in the way.
            run.discard();
            return Err(error);
        }
    };
    let trained = training::train(session, &run, report, &config, &interrupt, quiet);
    if trained.is_err() && !run.has_results() {
        run.discard();
    }
    trained
}

/// Goes on with a run from its last usable checkpoint.
///
/// # Errors
/// A folder that is no run; a run without a usable checkpoint; whatever stops the training.
pub fn resume(path: &Path, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let run = RunDir::open(path).map_err(failure::usage)?;
    let record = run.read_record()?;
    let config = read_config(&run)?;
    let features = Arc::new(FeatureService::default());
    let plugin = plugin::open_file(&record.plugin.path, &interrupt, &features)
        .with_context(|| format!("the plugin of `{}` cannot be loaded again", path.display()))?;
    let mut session = Session::open(&config, &plugin, &features)?;
    let checkpoints = checkpoints(&run, &config);
    if !checkpoints.steps().is_empty() {
        let loaded = checkpoints.load_latest()?;
        for damage in &loaded.damaged {
            tracing::warn!("{damage}; the one before it is used");
        }
        session.trainer.restore(&loaded.checkpoint)?;
        checkpoints.tidy(loaded.checkpoint.step())?;
    }
    let step = session.trainer.step_count();
    let next = SessionRecord::begin(step, &config.device.to_string(), &plugin::record(&plugin));
    for difference in record.differences(&next) {
        tracing::warn!("{difference}; the numbers may differ from those of an uninterrupted run");
    }
    run.append_session(next)?;
    session.write_model(&run)?;
    let report = Report::resume(&run, step)?;
    tracing::info!("resuming `{}` after step {step}", path.display());
    training::train(session, &run, report, &config, &interrupt, quiet)
}

/// Everything before the first step, and its files.
fn begin(
    config: &mut RunConfig,
    plugin: &Plugin,
    features: &FeatureService,
    run: &RunDir,
) -> Result<(Session, Report)> {
    config.model.base.make_absolute();
    if let BaseModel::Path(path) = &config.model.base
        && RunDir::open_to_read(path).is_ok()
    {
        // A copy of its own: the other run may go on, or be deleted.
        let base = open_finished(path)?;
        let copy = run.path().join(BASE);
        let (model, tokenizer) = (base.model.merge_lora(), base.tokenizer.as_ref());
        model_card::write(&copy, &model, &base.card, tokenizer, WeightDType::F32)?;
        config.model.base = BaseModel::Path(copy);
        config.model.base.make_absolute();
    }
    if let Some(cache) = &mut config.model.latents.cache
        && let Ok(absolute) = std::path::absolute(&*cache)
    {
        *cache = absolute;
    }
    let session = Session::open(config, plugin, features)?;
    if config.sampling.prompts.is_empty() {
        config
            .sampling
            .prompts
            .clone_from(&session.task.describe().sample_prompts);
    }
    session.write_model(run)?;
    let report = Report::create(run)?;
    let record = RunRecord::begin(
        plugin::record(plugin),
        &config.device.to_string(),
        config.train.seed,
    );
    run.write_record(&record)?;
    // Last: a folder with this file is a run.
    run.write_config(&serde_json::to_value(&*config)?)?;
    Ok((session, report))
}

/// The checkpoints of a run.
fn checkpoints(run: &RunDir, config: &RunConfig) -> Checkpoints {
    Checkpoints::new(run.checkpoints_path(), config.checkpoint.keep)
}

/// The configuration that a run began with.
fn read_config(run: &RunDir) -> Result<RunConfig> {
    let value = run.read_config()?;
    serde_path_to_error::deserialize(&value).map_err(|error| {
        anyhow!(
            "`{}` does not fit this version of dsl-host: {error}",
            run.config_path().display()
        )
    })
}

/// Plugin, data and networks of a run, ready for the next step.
struct Session {
    task: TaskHandle,
    data: Data,
    feed: Arc<Feed>,
    prepared: Prepared,
    trainer: Trainer,
    device: Device,
}

impl Session {
    fn open(config: &RunConfig, plugin: &Plugin, features: &FeatureService) -> Result<Self> {
        let device = config.device.open()?;
        features.configure(&config.features, &device);
        let task = plugin::keep_folder(|| Ok(plugin.open_task(&config.task)?))?;
        let data = Data::open(&task, "train")?;
        let (model, prepared) = model::prepare(config, plugin, &task, &data, &device)?;
        let feed = Arc::new(feed_of(
            data.feed(),
            &prepared.text,
            prepared.latents.as_ref(),
            config.model.latents.sample,
        ));
        let data = data.fed_by(&feed);
        let trainer =
            Trainer::new(trainer_config(config), model, &device).map_err(failure::usage)?;
        Ok(Self {
            task,
            data,
            feed,
            prepared,
            trainer,
            device,
        })
    }

    /// `model` with what is needed to sample from it.
    fn sample_source<'a>(&'a self, model: &'a Model) -> SampleSource<'a> {
        SampleSource {
            model,
            card: &self.prepared.card,
            feed: &self.feed,
            latents: self.prepared.latents.as_deref(),
            wrapping: None,
            device: &self.device,
        }
    }

    /// What `dsl-host sample` needs beside a checkpoint.
    fn write_model(&self, run: &RunDir) -> Result<()> {
        finished::write_model(run, &self.prepared.card, self.prepared.tokenizer.as_ref())
    }
}

/// How a task's columns become what its networks read.
fn feed_of(
    plain: &Feed,
    text: &TextReader,
    latents: Option<&Arc<LatentCoder>>,
    sample_latents: bool,
) -> Feed {
    plain
        .clone()
        .with_text(text.clone())
        .with_latents(latents.cloned(), sample_latents)
}

/// What of a run's configuration the engine reads.
pub fn trainer_config(config: &RunConfig) -> TrainerConfig {
    TrainerConfig {
        objective: config.objective.clone(),
        loss: config.loss.clone(),
        train: config.train.clone(),
        noise_schedule: config.model.noise_schedule.clone(),
        prediction_type: config.model.prediction_type,
        trainable: config.model.trainable.clone(),
    }
}
