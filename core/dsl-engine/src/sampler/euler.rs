//! Euler steps over noise levels (Karras et al. 2022, algorithm 1 without its second half), and the
//! ancestral form that adds fresh noise after each.
//!
//! The sample is kept in the scale `x = x_0 + sigma eps`; the network sees `x / sqrt(sigma^2 + 1)`.
//! One step follows the slope `d = (x - x_0) / sigma` to the next level: `x' = x + d (sigma' - sigma)`,
//! computed as `x_0 + (sigma' / sigma) (x - x_0)`, since at sigma 4096 the first form leaves two digits.
//! The ancestral step goes down to `sigma_down = sigma'^2 / sigma` and adds noise of `sigma_up`, so
//! that `sigma_down^2 + sigma_up^2 = sigma'^2`.
//!
//! Quirks kept from the reference: with `linspace` spacing or Karras levels the timesteps are not whole
//! numbers; levels between two timesteps are interpolated in `sigma`; Karras levels run between the
//! first and the last level that the spacing gives, not over the whole range.

use burn::tensor::Tensor;

use super::config::{FinalSigmasType, SamplerConfig, SamplerKind, TimestepSpacing};
use super::readout::{Level, Readout};
use super::{Sampler, StepInput, StepOutput, sigmas, timesteps};
use crate::noise_schedule::NoiseSchedule;
use crate::parameterization::PredictionType;
use crate::setting_error::SettingError;

/// Euler with its levels.
#[derive(Debug, Clone)]
pub struct Euler {
    readout: Readout,
    timesteps: Vec<f64>,
    /// One more than there are steps, falling.
    sigmas: Vec<f32>,
    init_noise_sigma: f32,
    ancestral: bool,
}

impl Euler {
    pub(super) fn new(
        config: &SamplerConfig,
        schedule: &NoiseSchedule,
        prediction: PredictionType,
    ) -> Result<Self, SettingError> {
        let training = sigmas::training(schedule);
        let mut timesteps = timesteps::ancestral(config, training.len(), false)?;
        let mut levels: Vec<f64> = timesteps
            .iter()
            .map(|&t| sigmas::at(&training, t))
            .collect();
        if config.use_karras_sigmas {
            levels = sigmas::karras(levels[0], levels[levels.len() - 1], levels.len());
            let to_timestep = |&sigma| f64::from(sigmas::to_timestep(&training, sigma) as f32);
            timesteps = levels.iter().map(to_timestep).collect();
        }
        let ancestral = config.kind == SamplerKind::EulerA;
        let last = match config.final_sigmas_type {
            FinalSigmasType::Zero => 0.0,
            FinalSigmasType::SigmaMin => training[0],
        };
        let sigmas: Vec<f32> = levels.into_iter().map(|s| s as f32).chain([last]).collect();
        // The sample starts as pure noise of the first level; `leading` spacing, which does not start
        // at the noisiest level, counts the variance of x_0 in as well.
        let init_noise_sigma = match config.timestep_spacing {
            TimestepSpacing::Leading => (sigmas[0] * sigmas[0] + 1.0).sqrt(),
            TimestepSpacing::Trailing | TimestepSpacing::Linspace => sigmas[0],
        };
        let readout = Readout::new(config, prediction);
        Ok(Self {
            readout,
            timesteps,
            sigmas,
            init_noise_sigma,
            ancestral,
        })
    }

    /// `(sigma_down / sigma, sigma_up)`: how much of the noise is kept, and how much added after.
    fn targets(&self, step: usize) -> (f64, f64) {
        let (from, to) = (
            f64::from(self.sigmas[step]),
            f64::from(self.sigmas[step + 1]),
        );
        let ratio = to / from;
        if self.ancestral {
            (ratio * ratio, to * (1.0 - ratio * ratio).sqrt())
        } else {
            (ratio, 0.0)
        }
    }
}

impl Sampler for Euler {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f32 {
        self.init_noise_sigma
    }

    fn mix(&self, step: usize) -> (f32, f32) {
        (1.0, self.sigmas[step])
    }

    fn scale_model_input(&self, step: usize, x_t: Tensor<4>) -> Tensor<4> {
        let sigma = self.sigmas[step];
        x_t.div_scalar((sigma * sigma + 1.0).sqrt())
    }

    fn needs_noise(&self, step: usize) -> bool {
        self.targets(step).1 > 0.0
    }

    fn step(&self, step: usize, input: StepInput) -> StepOutput {
        let sigma = self.sigmas[step];
        let (keep, up) = self.targets(step);
        let seen = self.scale_model_input(step, input.x_t.clone());
        let x_0 = self
            .readout
            .x_0(input.prediction, seen, Level::of_sigma(sigma));
        let mean = x_0.clone() + (input.x_t - x_0.clone()).mul_scalar(keep);
        let x_t = match input.noise {
            Some(noise) if up > 0.0 => mean + noise.mul_scalar(up),
            _ => mean,
        };
        StepOutput { x_t, x_0 }
    }
}
