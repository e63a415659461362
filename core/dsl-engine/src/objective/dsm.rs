//! Denoising score matching (DSM), the baseline: `L = E ||eps_G(x_t, t, c) - eps||^2`.
//!
//! Ho et al. 2020, eq. 14; Eq. 11 of the DSL paper, where it is the case of a perfect discriminator.

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{Measure, weighted_mean};

/// DSM has no settings of its own; weighting and space of the loss stand under `loss`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DsmConfig {}

/// The loss, and what it was made of.
pub struct DsmLoss {
    /// Scalar to differentiate, shape `[1]`.
    pub loss: Tensor<1>,
    /// `||eps_G - eps||^2` per sample, detached, `[batch]`.
    pub error: Tensor<1>,
}

/// Regression of the network's output on the drawn noise.
///
/// # Shapes
/// - `prediction`, `target`: `[batch, channels, height, width]`, in the network's own parameterisation
pub fn dsm_loss(prediction: Tensor<4>, target: Tensor<4>, measure: &Measure) -> DsmLoss {
    let error = measure.squared_distance(prediction, target);
    DsmLoss {
        loss: weighted_mean(error.clone(), measure.weight()),
        error: error.detach(),
    }
}
