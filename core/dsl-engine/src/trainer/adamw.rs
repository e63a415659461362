//! AdamW as burn's `ModuleOptimizer` drives it, one pass per weight; its saved state is that of burn's own AdamW.

use burn::optim::{AdamWState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};
use dsl_kernels as kernels;

use super::config::AdamWConfig;

/// The optimiser of one network.
#[derive(Clone)]
pub(super) struct AdamW {
    beta_1: f64,
    beta_2: f64,
    epsilon: f64,
    weight_decay: f64,
}

impl AdamW {
    pub(super) fn new(config: &AdamWConfig) -> Self {
        Self {
            beta_1: config.beta_1,
            beta_2: config.beta_2,
            epsilon: config.adam_epsilon,
            weight_decay: config.weight_decay,
        }
    }
}

impl Optimizer for AdamW {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamWState<D>>,
    ) -> (Tensor<D>, Option<AdamWState<D>>) {
        let (time, moments) = match state {
            Some(AdamWState { momentum }) => (
                momentum.time + 1,
                Some([momentum.moment_1, momentum.moment_2]),
            ),
            None => (1, None),
        };
        let step = kernels::AdamW {
            learning_rate: lr,
            beta_1: self.beta_1,
            beta_2: self.beta_2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            step: time,
        };
        let moved = step.apply(tensor, grad, moments);
        let momentum = AdaptiveMomentumState::new(time, moved.moment_1, moved.moment_2);
        (moved.weight, Some(AdamWState::new(momentum)))
    }

    fn to_device<const D: usize>(mut state: AdamWState<D>, device: &Device) -> AdamWState<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}
