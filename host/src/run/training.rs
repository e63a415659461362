//! The loop: batch, step, and what is due after a step.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use dsl_engine::{Checkpoints, EngineError, SampleSource as _, StepReport};

use super::{Session, checkpoints};
use crate::bridge::data::{Data, TrainingBatches};
use crate::bridge::evaluate::Evaluation;
use crate::bridge::latents::EncodeWhen;
use crate::bridge::prefetch::Prefetch;
use crate::bridge::subjects::{self, Subjects};
use crate::bridge::text::TextReader;
use crate::config::RunConfig;
use crate::failure;
use crate::interrupt::Interrupt;
use crate::report::{
    Metrics, Progress, ProgressMode, Report, Samples, SpeedMeter, describe_duration,
    peak_memory_bytes, training_details,
};
use crate::run_dir::{RunDir, SessionEnd};
use crate::sampling;

/// Points of the data that a plot of samples is drawn over.
const REFERENCE_POINTS: u64 = 1024;

/// Trains to the last step and names the files of the run.
pub(super) fn train(
    session: Session,
    run: &RunDir,
    report: Report,
    config: &RunConfig,
    interrupt: &Interrupt,
    quiet: bool,
) -> Result<()> {
    let begun = std::time::Instant::now();
    let mut training = Training::new(session, run, report, config, quiet)?;
    let result = training.all_steps(interrupt, quiet);
    let step = training.session.trainer.step_count();
    let end = match &result {
        Ok(()) => SessionEnd::Finished,
        Err(error) if is_interrupt(error) => SessionEnd::Interrupted,
        Err(_) => SessionEnd::Failed,
    };
    if let Err(error) = run.end_session(step, end) {
        // What stopped the run, such as a full disk, is the better message.
        match &result {
            Ok(()) => return Err(error.into()),
            Err(_) => tracing::debug!("{error}"),
        }
    }
    match result {
        Ok(()) => training.name_files(run, begun.elapsed()),
        Err(error) if is_interrupt(&error) => {
            bail!(
                "interrupted after step {step}, which is saved\nhint: `dsl-host run --resume {}` goes on",
                run.path().display()
            )
        }
        Err(error) => Err(error.context(match training.checkpoints.steps().last() {
            Some(step) => format!(
                "the run stopped; its last good checkpoint is `{}`",
                training.checkpoints.path(*step).display()
            ),
            None => "the run stopped before its first checkpoint".to_owned(),
        })),
    }
}

fn is_interrupt(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(EngineError::Interrupted))
}

struct Training<'a> {
    session: Session,
    config: &'a RunConfig,
    report: Report,
    checkpoints: Checkpoints,
    validation: Option<Data>,
    evaluation: Option<Evaluation>,
    subjects: Subjects,
    reference: Option<(Vec<f32>, [usize; 4])>,
    pictures: Vec<PathBuf>,
}

impl<'a> Training<'a> {
    fn new(
        session: Session,
        run: &RunDir,
        report: Report,
        config: &'a RunConfig,
        quiet: bool,
    ) -> Result<Self> {
        let split = &config.validation.split;
        let validation = match config.validation.every_steps {
            Some(_) if session.task.splits().contains(split) => {
                Some(Data::open(&session.task, split)?.fed_by(&session.feed))
            }
            Some(_) => {
                tracing::info!("the data has no split `{split}`: no validation");
                None
            }
            None => None,
        };
        let evaluation = Evaluation::open(&session.task, &session.feed)?;
        let reference = reference_points(&session.data)?;
        let subjects = Subjects::of_task(
            &session.task,
            validation.as_ref().unwrap_or(&session.data),
            &config.sampling.prompts,
        );
        if !quiet {
            let [trained, frozen] = session.trainer.parameter_counts();
            let parameters = match frozen {
                0 => format!("{trained} parameters"),
                _ => format!(
                    "{} parameters, {trained} of them trained,",
                    trained + frozen
                ),
            };
            tracing::info!(
                "{} from {}; {} training samples; objective {}; device {}",
                parameters,
                session.prepared.source,
                session.data.count(),
                config.objective.kind(),
                config.device
            );
        }
        report.prompts(&serde_json::json!({
            "prompts": config.sampling.prompts,
            "seed": config.sampling.seed,
            "guidance_scale": config.sampling.guidance_scale,
            "sampler": config.sampling.sampler,
        }))?;
        Ok(Self {
            checkpoints: checkpoints(run, config),
            session,
            config,
            report,
            validation,
            evaluation,
            subjects,
            reference,
            pictures: Vec::new(),
        })
    }

    fn all_steps(&mut self, interrupt: &Interrupt, quiet: bool) -> Result<()> {
        let (first, last) = (self.session.trainer.step_count(), self.config.train.steps);
        self.encode(first, last, interrupt, quiet)?;
        let mut batches = Prefetch::start(self.batches()?, first, last)?;
        let mut progress = Progress::begin(ProgressMode::detect(quiet), "training", first, last);
        let mut speed = SpeedMeter::new();
        for _ in first..last {
            let asked = std::time::Instant::now();
            let read = batches.next_batch();
            speed.waited(asked.elapsed());
            let batch = match read {
                Err(EngineError::Interrupted) => {
                    // The plugin gave up on a batch. All of the step before it is reported.
                    self.save()?;
                    return Err(EngineError::Interrupted.into());
                }
                read => read?,
            };
            let stopped = interrupt.hold_back(|| -> Result<bool> {
                let step = self.session.trainer.step(&batch, &self.session.data)?;
                speed.step(step.images as u64);
                let loss = step.get("loss/generator");
                progress.update(
                    step.step,
                    &training_details(loss, speed.images_per_second()),
                );
                let stop = interrupt.requested();
                if self.after(&step, &speed, &mut progress, stop)? {
                    // Pictures, validation and checkpoints are not training: they do not count for the speed.
                    speed.skip();
                }
                Ok(stop && step.step < last)
            })?;
            if stopped {
                return Err(EngineError::Interrupted.into());
            }
        }
        progress.finish();
        Ok(())
    }

    /// The batches of training.
    fn batches(&self) -> Result<TrainingBatches> {
        TrainingBatches::new(
            self.session.data.clone(),
            *self.session.trainer.streams(),
            self.config.train.batch_size,
            self.config.train.gradient_accumulation_steps * self.config.train.workers,
        )
    }

    /// Has all that the steps `first..last` will read encoded, for networks that work on latents; the encoders then leave
    /// memory.
    fn encode(&self, first: u64, last: u64, interrupt: &Interrupt, quiet: bool) -> Result<()> {
        let Some(coder) = &self.session.prepared.latents else {
            return Ok(());
        };
        if self.config.model.latents.encode == EncodeWhen::WhenRead || first == last {
            return Ok(());
        }
        let mut prompts: Vec<&str> = self
            .config
            .sampling
            .prompts
            .iter()
            .map(String::as_str)
            .collect();
        prompts.push("");
        // Encoders that learn are part of the model, and make other features at each step.
        if matches!(self.session.prepared.text, TextReader::Frozen(_)) {
            coder.encode_texts(&prompts, &vec![[0.0; 6]; prompts.len()])?;
        }
        let stop = || match interrupt.requested() {
            true => Err(EngineError::Interrupted),
            false => Ok(()),
        };
        let mut progress = Progress::begin(ProgressMode::detect(quiet), "encoding", first, last);
        let mut batches = self.batches()?;
        for step in first..last {
            batches.batch(step)?;
            progress.update(step + 1, "");
            stop()?;
        }
        progress.finish();
        let data = &self.session.data;
        for index in self.session.trainer.margin_indices(data.count()) {
            data.samples(&[index])?;
            stop()?;
        }
        let validation = self
            .validation
            .as_ref()
            .map(|data| (data, self.config.validation.samples));
        let evaluation = self.evaluation.as_ref().map(Evaluation::data);
        for (data, count) in validation.into_iter().chain(evaluation) {
            for index in 0..data.count().min(count) {
                data.samples(&[index])?;
                stop()?;
            }
        }
        coder.release();
        Ok(())
    }

    /// Whatever is due after a step, in the order that a killed run can be resumed from: metrics and pictures first,
    /// the checkpoint last. Says whether anything but metrics was.
    fn after(
        &mut self,
        step: &StepReport,
        speed: &SpeedMeter,
        progress: &mut Progress,
        stop: bool,
    ) -> Result<bool> {
        let config = self.config;
        let last = step.step == config.train.steps;
        let every = |period: u64| step.step.is_multiple_of(period);
        let mut metrics = Metrics::new();
        if every(config.logging.every_steps) || last {
            for (name, value) in &step.values {
                metrics.set(name, *value);
            }
            let steps_per_epoch = self.session.trainer.steps_per_epoch(&self.session.data);
            metrics.set("epoch", step.step as f64 / steps_per_epoch as f64);
            metrics.set_some("images_per_second", speed.images_per_second());
            metrics.set_some("data_wait_fraction", speed.data_wait_fraction());
            metrics.set_some("peak_memory_bytes", peak_memory_bytes());
        }
        let validate = config.validation.every_steps.is_some_and(every) || last;
        if validate {
            progress.note("validating");
            for (name, value) in self.validate(step.step)? {
                metrics.set(name, value);
            }
        }
        if !metrics.is_empty() {
            self.report.log(step.step, &metrics)?;
        }
        let draw = config.sampling.every_steps.is_some_and(every) || last;
        if draw {
            progress.note("drawing samples");
            self.draw(step.step)?;
        }
        let save = every(config.checkpoint.every_steps) || last || stop;
        if save {
            progress.note("saving");
            self.save()?;
        }
        Ok(validate || draw || save)
    }

    /// Metrics first: a checkpoint's lines are always there.
    fn save(&self) -> Result<()> {
        self.report.sync()?;
        self.checkpoints
            .save(&self.session.trainer)
            .context("the checkpoint was not written")?;
        Ok(())
    }

    fn validate(&mut self, step: u64) -> Result<Vec<(String, f64)>> {
        let mut values = Vec::new();
        if let Some(data) = &self.validation {
            values.extend(
                self.session
                    .trainer
                    .validate(&self.config.validation, data)?
                    .values,
            );
        }
        if let Some(evaluation) = &mut self.evaluation {
            let model = self.session.trainer.sampling_model();
            let source = self.session.sample_source(&model);
            let evaluated =
                evaluation.run(&self.session.trainer, &source, &self.config.sampling)?;
            for file in &evaluated.artefacts {
                self.report.artefact(step, &file.name, &file.bytes)?;
            }
            values.extend(evaluated.metrics);
        }
        Ok(values)
    }

    fn draw(&mut self, step: u64) -> Result<()> {
        let model = self.session.trainer.sampling_model();
        let source = self.session.sample_source(&model);
        let count = sampling::count(&self.config.sampling, &self.subjects);
        let drawn = sampling::draw(&source, &self.config.sampling, &self.subjects, 0..count)?;
        let shown = subjects::picture(&self.session.task, &self.session.feed, &drawn)?;
        let reference = match &self.reference {
            Some((values, shape)) => Some(Samples::new(values, *shape)?),
            None => None,
        };
        let path = match shown {
            Some(picture) => self.report.picture(step, &picture)?,
            None => {
                let samples = Samples::new(&drawn.values, drawn.shape)?;
                self.report.samples(step, samples, reference)?
            }
        };
        self.pictures.push(path);
        if let Some(coder) = &self.session.prepared.latents
            && self.config.model.latents.encode == EncodeWhen::BeforeTraining
        {
            coder.release();
        }
        Ok(())
    }

    fn name_files(&self, run: &RunDir, elapsed: std::time::Duration) -> Result<()> {
        tracing::info!("done in {}", describe_duration(elapsed));
        let picture = self.pictures.last().cloned();
        let checkpoint = self
            .checkpoints
            .steps()
            .last()
            .map(|step| self.checkpoints.path(*step));
        let files = [Some(run.metrics_path()), picture, checkpoint];
        let mut text = format!("{}\n", run.path().display());
        for file in files.iter().flatten() {
            text.push_str(&format!("  {}\n", file.display()));
        }
        failure::print(&text)
    }
}

/// Points of the data, where samples are points of the plane.
fn reference_points(data: &Data) -> Result<Option<(Vec<f32>, [usize; 4])>> {
    if data.shape().picture != [2, 1, 1] {
        return Ok(None);
    }
    let indices: Vec<u64> = (0..data.count().min(REFERENCE_POINTS)).collect();
    let samples = data.samples(&indices)?;
    let values: Vec<f32> = samples.x_0.iter::<f32>().collect();
    Ok(Some((values, [indices.len(), 2, 1, 1])))
}
