//! Weights by parameter id, for carrying them from one module to another. A copy of a network keeps the ids of what it
//! copies; adapters have their own.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// Tensors of any rank by parameter, flattened: a map cannot hold several ranks.
#[derive(Clone)]
pub(crate) struct WeightsById(HashMap<ParamId, Tensor<1>>);

impl WeightsById {
    /// The float weights of `module`, off the autodiff graph.
    pub(crate) fn of<M: Module>(module: &M) -> Self {
        let mut weights = Self(HashMap::new());
        module.valid().visit(&mut weights);
        weights
    }

    /// The weights of `module` that train, off the autodiff graph. `module` must be on an autodiff device.
    pub(crate) fn of_trained<M: Module>(module: &M) -> Self {
        struct Trained(WeightsById);
        impl ModuleVisitor for Trained {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if param.is_require_grad() {
                    self.0.insert(param.id, param.val().inner());
                }
            }
        }
        let mut trained = Trained(Self(HashMap::new()));
        module.visit(&mut trained);
        trained.0
    }

    fn insert<const D: usize>(&mut self, id: ParamId, tensor: Tensor<D>) {
        let elements = tensor.shape().num_elements();
        self.0.insert(id, tensor.reshape([elements]));
    }

    /// Takes out the weights of a parameter.
    pub(crate) fn take(&mut self, id: ParamId) -> Option<Tensor<1>> {
        self.0.remove(&id)
    }
}

impl ModuleVisitor for WeightsById {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.insert(param.id, param.val());
    }
}
