//! The discriminator: a copy of the generator's denoiser, made when DSL starts.
//!
//! A copy refers to the memory of what it copies, parameter by parameter, until one of the two networks moves that
//! parameter. Where the generator trains adapters alone, there is one base in memory, and two sets of adapters; what the
//! generator had learned when the copy was made lies between them, as adapters that are part of the copy's base.

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use dsl_nets::Denoiser;
use dsl_nets::parameters::{parameter_infos, train_only};

use super::config::AdamWConfig;
use super::optimizer::Learner;
use super::{Trainer, precision};
use crate::data::SampleSource;
use crate::error::EngineError;
use crate::objective::dsl::Margins;
use crate::objective::{
    DiscriminatorBase, DiscriminatorTrainable, DslConfig, MarginSource, ShareBase,
};
use crate::trainable::{kept_closed, trained_ids};
use crate::weights_by_id::WeightsById;

/// The discriminator, its optimiser and its margin.
pub struct Adversary {
    pub(crate) learner: Learner<Denoiser>,
    pub(crate) margins: Margins,
    /// Steps in which it has moved.
    pub(crate) updates: u64,
}

impl Adversary {
    /// The network, with gradients.
    pub fn network(&self) -> &Denoiser {
        self.learner.module()
    }

    /// The margin in force.
    pub fn margins(&self) -> &Margins {
        &self.margins
    }

    /// Steps in which it has moved.
    pub fn updates(&self) -> u64 {
        self.updates
    }
}

impl Trainer {
    /// Makes the discriminator when DSL starts, refreshes its base and its margin when they are due.
    pub(super) fn prepare_adversary(
        &mut self,
        dsl: &DslConfig,
        training_set: &dyn SampleSource,
    ) -> Result<(), EngineError> {
        let since_start = self.step - dsl.warmup_dsm_steps;
        if self.adversary.is_none() {
            let adversary = self.new_adversary(dsl)?;
            check_can_teach(dsl, adversary.network())?;
            self.adversary = Some(adversary);
        }
        let epoch = self.steps_per_epoch(training_set);
        let config = &dsl.discriminator;
        if config.base == DiscriminatorBase::Refresh
            && since_start > 0
            && since_start.is_multiple_of(config.refresh_every_epochs * epoch)
        {
            self.refresh_base(dsl);
        }
        let period = dsl
            .margin
            .every_steps
            .unwrap_or(dsl.margin.every_epochs * epoch);
        let due = match since_start {
            0 => dsl.margin.at_start,
            since => since.is_multiple_of(period),
        };
        if due && dsl.margin.source != MarginSource::Constant {
            let margins = self.margin_pass(dsl, training_set)?.margins;
            // The first measurement has no older one to be averaged with.
            let first = since_start == if dsl.margin.at_start { 0 } else { period };
            if let Some(adversary) = &mut self.adversary {
                adversary
                    .margins
                    .follow(&margins, if first { 0.0 } else { dsl.margin.ema });
            }
        }
        Ok(())
    }

    /// A discriminator that answers exactly as its base does, and has not moved.
    pub(crate) fn new_adversary(&self, dsl: &DslConfig) -> Result<Adversary, EngineError> {
        let config = &dsl.discriminator;
        let source = match (config.base, &self.ema) {
            (DiscriminatorBase::Ema, Some(ema)) => ema.module().denoiser.clone(),
            (DiscriminatorBase::Ema, None) => return Err(no_average()),
            _ => self.generator.module().valid().denoiser,
        };
        let mut base = self.base_of(&source, dsl);
        if config.share_base == ShareBase::Never {
            base = base.map(&mut OwnMemory);
        }
        let network = match config.trainable {
            DiscriminatorTrainable::Lora => {
                let adapted = base.with_lora(&config.lora, self.config.train.seed)?;
                match config.train_task_modules {
                    true => with_own_task_modules(adapted),
                    false => adapted.train(),
                }
            }
            DiscriminatorTrainable::Full => base.train().set_require_grad(true),
        };
        let adamw = AdamWConfig {
            weight_decay: config.weight_decay,
            ..self.config.train.optimizer.clone()
        };
        let bins = dsl.margin.bins.max(1);
        Ok(Adversary {
            learner: Learner::new(network, &adamw, config.max_grad_norm),
            margins: Margins {
                bins: vec![dsl.margin.value.unwrap_or(0.0) * dsl.margin.scale; bins],
                num_train_timesteps: self.schedule.num_train_timesteps(),
            },
            updates: 0,
        })
    }

    /// What the discriminator starts from, given the generator's network: the network itself, unless it has adapters.
    /// Those are merged into the weights for a full copy, and kept as part of the base where others are attached to it. At
    /// step 0 they add nothing, and are left out.
    fn base_of(&self, source: &Denoiser, dsl: &DslConfig) -> Denoiser {
        let config = &dsl.discriminator;
        if self.config.trainable.lora().is_none() {
            return source.clone();
        }
        let has_learned = dsl.warmup_dsm_steps > 0 || config.base == DiscriminatorBase::Refresh;
        match config.trainable {
            DiscriminatorTrainable::Full => source.merge_lora(),
            DiscriminatorTrainable::Lora if has_learned => source.with_lora_in_base(),
            DiscriminatorTrainable::Lora => source.without_lora(),
        }
    }

    /// Copies the generator's present weights into the discriminator's base. What the discriminator trains beside a frozen
    /// base stays: adapters, and its own copy of what the task adds. A full copy has no base, and starts anew.
    fn refresh_base(&mut self, dsl: &DslConfig) {
        let present = self.base_of(&self.generator.module().valid().denoiser, dsl);
        let Some(adversary) = &mut self.adversary else {
            return;
        };
        let mut weights = WeightsById::of(&present);
        if dsl.discriminator.trainable == DiscriminatorTrainable::Lora {
            for own in trained_ids(adversary.learner.module()) {
                weights.take(own);
            }
        }
        let network = (adversary.learner.module().valid())
            .map(&mut Replace(weights))
            .train();
        adversary.learner.replace_module(network);
    }
}

/// Refuses a discriminator that cannot represent what the task adds: with Eq. 3 alone the generator learns of the data
/// through the discriminator, and low-rank adapters behind layers that compute nothing never learn their condition; those on
/// such a layer do. The generator would be pulled towards ignoring it. One that a checkpoint brings back has been let through
/// before, and is made while the generator's weights are still fresh.
fn check_can_teach(dsl: &DslConfig, discriminator: &Denoiser) -> Result<(), EngineError> {
    if dsl.generator.dsm_weight > 0.0 {
        return Ok(());
    }
    let in_weights = |network: &Denoiser| kept_closed(&network.task_modules(), discriminator);
    let mut closed = in_weights(discriminator);
    if !closed.is_empty() {
        // What adapters in the base have opened is open.
        closed = in_weights(&precision::in_f32(discriminator.valid()).merge_lora());
    }
    if closed.is_empty() {
        return Ok(());
    }
    Err(EngineError::Config {
        key: "objective.warmup_dsm_steps".to_owned(),
        message: format!(
            "the discriminator cannot teach what it cannot represent: {} of this task still compute nothing, and its \
             copy of them would stay so, while the generator learns from nothing else",
            closed.join(", ")
        ),
        help: "set `objective.warmup_dsm_steps`, for example 500, so that plain DSM opens them first; or \
               `objective.discriminator.train_task_modules: true`; or `objective.generator.dsm_weight` above 0; or \
               start from a model that was trained for the task"
            .to_owned(),
    })
}

/// A network whose adapters train, and with them its copy of what the task adds.
fn with_own_task_modules(adapted: Denoiser) -> Denoiser {
    let mut trained: HashSet<String> = (adapted.task_modules().into_iter())
        .flat_map(|module| module.parameters)
        .collect();
    let adapted = adapted.train();
    let adapters = parameter_infos(&adapted).into_iter();
    trained.extend(adapters.filter(|p| p.require_grad).map(|p| p.path));
    train_only(adapted, |parameter| trained.contains(parameter.path))
}

/// `base: ema` where no average is kept.
pub(super) fn no_average() -> EngineError {
    EngineError::Config {
        key: "objective.discriminator.base".to_owned(),
        message: "`ema` needs a moving average of the generator".to_owned(),
        help: "set `train.ema.decay`, for example 0.999, or `base: initial`".to_owned(),
    }
}

/// Puts weights in the place of those with the same ids.
struct Replace(WeightsById);

impl ModuleMapper for Replace {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.take(param.id) {
            Some(weights) => param.map(|old| weights.reshape(old.shape())),
            None => param,
        }
    }
}

/// Copies every parameter.
struct OwnMemory;

impl ModuleMapper for OwnMemory {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            let device = tensor.device();
            let data = tensor.into_data();
            let copy = data.as_bytes().to_vec();
            let copy = TensorData::from_bytes_vec(copy, data.shape().clone(), data.dtype());
            Tensor::from_data(copy, &device)
        })
    }
}
