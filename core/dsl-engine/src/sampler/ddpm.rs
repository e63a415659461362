//! DDPM: ancestral sampling of the training process (Ho et al. 2020, algorithm 2), over any subset of
//! its timesteps.
//!
//! With `alpha_bar` at this timestep and `alpha_bar'` at the next one visited (1 after the last),
//! `beta = 1 - alpha_bar / alpha_bar'`:
//!
//! `x' = sqrt(alpha_bar') beta / (1 - alpha_bar) x_0
//!     + sqrt(1 - beta) (1 - alpha_bar') / (1 - alpha_bar) x_t + sqrt(variance) noise` (eq. 6, 7)
//!
//! The factors are computed in `f32`, as the reference does: `beta` of close timesteps is a
//! difference of nearly equal numbers, in which the rounding of `alpha_bar` shows.

use super::config::{SamplerConfig, VarianceType};
use super::readout::{Level, Readout};
use super::{Sampler, StepInput, StepOutput, refuse_eps_at_zero_snr, timesteps};
use crate::noise_schedule::NoiseSchedule;
use crate::parameterization::PredictionType;
use crate::setting_error::SettingError;

/// The reference keeps its variance above this; what is not larger is no noise.
const SMALLEST_VARIANCE: f32 = 1e-20;

/// DDPM with its factors.
#[derive(Debug, Clone)]
pub struct Ddpm {
    readout: Readout,
    timesteps: Vec<f64>,
    factors: Vec<Factors>,
}

#[derive(Debug, Clone, Copy)]
struct Factors {
    level: Level,
    x_0: f32,
    x_t: f32,
    noise: f32,
}

impl Ddpm {
    pub(super) fn new(
        config: &SamplerConfig,
        schedule: &NoiseSchedule,
        prediction: PredictionType,
    ) -> Result<Self, SettingError> {
        let timesteps = timesteps::ancestral(config, schedule.num_train_timesteps(), true)?;
        refuse_eps_at_zero_snr(schedule, prediction, &timesteps)?;
        let alpha_bars: Vec<f32> = timesteps
            .iter()
            .map(|&t| schedule.alpha_bar(t as u32))
            .collect();
        let factors = (0..timesteps.len())
            .map(|step| {
                let next = alpha_bars.get(step + 1).copied().unwrap_or(1.0);
                let mut factors = Factors::new(alpha_bars[step], next, config.variance_type);
                if timesteps[step] == 0.0 {
                    factors.noise = 0.0;
                }
                factors
            })
            .collect();
        Ok(Self {
            readout: Readout::new(config, prediction),
            timesteps,
            factors,
        })
    }
}

impl Factors {
    fn new(alpha_bar: f32, next_alpha_bar: f32, variance_type: VarianceType) -> Self {
        let alpha = alpha_bar / next_alpha_bar;
        let beta = 1.0 - alpha;
        let (rest, next_rest) = (1.0 - alpha_bar, 1.0 - next_alpha_bar);
        let variance = match variance_type {
            // The logarithm of the second changes the way of computing, not the value.
            VarianceType::FixedSmall | VarianceType::FixedSmallLog => next_rest / rest * beta,
            VarianceType::FixedLarge => beta,
        };
        Self {
            level: Level::of_alpha_bar(alpha_bar),
            x_0: next_alpha_bar.sqrt() * beta / rest,
            x_t: alpha.sqrt() * next_rest / rest,
            noise: if variance > SMALLEST_VARIANCE {
                variance.sqrt()
            } else {
                0.0
            },
        }
    }
}

impl Sampler for Ddpm {
    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn mix(&self, step: usize) -> (f32, f32) {
        let Level { a, s } = self.factors[step].level;
        (a, s)
    }

    fn needs_noise(&self, step: usize) -> bool {
        self.factors[step].noise > 0.0
    }

    fn step(&self, step: usize, input: StepInput) -> StepOutput {
        let factors = self.factors[step];
        let x_0 = self
            .readout
            .x_0(input.prediction, input.x_t.clone(), factors.level);
        let mean = x_0.clone().mul_scalar(factors.x_0) + input.x_t.mul_scalar(factors.x_t);
        let x_t = match input.noise {
            Some(noise) if factors.noise > 0.0 => mean + noise.mul_scalar(factors.noise),
            _ => mean,
        };
        StepOutput { x_t, x_0 }
    }
}
