//! Weights by parameter id, for carrying them from one module to another. A copy of a network keeps the ids of what it
//! copies; adapters have their own.

use std::collections::HashMap;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// Tensors of any rank by parameter, flattened: a map cannot hold several ranks.
pub(crate) struct WeightsById(HashMap<ParamId, Tensor<1>>);

impl WeightsById {
    /// The float weights of `module`, off the autodiff graph.
    pub(crate) fn of<M: Module>(module: &M) -> Self {
        let mut weights = Self(HashMap::new());
        module.valid().visit(&mut weights);
        weights
    }

    /// Takes out the weights of a parameter.
    pub(crate) fn take(&mut self, id: ParamId) -> Option<Tensor<1>> {
        self.0.remove(&id)
    }
}

impl ModuleVisitor for WeightsById {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let elements = tensor.shape().num_elements();
        self.0.insert(param.id, tensor.reshape([elements]));
    }
}
