//! DDIM (Song et al. 2021, eq. 12 and 16): deterministic with `eta` 0, as random as DDPM with 1.
//!
//! With `alpha_bar` at this timestep and `alpha_bar'` at the one it steps to:
//!
//! `std^2 = eta^2 (1 - alpha_bar') / (1 - alpha_bar) (1 - alpha_bar / alpha_bar')`,
//! `x' = sqrt(alpha_bar') x_0 + sqrt(1 - alpha_bar' - std^2) eps + std noise`.
//!
//! A quirk kept from the reference: a step goes `num_train_timesteps / num_inference_steps` (rounded
//! down) timesteps far, wherever the next one visited lies. With a number of steps that divides the
//! training timesteps, and `trailing` or `leading` spacing, that is the next one.

use super::config::SamplerConfig;
use super::readout::{Level, Readout, eps_of_x_0};
use super::{Sampler, StepInput, StepOutput, refuse_eps_at_zero_snr, timesteps};
use crate::noise_schedule::NoiseSchedule;
use crate::parameterization::PredictionType;
use crate::setting_error::SettingError;

/// DDIM with its factors.
#[derive(Debug, Clone)]
pub struct Ddim {
    readout: Readout,
    /// Whether `eps` is computed from the limited `x_0`.
    use_clipped_model_output: bool,
    timesteps: Vec<f64>,
    factors: Vec<Factors>,
}

#[derive(Debug, Clone, Copy)]
struct Factors {
    level: Level,
    x_0: f32,
    eps: f32,
    noise: f32,
}

impl Ddim {
    pub(super) fn new(
        config: &SamplerConfig,
        schedule: &NoiseSchedule,
        prediction: PredictionType,
    ) -> Result<Self, SettingError> {
        let timesteps = timesteps::ancestral(config, schedule.num_train_timesteps(), true)?;
        refuse_eps_at_zero_snr(schedule, prediction, &timesteps)?;
        let stride = schedule.num_train_timesteps() / timesteps.len();
        let final_alpha_bar = if config.set_alpha_to_one {
            1.0
        } else {
            schedule.alpha_bar(0)
        };
        let factors = timesteps
            .iter()
            .map(|&t| {
                let next = match (t as u32).checked_sub(stride as u32) {
                    Some(next) => schedule.alpha_bar(next),
                    None => final_alpha_bar,
                };
                Factors::new(schedule.alpha_bar(t as u32), next, config.eta as f32)
            })
            .collect();
        Ok(Self {
            readout: Readout::new(config, prediction),
            use_clipped_model_output: config.use_clipped_model_output,
            timesteps,
            factors,
        })
    }
}

impl Factors {
    fn new(alpha_bar: f32, next_alpha_bar: f32, eta: f32) -> Self {
        let next_rest = 1.0 - next_alpha_bar;
        let variance = next_rest / (1.0 - alpha_bar) * (1.0 - alpha_bar / next_alpha_bar);
        // 1 - alpha_bar' - std^2 without the difference, of which nothing is left in f32 (or less: its
        // root is NaN) when eta is 1 and alpha_bar near 0.
        let kept = next_rest * alpha_bar / (next_alpha_bar * (1.0 - alpha_bar));
        let eps_variance = next_rest * ((1.0 - eta * eta) + eta * eta * kept);
        Self {
            level: Level::of_alpha_bar(alpha_bar),
            x_0: next_alpha_bar.sqrt(),
            eps: eps_variance.sqrt(),
            noise: eta * variance.sqrt(),
        }
    }
}

impl Sampler for Ddim {
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
        let Factors {
            level,
            x_0: x_0_factor,
            eps: eps_factor,
            noise: noise_factor,
        } = self.factors[step];
        let StepInput {
            x_t,
            prediction,
            noise,
            ..
        } = input;
        let x_0 = self.readout.x_0(prediction.clone(), x_t.clone(), level);
        let eps = if self.use_clipped_model_output {
            eps_of_x_0(x_0.clone(), x_t, level)
        } else {
            self.readout.eps(prediction, x_t, level)
        };
        let mean = x_0.clone().mul_scalar(x_0_factor) + eps.mul_scalar(eps_factor);
        let x_t = match noise {
            Some(noise) if noise_factor > 0.0 => mean + noise.mul_scalar(noise_factor),
            _ => mean,
        };
        StepOutput { x_t, x_0 }
    }
}
