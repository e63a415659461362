//! What a denoiser is told beside x_t and the timestep.

use burn::tensor::Tensor;

/// Conditioning of one batch; both networks of an objective receive the same one.
#[derive(Debug, Clone, Default)]
pub struct Conditioning {
    /// Text features for cross-attention, `[batch, tokens, cross_attention_dim]`.
    pub encoder_hidden_states: Option<Tensor<3>>,
}

impl Conditioning {
    /// No conditioning at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Text features, `[batch, tokens, cross_attention_dim]`.
    pub fn text(encoder_hidden_states: Tensor<3>) -> Self {
        Self {
            encoder_hidden_states: Some(encoder_hidden_states),
        }
    }

    /// The same values, cut from the graph that made them.
    pub fn detach(&self) -> Self {
        self.map(Tensor::detach)
    }

    /// The same values without autodiff, for sampling and evaluation.
    pub fn inner(&self) -> Self {
        self.map(Tensor::inner)
    }

    /// Several batches one after the other, as guidance needs them: `[first's batch + second's batch + .., ..]`.
    ///
    /// Conditioning that not all of them have is left out.
    pub fn concat(parts: &[&Self]) -> Self {
        let states: Option<Vec<_>> = parts
            .iter()
            .map(|part| part.encoder_hidden_states.clone())
            .collect();
        Self {
            encoder_hidden_states: states
                .filter(|s| !s.is_empty())
                .map(|states| Tensor::cat(states, 0)),
        }
    }

    fn map(&self, change: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        Self {
            encoder_hidden_states: self.encoder_hidden_states.clone().map(change),
        }
    }
}
