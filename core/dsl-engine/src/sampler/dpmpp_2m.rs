//! DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2) and its stochastic form.
//!
//! With `a`, `s` the factors of `x_0` and `eps` at a level, `lambda = ln(a / s)`, primes for the next
//! level, `h = lambda' - lambda`, `r = (lambda - lambda_before) / h`, `D = x_0 + k (x_0 - x_0_before)`:
//!
//! - `x' = s'/s x_t + a' (1 - e^-h) D`, with `k = 1 / 2r` (midpoint)
//! - stochastic: `x' = s'/s e^-h x_t + a' (1 - e^-2h) D + s' sqrt(1 - e^-2h) noise`
//! - first order (at the start, and at the end as the settings say): `D = x_0`
//! - `heun`: `k a' (1 - e^-h)` is replaced by the exact integral, `a' ((e^-h - 1) / h + 1) / r`
//!
//! Quirks kept from the reference: Karras levels run over the whole training range, their timesteps
//! are rounded, except for `squaredcos_cap_v2`, where they are cut off; so they may repeat.

use super::config::{FinalSigmasType, SamplerConfig, SamplerKind, SolverType};
use super::readout::{Level, Readout};
use super::{Sampler, StepInput, StepOutput, sigmas, timesteps};
use crate::noise_schedule::{BetaSchedule, NoiseSchedule};
use crate::parameterization::PredictionType;
use crate::setting_error::SettingError;

/// With fewer steps than this, `lower_order_final` ends with a first-order step.
const FEW_STEPS: usize = 15;

/// DPM-Solver++(2M) with its factors.
#[derive(Debug, Clone)]
pub struct Dpmpp2m {
    readout: Readout,
    timesteps: Vec<f64>,
    factors: Vec<Factors>,
}

#[derive(Debug, Clone, Copy)]
struct Factors {
    level: Level,
    x_t: f64,
    x_0: f64,
    /// Factor of `x_0 - x_0_before`; 0 in a first-order step.
    change: f64,
    noise: f64,
}

impl Dpmpp2m {
    pub(super) fn new(
        config: &SamplerConfig,
        schedule: &NoiseSchedule,
        prediction: PredictionType,
    ) -> Result<Self, SettingError> {
        let training = sigmas::training(schedule);
        let mut timesteps = timesteps::multistep(config, training.len())?;
        let mut levels: Vec<f64> = timesteps
            .iter()
            .map(|&t| sigmas::at(&training, t))
            .collect();
        if config.use_karras_sigmas {
            let (min, max) = (
                f64::from(training[0]),
                f64::from(training[training.len() - 1]),
            );
            levels = sigmas::karras(max, min, levels.len());
            let whole = match schedule.config().beta_schedule {
                BetaSchedule::SquaredcosCapV2 => sigmas::cut_off,
                BetaSchedule::Linear | BetaSchedule::ScaledLinear | BetaSchedule::Sigmoid => {
                    f64::round_ties_even
                }
            };
            let to_timestep = |&sigma| whole(sigmas::to_timestep(&training, sigma));
            timesteps = levels.iter().map(to_timestep).collect();
        }
        let last = match config.final_sigmas_type {
            FinalSigmasType::Zero => 0.0,
            FinalSigmasType::SigmaMin => training[0],
        };
        let sigmas: Vec<f32> = levels.into_iter().map(|s| s as f32).chain([last]).collect();
        let factors = (0..timesteps.len())
            .map(|step| factors(config, &sigmas, step))
            .collect();
        Ok(Self {
            readout: Readout::new(config, prediction),
            timesteps,
            factors,
        })
    }
}

fn factors(config: &SamplerConfig, sigmas: &[f32], step: usize) -> Factors {
    let steps = sigmas.len() - 1;
    let ends_low = config.euler_at_final
        || config.final_sigmas_type == FinalSigmasType::Zero
        || (config.lower_order_final && steps < FEW_STEPS);
    let mix = |sigma: f32| {
        let sigma = f64::from(sigma);
        let a = 1.0 / (sigma * sigma + 1.0).sqrt();
        (a, sigma * a)
    };
    // ln(a / s) = -ln sigma; infinite where there is no noise, which the exponentials below bear.
    let lambda = |sigma: f32| -f64::from(sigma).ln();
    let (_, s) = mix(sigmas[step]);
    let (next_a, next_s) = mix(sigmas[step + 1]);
    let h = lambda(sigmas[step + 1]) - lambda(sigmas[step]);

    // Karras levels that end at sigma_min end with a step that goes nowhere.
    let first_order =
        config.solver_order == 1 || step == 0 || h == 0.0 || (step + 1 == steps && ends_low);

    let stochastic = config.kind == SamplerKind::Dpmpp2mSde;
    // The stochastic form integrates twice the distance, and shrinks x_t the more.
    let (distance, shrink) = if stochastic {
        (2.0 * h, (-h).exp())
    } else {
        (h, 1.0)
    };
    let gain = -(-distance).exp_m1();
    let change = if first_order {
        0.0
    } else {
        let r = (lambda(sigmas[step]) - lambda(sigmas[step - 1])) / h;
        match config.solver_type {
            SolverType::Midpoint => next_a * gain * 0.5 / r,
            SolverType::Heun => next_a * (1.0 - gain / distance) / r,
        }
    };
    Factors {
        level: Level::of_sigma(sigmas[step]),
        x_t: next_s / s * shrink,
        x_0: next_a * gain,
        change,
        noise: if stochastic {
            next_s * gain.sqrt()
        } else {
            0.0
        },
    }
}

impl Sampler for Dpmpp2m {
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
        let mut x_t = input.x_t.mul_scalar(factors.x_t) + x_0.clone().mul_scalar(factors.x_0);
        if let Some(before) = input.previous_x_0
            && factors.change != 0.0
        {
            x_t = x_t + (x_0.clone() - before).mul_scalar(factors.change);
        }
        if let Some(noise) = input.noise
            && factors.noise > 0.0
        {
            x_t = x_t + noise.mul_scalar(factors.noise);
        }
        StepOutput { x_t, x_0 }
    }
}
