//! The second stage of super-resolution: what wraps the decoder of a finished run, trained on latents that the run's generator
//! draws. It lies in a folder of its own beside the run's files.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::TensorData;
use dsl_engine::rng::DataOrder;
use dsl_engine::{Checkpoints, Streams, WrappingBatch, WrappingConfig, WrappingTrainer};
use sha2::{Digest, Sha256};

use super::finished::{Finished, open_finished};
use crate::bridge::data::Data;
use crate::bridge::feature_cache::{FeatureCache, Stored, hex};
use crate::bridge::feed::{Columns, Feed};
use crate::bridge::subjects::Subjects;
use crate::bridge::wrapping;
use crate::command::wrap::WrapArgs;
use crate::failure;
use crate::features;
use crate::interrupt::Interrupt;
use crate::report::{Metrics, MetricsWriter, Progress, ProgressMode};
use crate::sampling::{self, SampleSource};

/// Samples whose latents are drawn together, and kept together.
const DRAWN_AT_ONCE: u64 = 16;
/// Steps between two checkpoints.
const SAVE_EVERY: u64 = 100;

/// Trains what wraps the decoder of a run, or goes on with it.
///
/// # Errors
/// As [`crate::command::wrap::wrap`].
pub fn wrap_decoder(args: &WrapArgs, quiet: bool) -> Result<()> {
    let interrupt = Interrupt::watch()?;
    let run = open_finished(&args.run)?;
    let coder = wrapping::coder_of(run.latents.as_deref(), &args.run)?;
    let opened = run.open_task()?;
    let data = Data::open(&opened.task, "train")?;
    let read = |index: u64| pictures(&data, index);
    // What cannot be trained on is refused before anything is drawn.
    read(0)?;
    let folder = (args.out.clone()).unwrap_or_else(|| wrapping::folder(&args.run));
    let mode = || ProgressMode::detect(quiet);
    let count = args.samples.min(data.count());
    let mut progress = Progress::begin(mode(), "drawing latents", 0, count);
    let mut latents = Vec::new();
    let drawing = Drawing::new(&run, &opened.feed, &data, &folder, args);
    for first in (0..count).step_by(DRAWN_AT_ONCE as usize) {
        let last = count.min(first + DRAWN_AT_ONCE);
        latents.extend(drawing.latents(first..last)?);
        progress.update(last, "");
        if interrupt.requested() {
            bail!("interrupted; the latents that are drawn are kept, and the same command goes on");
        }
    }
    progress.finish();
    coder.release();

    let config = WrappingConfig {
        learning_rate: args.learning_rate,
        gan_start: args.gan_start,
        seed: args.seed,
        ..WrappingConfig::default()
    };
    let shape = config.wrapping.clone();
    let distance = features::perceptual_loss(&run.config.features, &run.device)?;
    let (vae, device) = (coder.autoencoder_config(), &run.device);
    let mut trainer =
        WrappingTrainer::new(config, coder.load_autoencoder()?, vae, distance, device)?;
    let checkpoints = Checkpoints::new(folder.join("checkpoints"), 2);
    if !checkpoints.steps().is_empty() {
        let loaded = checkpoints.load_latest()?;
        for damage in &loaded.damaged {
            tracing::warn!("{damage}; the one before it is used");
        }
        trainer.restore(&loaded.checkpoint)?;
        checkpoints.tidy(trainer.step_count())?;
    }
    let first = trainer.step_count();
    let metrics = folder.join("metrics.jsonl");
    let mut metrics = match metrics.exists() {
        true => MetricsWriter::resume(&metrics, first)?,
        false => MetricsWriter::create(&metrics)?,
    };
    let mut order = DataOrder::new(Streams::new(args.seed), count);
    let mut progress = Progress::begin(mode(), "wrapping", first, args.steps);
    let size = u64::from(args.batch_size);
    for step in first..args.steps {
        let indices = order.indices(step * size, usize::from(args.batch_size));
        let batch: Vec<WrappingBatch> = (indices.into_iter())
            .map(|index| {
                let [target, low_resolution] = read(index)?;
                Ok(WrappingBatch {
                    target,
                    low_resolution,
                    latents: latents[index as usize].clone(),
                })
            })
            .collect::<Result<_>>()?;
        let report = trainer.step(&batch)?;
        let l1 = report.get("loss/l1").unwrap_or(f64::NAN);
        progress.update(report.step, &format!("l1 {l1:.4}"));
        metrics.append(report.step, &Metrics::from_iter(report.values))?;
        let (stop, done) = (interrupt.requested(), report.step == args.steps);
        if stop || done || report.step.is_multiple_of(SAVE_EVERY) {
            metrics.sync()?;
            checkpoints.save_wrapping(&trainer)?;
        }
        if stop && !done {
            bail!(
                "interrupted after step {}, which is saved\nhint: the same command goes on",
                report.step
            );
        }
    }
    progress.finish();
    let file = wrapping::file(&folder);
    wrapping::write(&file, &trainer.wrapping(), &shape)?;
    failure::print(&format!("{}\n", file.display()))
}

/// Target and low-resolution picture of a training sample, as they are without augmentation.
fn pictures(data: &Data, index: u64) -> Result<[TensorData; 2]> {
    let mut columns = Columns::new(data.columns(&[index])?);
    let low_resolution = data.feed().conditioning_picture(&columns)?;
    Ok([data.feed().x_0(&mut columns, 1, None)?, low_resolution])
}

/// Latents that the run's generator draws of training samples, each drawn once.
struct Drawing<'a> {
    source: SampleSource<'a>,
    config: crate::config::SamplingConfig,
    subjects: Subjects,
    cache: FeatureCache,
    step: u64,
}

impl<'a> Drawing<'a> {
    fn new(
        run: &'a Finished,
        feed: &'a std::sync::Arc<Feed>,
        data: &Data,
        folder: &Path,
        args: &WrapArgs,
    ) -> Self {
        let mut config = run.config.sampling.clone();
        config.seed = args.seed;
        if let Some(steps) = args.num_inference_steps {
            config.sampler.num_inference_steps = steps;
        }
        Self {
            source: SampleSource {
                model: &run.model,
                card: &run.card,
                feed,
                // Without a decoder, samples are latents.
                latents: None,
                wrapping: None,
                device: &run.device,
            },
            config,
            subjects: Subjects::HeldOut(data.clone().fed_by(feed)),
            cache: FeatureCache::new(folder.join("latents")),
            step: run.step,
        }
    }

    /// `[1, channels, height, width]` for each sample.
    fn latents(&self, range: std::ops::Range<u64>) -> Result<Vec<TensorData>> {
        let config = serde_json::to_string(&self.config)?;
        let mut key = Sha256::new();
        key.update(format!("step {} samples {range:?} {config}", self.step));
        let kept = self.cache.get_or_make(&hex(key), &["latents"], || {
            let samples = range.start as usize..range.end as usize;
            let drawn = sampling::draw(&self.source, &self.config, &self.subjects, samples)?;
            Ok(vec![Stored {
                name: "latents",
                shape: drawn.shape.to_vec(),
                values: drawn.values,
            }])
        })?;
        let kept = kept.into_iter().next().context("no latents were drawn")?;
        let [_, channels, height, width] = kept.shape[..] else {
            bail!("latents have the shape {:?}", kept.shape);
        };
        let size = (channels * height * width).max(1);
        let rows = kept.values.chunks_exact(size);
        Ok(rows
            .map(|row| TensorData::new(row.to_vec(), [1, channels, height, width]))
            .collect())
    }
}
