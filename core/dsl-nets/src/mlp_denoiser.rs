//! A small multi-layer perceptron that denoises vectors, for distributions in the plane.

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::embeddings::Timesteps;
use crate::error::NetsError;
use crate::layers::Linear;
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// Shape of an [`MlpDenoiser`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MlpConfig {
    /// Length of the vectors.
    pub features: usize,
    /// Width of each hidden layer.
    pub hidden_sizes: Vec<usize>,
    /// Sinusoids of the timestep beside each vector; an even number.
    pub time_embedding_dim: usize,
}

impl Default for MlpConfig {
    fn default() -> Self {
        Self {
            features: 2,
            hidden_sizes: vec![128; 3],
            time_embedding_dim: 64,
        }
    }
}

impl MlpConfig {
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a size of 0 or an odd number of sinusoids.
    pub fn validate(&self) -> Result<(), NetsError> {
        if self.features == 0 {
            return Err(NetsError::config(
                "features",
                self.features,
                "it must be at least 1",
            ));
        }
        if self.hidden_sizes.is_empty() || self.hidden_sizes.contains(&0) {
            return Err(NetsError::config(
                "hidden_sizes",
                &self.hidden_sizes,
                "it needs at least one size, none of them 0",
            ));
        }
        if self.time_embedding_dim == 0 || !self.time_embedding_dim.is_multiple_of(2) {
            return Err(NetsError::config(
                "time_embedding_dim",
                self.time_embedding_dim,
                "it must be even and at least 2",
            ));
        }
        Ok(())
    }
}

/// Hidden layers with SiLU over `[vector, sinusoids of the timestep]`, and a linear layer back to the vector.
#[derive(Module, Debug)]
pub struct MlpDenoiser {
    /// The hidden layers, then the one that makes the prediction.
    pub layers: Vec<Linear>,
    #[module(skip)]
    time_proj: Timesteps,
}

impl_for_each_linear!(MlpDenoiser { layers });

impl MlpDenoiser {
    /// Builds the network with fresh values.
    ///
    /// # Errors
    /// As [`MlpConfig::validate`].
    pub fn new(config: &MlpConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        config.validate()?;
        let mut sizes = vec![config.features + config.time_embedding_dim];
        sizes.extend(&config.hidden_sizes);
        sizes.push(config.features);
        let init = init.at("layers");
        Ok(Self {
            layers: sizes
                .windows(2)
                .enumerate()
                .map(|(i, pair)| Linear::new(&init.at(i), pair[0], pair[1]))
                .collect(),
            time_proj: Timesteps::new(config.time_embedding_dim, true, 0.0),
        })
    }

    /// # Shapes
    /// - `x_t`, result: `[batch, features, 1, 1]`; `timestep`: `[batch]`, or `[1]` for the whole batch
    pub fn forward(&self, x_t: Tensor<4>, timestep: Tensor<1>) -> Tensor<4> {
        let dims = x_t.dims();
        let [batch, features, ..] = dims;
        let timestep = if timestep.dims()[0] == batch {
            timestep
        } else {
            timestep.expand([batch])
        };
        // Sinusoids are computed in float32: the timesteps 998 and 999 are one number in bfloat16.
        let sinusoids = self.time_proj.forward(timestep).cast(x_t.dtype());
        let mut hidden = Tensor::cat(vec![x_t.reshape([batch, features]), sinusoids], 1);
        let last = self.layers.len() - 1;
        for (index, layer) in self.layers.iter().enumerate() {
            hidden = layer.forward(hidden);
            if index < last {
                hidden = kernels::silu(hidden);
            }
        }
        hidden.reshape(dims)
    }
}
