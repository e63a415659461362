//! One network and what moves it: AdamW, global-norm clipping, accumulated gradients.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, ModuleOptimizer};
use burn::tensor::Tensor;

use super::adamw::AdamW;
use super::config::AdamWConfig;
use super::grad_clip::{global_norm, scale};
use super::parts::gradients;
use crate::error::EngineError;

/// A module together with its optimiser. The two sets of parameters of a DSL run live in two learners and never meet.
#[derive(Clone)]
pub struct Learner<M> {
    /// Absent only while [`Self::map_module`] runs.
    module: Option<M>,
    optimizer: ModuleOptimizer,
    max_grad_norm: Option<f64>,
}

impl<M: Module> Learner<M> {
    /// A learner with fresh optimiser state. `module` must be on an autodiff device.
    pub fn new(module: M, adamw: &AdamWConfig, max_grad_norm: Option<f64>) -> Self {
        let optimizer = ModuleOptimizer::from(AdamW::new(adamw));
        Self {
            module: Some(module),
            optimizer,
            max_grad_norm,
        }
    }

    /// The module, with gradients.
    pub fn module(&self) -> &M {
        (self.module.as_ref()).expect("nobody asks for it while it is changed")
    }

    /// Puts another module in place, keeping the optimiser state (keyed by parameter id).
    pub fn replace_module(&mut self, module: M) {
        self.module = Some(module);
    }

    /// Changes the module, keeping the optimiser state. The learner lets go of the old one before: what `change` replaces is
    /// freed as it goes, unless others hold it.
    pub(crate) fn map_module(&mut self, change: impl FnOnce(M) -> M) {
        self.module = self.module.take().map(change);
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &ModuleOptimizer {
        &self.optimizer
    }

    /// Module and optimiser as saved.
    pub fn restore(&mut self, module: M, optimizer: ModuleOptimizer) {
        self.module = Some(module);
        self.optimizer = optimizer;
    }

    /// Adds the gradients of `loss` to `accumulated`.
    pub fn backward(&self, loss: &Tensor<1>, accumulated: &mut GradientsAccumulator<M>) {
        accumulated.accumulate(self.module(), gradients(self.module(), loss));
    }

    /// Clips and applies gradients. Returns their global norm before clipping.
    ///
    /// # Errors
    /// [`EngineError::NonFinite`] where the norm is not a number: the weights are left as they were.
    pub fn update(
        &mut self,
        accumulated: &mut GradientsAccumulator<M>,
        learning_rate: f64,
        step: u64,
        name: &str,
    ) -> Result<f64, EngineError> {
        let mut gradients = accumulated.grads();
        let norm = global_norm(self.module(), &gradients);
        if !norm.is_finite() {
            return Err(EngineError::NonFinite {
                step,
                name: name.to_owned(),
                value: norm,
            });
        }
        if let Some(max) = self.max_grad_norm
            && norm > max
        {
            // The 1e-6 is PyTorch's: it keeps the quotient defined.
            scale(self.module(), &mut gradients, max / (norm + 1e-6));
        }
        let module = self.module().clone();
        let optimizer = &mut self.optimizer;
        let moved = dsl_kernels::together(move || optimizer.step(learning_rate, module, gradients));
        self.module = Some(moved);
        Ok(norm)
    }
}
