//! Exponential moving average of a module's weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};
use dsl_kernels as kernels;

use crate::weights_by_id::WeightsById;

/// A slowly moving copy of a module, off the autodiff graph.
///
/// `average = decay * average + (1 - decay) * weights`. So that the first random weights do not linger, the first update
/// copies the weights, and `s` updates later `decay` is at most `(1 + s) / (10 + s)` (as in diffusers' `EMAModel` with
/// `use_ema_warmup` off). Parameters that do not train are those of the module, in the same memory.
#[derive(Debug, Clone)]
pub struct Ema<M> {
    average: M,
    decay: f64,
}

impl<M: Module> Ema<M> {
    /// An average that starts at the weights of `module`.
    pub fn new(module: &M, decay: f64) -> Self {
        Self {
            average: module.valid(),
            decay,
        }
    }

    /// The averaged module.
    pub fn module(&self) -> &M {
        &self.average
    }

    /// Puts a saved average in place.
    pub fn restore(&mut self, average: M) {
        self.average = average;
    }

    /// Moves the average towards `module`, which is on an autodiff device, after `step` (from 1).
    pub fn update(&mut self, module: &M, step: u64) {
        let decay = match step {
            0 | 1 => 0.0,
            _ => self.decay.min(step as f64 / (9 + step) as f64),
        };
        let weights = WeightsById::of_trained(module);
        self.average = self.average.clone().map(&mut Blend { weights, decay });
    }
}

struct Blend {
    weights: WeightsById,
    decay: f64,
}

impl ModuleMapper for Blend {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(weights) = self.weights.take(param.id) else {
            return param;
        };
        let decay = self.decay;
        param.map(|average| {
            let shape = average.shape();
            kernels::moving_average(average, weights.reshape(shape), decay)
        })
    }
}

/// All float parameters as data, for comparisons: (path-free) in order of traversal.
pub fn parameter_data<M: Module>(module: &M) -> Vec<TensorData> {
    struct Data(Vec<TensorData>);
    impl ModuleVisitor for Data {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data());
        }
    }
    let mut data = Data(Vec::new());
    module.visit(&mut data);
    data.0
}
