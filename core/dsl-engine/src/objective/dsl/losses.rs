//! Eq. 2 and Eq. 3 as functions of the two networks' outputs.

use burn::tensor::Tensor;

use super::config::{GeneratorConfig, GeneratorHinge, HingeConfig, HingeGranularity, HingeGroup};
use crate::objective::loss::{Measure, weighted_mean};

/// The margin `m`, one for all timesteps or one per range of timesteps.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Margins {
    /// One margin per equal range of timesteps, in units of the reduced squared error.
    pub bins: Vec<f64>,
    /// Length of the noise schedule that the ranges divide.
    pub num_train_timesteps: usize,
}

impl Margins {
    /// One margin for all timesteps.
    pub fn scalar(margin: f64) -> Self {
        Self {
            bins: vec![margin],
            num_train_timesteps: 1,
        }
    }

    /// The range that `timestep` falls into.
    pub fn bin_of(&self, timestep: u32) -> usize {
        bin_of(timestep, self.num_train_timesteps, self.bins.len())
    }

    /// Mean over the ranges: the one number that is logged.
    pub fn mean(&self) -> f64 {
        self.bins.iter().sum::<f64>() / self.bins.len().max(1) as f64
    }

    /// The margin of each timestep.
    pub fn at(&self, timesteps: &[u32]) -> Vec<f32> {
        timesteps
            .iter()
            .map(|&t| self.bins.get(self.bin_of(t)).copied().unwrap_or(0.0) as f32)
            .collect()
    }
}

/// Index of the one of `bins` equal ranges of `0..num_train_timesteps` that `timestep` lies in.
pub(crate) fn bin_of(timestep: u32, num_train_timesteps: usize, bins: usize) -> usize {
    let last = bins.saturating_sub(1);
    (timestep as usize * bins / num_train_timesteps.max(1)).min(last)
}

/// Eq. 2 and what it was made of.
pub struct DiscriminatorLoss {
    /// Scalar to differentiate, `[1]`.
    pub loss: Tensor<1>,
    /// `||eps_phi - eps||^2` per row, detached, `[batch]`.
    pub error: Tensor<1>,
    /// `||eps_phi - eps_G||^2` per row, detached, `[batch]`.
    pub gap: Tensor<1>,
    /// Value of the hinge per compared unit before lambda, detached; the units are those of [`HingeGranularity`].
    pub hinge: Tensor<1>,
    /// 1 where a unit lies inside the margin, else 0; shape of `hinge`.
    pub active: Tensor<1>,
}

/// Eq. 3 (with the optional terms of [`GeneratorConfig`]) and what it was made of.
pub struct GeneratorLoss {
    /// Scalar to differentiate, `[1]`.
    pub loss: Tensor<1>,
    /// `||eps_G - eps_phi||^2` per row, detached, `[batch]`.
    pub gap: Tensor<1>,
    /// `||eps_G - eps||^2` per row, detached, `[batch]`.
    pub error: Tensor<1>,
}

/// Eq. 2: `E[ ||eps_phi - eps||^2 + lambda * max(0, m - ||eps_phi - eps_G||^2) ]`.
///
/// At `lambda` 0 the hinge is measured and left out of the graph, so that the gradient is that of DSM bit for bit.
///
/// # Shapes
/// - `eps_phi`, `target`, `eps_g`: `[batch, channels, height, width]`, in the networks' own parameterisation;
///   `eps_g` is detached here
/// - `margin`: `[batch]`, the margin of each row's timestep
pub fn discriminator_loss(
    eps_phi: Tensor<4>,
    target: Tensor<4>,
    eps_g: Tensor<4>,
    lambda: f64,
    margin: Tensor<1>,
    hinge: &HingeConfig,
    measure: &Measure,
) -> DiscriminatorLoss {
    let error = measure.squared_distance(eps_phi.clone(), target);
    let regression = weighted_mean(error.clone(), measure.weight());

    let eps_phi = if lambda == 0.0 {
        eps_phi.detach()
    } else {
        eps_phi
    };
    let squares = measure.squares(eps_phi, eps_g.detach());
    let gap = measure.reduce(squares.clone()).detach();
    let (value, weighted) = match hinge.granularity {
        HingeGranularity::Sample => {
            let (energy, margin, weight) =
                by_group(measure.reduce(squares), margin, hinge.group, measure);
            let value = (margin - energy).clamp_min(0.0);
            (value.clone(), weighted_mean(value, weight.as_ref()))
        }
        HingeGranularity::Batch => {
            let energy = weighted_mean(measure.reduce(squares), measure.weight());
            let margin = weighted_mean(margin, measure.weight());
            let value = (margin - energy).clamp_min(0.0);
            (value.clone(), value)
        }
        HingeGranularity::Element => {
            let rows = margin.dims()[0];
            let excess = (margin.reshape([rows, 1, 1, 1]) - squares).clamp_min(0.0);
            let value = measure.reduce(excess);
            (value.clone(), weighted_mean(value, measure.weight()))
        }
    };
    let loss = if lambda == 0.0 {
        regression
    } else {
        regression + weighted.mul_scalar(lambda)
    };
    let value = value.detach();
    DiscriminatorLoss {
        loss,
        error: error.detach(),
        gap,
        active: value.clone().greater_scalar(0.0).float(),
        hinge: value,
    }
}

/// Eq. 3: `E[ ||eps_G - eps_phi||^2 ]`, plus `dsm_weight * E[ ||eps_G - eps||^2 ]`.
///
/// # Shapes
/// As [`discriminator_loss`]; `eps_phi` is detached here.
#[expect(
    clippy::too_many_arguments,
    reason = "outputs, constants and conventions of Eq. 3 and of the hinge"
)]
pub fn generator_loss(
    eps_g: Tensor<4>,
    eps_phi: Tensor<4>,
    target: Tensor<4>,
    lambda: f64,
    margin: Tensor<1>,
    config: &GeneratorConfig,
    hinge: &HingeConfig,
    measure: &Measure,
) -> GeneratorLoss {
    let gap = measure.squared_distance(eps_g.clone(), eps_phi.detach());
    let pull = match config.hinge {
        GeneratorHinge::Off => weighted_mean(gap.clone(), measure.weight()),
        GeneratorHinge::Toward | GeneratorHinge::Literal => {
            let sign = if config.hinge == GeneratorHinge::Toward {
                1.0
            } else {
                -1.0
            };
            let (energy, margin, weight) = by_group(gap.clone(), margin, hinge.group, measure);
            let inside = (margin - energy.clone().detach())
                .greater_scalar(0.0)
                .float();
            let factor = inside.mul_scalar(sign * lambda).add_scalar(1.0);
            weighted_mean(energy * factor, weight.as_ref())
        }
    };
    // The error is logged in either case; its graph is built only where it is part of the loss.
    let (loss, error) = if config.dsm_weight == 0.0 {
        (pull, measure.squared_distance(eps_g.detach(), target))
    } else {
        let error = measure.squared_distance(eps_g, target);
        let regression = weighted_mean(error.clone(), measure.weight());
        (
            pull + regression.mul_scalar(config.dsm_weight),
            error.detach(),
        )
    };
    GeneratorLoss {
        loss,
        gap: gap.detach(),
        error,
    }
}

/// Energies, margins and weights per hinge unit: per row, or per object where the views of an object count as one.
fn by_group(
    energy: Tensor<1>,
    margin: Tensor<1>,
    group: HingeGroup,
    measure: &Measure,
) -> (Tensor<1>, Tensor<1>, Option<Tensor<1>>) {
    let weight = measure.weight().cloned();
    match group {
        HingeGroup::View => (energy, margin, weight),
        HingeGroup::Object => (
            measure.per_object(energy),
            measure.per_object(margin),
            weight.map(|w| measure.per_object(w)),
        ),
    }
}
