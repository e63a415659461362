//! One training step of one or two networks, from a batch to a report.
//!
//! [`Trainer::step`] is the whole of it: draw timesteps and noise, then the update that the objective asks for.
//! Everything random comes from [`Streams`] keyed by the step, everything periodic from the step's number, so that the
//! state that a resumed run needs is weights, optimiser moments, margins and the step: see [`crate::checkpoint`].

mod adamw;
pub mod config;
mod discriminator;
mod dsl_step;
mod dsm_step;
mod grad_clip;
mod lr_schedule;
mod margin;
mod noised;
mod optimizer;
mod parts;
mod precision;
mod predictions;
mod report;

use std::sync::OnceLock;

use burn::module::Module;
use burn::tensor::Device;
use dsl_nets::{Denoiser, LearnedTokens, Model};

pub use config::{
    AdamWConfig, EmaConfig, LrScheduleConfig, LrScheduleKind, Precision, TrainConfig,
};
pub use discriminator::Adversary;
pub use lr_schedule::lr_factor;
pub use margin::MarginReport;
pub use noised::Noised;
pub use optimizer::Learner;
pub use predictions::{NoisePredictions, ValidationConfig, ValidationReport};
pub use report::{ForwardCounts, StepReport};

use crate::data::{SampleSource, Samples};
use crate::ema::Ema;
use crate::error::EngineError;
use crate::noise_schedule::{NoiseSchedule, NoiseScheduleConfig};
use crate::objective::{ConfigProblem, DiscriminatorBase, LossConfig, ObjectiveConfig};
use crate::parameterization::PredictionType;
use crate::rng::{Stream, Streams};
use crate::trainable::{self, TrainableConfig};

/// Everything that shapes training, taken apart from data and networks.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainerConfig {
    /// What the generator learns from.
    pub objective: ObjectiveConfig,
    /// Conventions of all losses.
    pub loss: LossConfig,
    /// The loop.
    pub train: TrainConfig,
    /// Noise levels.
    pub noise_schedule: NoiseScheduleConfig,
    /// What the networks predict.
    pub prediction_type: PredictionType,
    /// Which parameters of the generator are trained.
    pub trainable: TrainableConfig,
}

impl TrainerConfig {
    /// The first of the combinations that exclude one another.
    fn check(&self) -> Result<(), EngineError> {
        let of = |section: &'static str, found: Vec<ConfigProblem>| {
            found.into_iter().map(move |problem| EngineError::Config {
                key: format!("{section}.{}", problem.key),
                message: problem.message,
                help: problem.help,
            })
        };
        let mut problems = of("objective", self.objective.problems())
            .chain(of("train", self.train.problems()))
            .chain(of("model.trainable", self.trainable.problems()));
        if let Some(problem) = problems.next() {
            return Err(problem);
        }
        if self.train.gradient_checkpointing && self.denoisers_drop_out() {
            return Err(EngineError::Config {
                key: "train.gradient_checkpointing".to_owned(),
                message: "adapters of the denoiser with dropout cannot be computed a second time: their masks would be others".to_owned(),
                help: "set `dropout` of the adapters to 0, or `train.gradient_checkpointing: false`".to_owned(),
            });
        }
        match &self.objective {
            ObjectiveConfig::Dsl(dsl)
                if dsl.discriminator.base == DiscriminatorBase::Ema
                    && self.train.ema.decay.is_none() =>
            {
                Err(discriminator::no_average())
            }
            _ => Ok(()),
        }
    }

    /// Whether adapters set inputs to zero while they train.
    pub fn drops_out(&self) -> bool {
        let of_text = (self.trainable.lora()).and_then(|lora| lora.text_encoder.as_ref());
        self.denoisers_drop_out() || of_text.is_some_and(|of_text| of_text.dropout > 0.0)
    }

    /// Whether those of the generator's denoiser or of the discriminator do. Gradient checkpointing computes these networks a
    /// second time, and never a text encoder.
    pub fn denoisers_drop_out(&self) -> bool {
        let of_generator = self.trainable.lora().map_or(0.0, |lora| lora.dropout);
        let of_discriminator = match &self.objective {
            ObjectiveConfig::Dsl(dsl) => dsl.discriminator.lora.dropout,
            ObjectiveConfig::Dsm(_) => 0.0,
        };
        of_generator > 0.0 || of_discriminator > 0.0
    }
}

/// The training engine: a generator, and with DSL a discriminator.
pub struct Trainer {
    config: TrainerConfig,
    schedule: NoiseSchedule,
    streams: Streams,
    /// Where networks compute, with gradients.
    device: Device,
    generator: Learner<Model>,
    ema: Option<Ema<Model>>,
    adversary: Option<Adversary>,
    /// New words of the text encoders as they were at step 0.
    first_words: [Option<LearnedTokens>; 2],
    /// SHA-256 of the generator's frozen parameters, once it was asked for.
    frozen: OnceLock<Option<String>>,
    /// Whether frozen weights are held as the precision asks, which the first step sees to.
    holds_frozen: bool,
    /// Steps done.
    step: u64,
    forwards: ForwardCounts,
}

impl Trainer {
    /// A trainer at step 0 whose generator is `model`.
    ///
    /// `device` is the plain device; gradients are recorded on its autodiff twin.
    ///
    /// # Errors
    /// [`EngineError::Config`] for settings that exclude one another.
    pub fn new(config: TrainerConfig, model: Model, device: &Device) -> Result<Self, EngineError> {
        let schedule = NoiseSchedule::new(&config.noise_schedule)?;
        config
            .loss
            .space
            .validate(config.prediction_type, &schedule)?;
        config.loss.weighting.validate()?;
        config.check()?;
        precision::check(config.train.precision, device)?;
        let train = &config.train;
        let first_words = [&model.learned_tokens, &model.learned_tokens_2].map(Clone::clone);
        let model = config.trainable.apply(model, train.seed)?;
        let ema = train.ema.decay.map(|decay| Ema::new(&model, decay));
        Ok(Self {
            schedule,
            streams: Streams::new(train.seed),
            device: device.clone().autodiff(),
            generator: Learner::new(model, &train.optimizer, train.max_grad_norm),
            ema,
            adversary: None,
            first_words,
            frozen: OnceLock::new(),
            holds_frozen: false,
            step: 0,
            forwards: ForwardCounts::default(),
            config,
        })
    }

    /// One optimiser step of each network that moves.
    ///
    /// `batch` holds the micro-batches of the step; `training_set` is read only when a margin pass is due.
    ///
    /// # Errors
    /// [`EngineError::NonFinite`] before any weight is touched by a bad loss; errors of the data source as they come.
    pub fn step(
        &mut self,
        batch: &[Samples],
        training_set: &dyn SampleSource,
    ) -> Result<StepReport, EngineError> {
        self.check_batch(batch)?;
        self.hold_frozen();
        self.forwards = ForwardCounts::default();
        self.seed_dropout();
        let noised = self.draw(batch);
        let mut report = match self.config.objective.clone() {
            ObjectiveConfig::Dsl(dsl) if self.step >= dsl.warmup_dsm_steps => {
                self.prepare_adversary(&dsl, training_set)?;
                self.dsl_step(&dsl, &noised)?
            }
            _ => self.dsm_step(&noised)?,
        };
        self.step += 1;
        if let Some(ema) = &mut self.ema {
            ema.update(self.generator.module(), self.step);
        }
        report.set("learning_rate", self.learning_rate_at(self.step - 1));
        report.step = self.step;
        report.images = noised.iter().map(Noised::rows).sum();
        report.forwards = self.forwards;
        Ok(report)
    }

    /// Steps done so far.
    pub fn step_count(&self) -> u64 {
        self.step
    }

    /// The settings.
    pub fn config(&self) -> &TrainerConfig {
        &self.config
    }

    /// The noise levels.
    pub fn noise_schedule(&self) -> &NoiseSchedule {
        &self.schedule
    }

    /// The random streams of the run.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// The generator as it is trained.
    pub fn generator(&self) -> &Model {
        self.generator.module()
    }

    /// Number of elements of the generator's parameters that are trained, and of those that are not.
    pub fn parameter_counts(&self) -> [usize; 2] {
        trainable::count(self.generator.module())
    }

    /// SHA-256 over names, shapes and values of the generator's frozen parameters, which checkpoints leave out; `None`
    /// where every parameter trains.
    pub fn frozen_sha256(&self) -> Option<&str> {
        self.frozen
            .get_or_init(|| trainable::frozen_sha256(self.generator.module()))
            .as_deref()
    }

    /// The generator as it is used: its moving average where one is kept, off the autodiff graph, in float32. Frozen weights
    /// that training holds in a smaller type are those of that type.
    pub fn sampling_model(&self) -> Model {
        precision::in_f32(self.model_in_use())
    }

    /// [`Self::sampling_model`] in the types that its weights are held in.
    fn model_in_use(&self) -> Model {
        match &self.ema {
            Some(ema) => ema.module().clone(),
            None => self.generator.module().valid(),
        }
    }

    /// The discriminator, once it exists.
    pub fn discriminator(&self) -> Option<&Denoiser> {
        self.adversary.as_ref().map(Adversary::network)
    }

    /// The discriminator with its margins and optimiser.
    pub fn adversary(&self) -> Option<&Adversary> {
        self.adversary.as_ref()
    }

    /// Steps that count as one epoch of `training_set`.
    pub fn steps_per_epoch(&self, training_set: &dyn SampleSource) -> u64 {
        self.config
            .train
            .steps_per_epoch
            .unwrap_or_else(|| training_set.batches_per_epoch(self.config.train.batch_size))
            .max(1)
    }

    /// Learning rate of the generator at `step` (from 0).
    fn learning_rate_at(&self, step: u64) -> f64 {
        self.scheduled(self.config.train.learning_rate, step)
    }

    /// The learning rate at `step` (from 0) whose peak is `peak`.
    fn scheduled(&self, peak: f64, step: u64) -> f64 {
        let train = &self.config.train;
        peak * lr_factor(&train.lr_schedule, step, train.steps)
    }

    /// What a checkpoint holds.
    pub(crate) fn checkpoint_parts(
        &self,
    ) -> (&Learner<Model>, Option<&Ema<Model>>, Option<&Adversary>) {
        (&self.generator, self.ema.as_ref(), self.adversary.as_ref())
    }

    pub(crate) fn checkpoint_parts_mut(
        &mut self,
    ) -> (&mut Learner<Model>, Option<&mut Ema<Model>>) {
        (&mut self.generator, self.ema.as_mut())
    }

    pub(crate) fn set_restored(&mut self, adversary: Option<Adversary>, step: u64) {
        self.adversary = adversary;
        self.step = step;
    }

    /// Micro-batches that are worked on at the same time.
    fn workers(&self) -> usize {
        if self.config.drops_out() {
            // Dropout masks come from one generator per device: threads would take them in any order.
            1
        } else {
            self.config.train.workers.max(1)
        }
    }

    /// Dropout masks come from the device's own generator, which a resumed run finds in another state.
    fn seed_dropout(&self) {
        if self.config.drops_out() {
            let seeds = self
                .streams
                .seeds(Stream::LORA.part("dropout"), self.step, 0, 1);
            self.device.seed(seeds[0]);
        }
    }

    fn check_batch(&self, batch: &[Samples]) -> Result<(), EngineError> {
        let rows: usize = batch.iter().map(Samples::len).sum();
        if rows == 0 {
            return Err(EngineError::Batch {
                step: self.step + 1,
                message: "no samples".to_owned(),
            });
        }
        for samples in batch {
            if samples.x_0.shape().len() != 4 {
                return Err(EngineError::Batch {
                    step: self.step + 1,
                    message: format!(
                        "expected samples of shape [batch, channels, height, width], found {:?}",
                        samples.x_0.shape().to_vec()
                    ),
                });
            }
            if !samples.len().is_multiple_of(samples.views.max(1)) {
                return Err(EngineError::Batch {
                    step: self.step + 1,
                    message: format!(
                        "{} rows are not a multiple of {} views",
                        samples.len(),
                        samples.views
                    ),
                });
            }
        }
        Ok(())
    }
}
