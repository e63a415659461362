//! bfloat16 computation over float32 weights.
//!
//! The whole network is cast per forward pass, on the autodiff graph: gradients arrive at the float32 weights, which
//! the optimiser moves. No layer needs to know. Weights that nobody moves are held in bfloat16 once training has begun,
//! where the cast leaves them as they are: they take half the memory, and every step computes with the same numbers.

use std::collections::HashSet;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{DType, Device, Tensor};

use super::Trainer;
use super::config::Precision;
use crate::error::EngineError;
use crate::objective::{DiscriminatorTrainable, ObjectiveConfig, ShareBase};
use crate::trainable::trained_ids;
use crate::weights_by_id::WeightsById;

/// Refuses a number format that the device cannot compute with.
pub(super) fn check(precision: Precision, device: &Device) -> Result<(), EngineError> {
    if precision == Precision::Bf16 && !device.supports_dtype(DType::BF16) {
        return Err(EngineError::Config {
            key: "train.precision".to_owned(),
            message: "this device does not compute in bfloat16".to_owned(),
            help: "set `train.precision: f32`".to_owned(),
        });
    }
    Ok(())
}

/// The module to compute with: itself in float32, a cast copy on its graph in bfloat16.
pub(super) fn compute_copy<M: Module>(module: &M, precision: Precision) -> M {
    match precision {
        Precision::F32 => module.clone(),
        Precision::Bf16 => module.clone().map(&mut Cast(DType::BF16)),
    }
}

/// The module with all weights in float32.
pub(super) fn in_f32<M: Module>(module: M) -> M {
    module.map(&mut Cast(DType::F32))
}

/// An input of a network in its number format.
pub(super) fn input(tensor: Tensor<4>, precision: Precision) -> Tensor<4> {
    match precision {
        Precision::F32 => tensor,
        Precision::Bf16 => tensor.cast(DType::BF16),
    }
}

/// The type of the networks' activations.
pub(super) fn dtype(precision: Precision) -> DType {
    match precision {
        Precision::F32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let dtype = self.0;
        param.map(|tensor| match tensor.dtype() == dtype {
            true => tensor,
            false => tensor.cast(dtype),
        })
    }
}

impl Trainer {
    /// Whether the weights that the generator does not train are read in the compute type alone. A discriminator that trains
    /// copies of them starts from all their digits.
    fn may_hold_frozen(&self) -> bool {
        let copies = match &self.config.objective {
            ObjectiveConfig::Dsm(_) => false,
            ObjectiveConfig::Dsl(dsl) => {
                let config = &dsl.discriminator;
                config.trainable == DiscriminatorTrainable::Full || config.train_task_modules
            }
        };
        self.config.train.precision == Precision::Bf16 && !self.config.trainable.is_all() && !copies
    }

    /// Puts frozen weights in the compute type in the place of those in float32, once; networks that shared memory go on
    /// sharing it. One after the other, so that both forms of all of them are never there at the same time; where an average
    /// or a discriminator holds the old ones, they go when these have been changed too.
    pub(super) fn hold_frozen(&mut self) {
        if std::mem::replace(&mut self.holds_frozen, true) || !self.may_hold_frozen() {
            return;
        }
        // Of the weights as they were read.
        self.frozen_sha256();
        let trained: HashSet<ParamId> = trained_ids(self.generator.module()).into_iter().collect();
        self.generator.map_module(|generator| {
            let plain = generator.valid();
            drop(generator);
            plain.map(&mut Hold::new(None, trained.clone())).train()
        });
        let mut held = WeightsById::of(self.generator.module());
        for id in &trained {
            // The discriminator's base may have an earlier form of these, which it keeps.
            held.take(*id);
        }
        if let Some(ema) = &mut self.ema {
            let average = ema.module().clone();
            ema.restore(average.map(&mut Hold::new(Some(held.clone()), trained.clone())));
        }
        let owns_base = match &self.config.objective {
            ObjectiveConfig::Dsl(dsl) => dsl.discriminator.share_base == ShareBase::Never,
            ObjectiveConfig::Dsm(_) => false,
        };
        if let Some(adversary) = &mut self.adversary {
            let network = adversary.learner.module();
            let mut kept = trained;
            kept.extend(trained_ids(network));
            let mut hold = Hold::new((!owns_base).then_some(held), kept);
            let network = network.valid().map(&mut hold).train();
            adversary.learner.replace_module(network);
        }
        dsl_kernels::give_back_freed_memory();
    }
}

/// Puts all weights but some in the compute type: those of the same id that are held already, or a cast of their own.
struct Hold {
    held: Option<WeightsById>,
    kept: HashSet<ParamId>,
}

impl Hold {
    fn new(held: Option<WeightsById>, kept: HashSet<ParamId>) -> Self {
        Self { held, kept }
    }
}

impl ModuleMapper for Hold {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.kept.contains(&param.id) {
            return param;
        }
        let held = self.held.as_mut().and_then(|held| held.take(param.id));
        param.map(|tensor| match held {
            Some(held) => held.reshape(tensor.shape()),
            None => tensor.cast(DType::BF16),
        })
    }
}
