//! Classes, by an embedding that is added to the timestep's (Nichol and Dhariwal 2021).

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use crate::layers::Embedding;
use crate::parameter_init::ParameterInit;

/// One vector for each class, and a last one for none of them.
#[derive(Module, Debug)]
pub struct ClassLabelEmbedding {
    /// `[classes + 1, time_embed_dim]`.
    pub table: Embedding,
}

impl ClassLabelEmbedding {
    pub(crate) fn new(init: &ParameterInit, classes: usize, time_embed_dim: usize) -> Self {
        Self {
            table: Embedding::new(&init.at("table"), classes + 1, time_embed_dim),
        }
    }

    /// # Shapes
    /// - `class_ids`: `[batch]`, each in `0..=classes`; result: `[batch, time_embed_dim]`
    pub fn forward(&self, class_ids: Tensor<1, Int>) -> Tensor<2> {
        let [batch] = class_ids.dims();
        let rows = self.table.forward(class_ids.reshape([batch, 1]));
        let [_, _, features] = rows.dims();
        rows.reshape([batch, features])
    }
}
