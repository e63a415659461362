//! Vectors or tokens for cross-attention that no text encoder made (Liu et al. 2023, Zero-1-to-3).

use burn::module::Module;
use burn::tensor::Tensor;

use super::ContextConfig;
use crate::layers::Linear;
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// A linear layer from a condition's features to those of text.
#[derive(Module, Debug)]
pub struct ContextEmbedding {
    /// `[features] -> [cross_attention_dim]`.
    pub proj: Linear,
}

impl_for_each_linear!(ContextEmbedding { proj });

impl ContextEmbedding {
    pub(crate) fn new(
        init: &ParameterInit,
        config: &ContextConfig,
        cross_attention_dim: usize,
    ) -> Self {
        Self {
            proj: Linear::new(&init.at("proj"), config.features, cross_attention_dim),
        }
    }

    /// # Shapes
    /// - `context`: `[batch, tokens, features]`; result: `[batch, tokens, cross_attention_dim]`
    pub fn forward(&self, context: Tensor<3>) -> Tensor<3> {
        self.proj.forward(context)
    }
}

/// What cross-attention attends to: the text's tokens, then the context's; one token of zeros where there are neither.
///
/// # Shapes
/// - `text`: `[batch, tokens, features]`; `context`: `[batch, further tokens, features]`
/// - `x_t`: any, says how many samples there are and where
pub(crate) fn tokens(
    text: Option<Tensor<3>>,
    context: Option<Tensor<3>>,
    x_t: &Tensor<4>,
    features: usize,
) -> Tensor<3> {
    match (text, context) {
        (Some(text), Some(context)) => Tensor::cat(vec![text, context], 1),
        (Some(tokens), None) | (None, Some(tokens)) => tokens,
        (None, None) => Tensor::zeros([x_t.dims()[0], 1, features], (&x_t.device(), x_t.dtype())),
    }
}
