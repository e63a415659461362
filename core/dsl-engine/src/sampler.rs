//! From noise to samples: one contract for all samplers.
//!
//! A sampler walks down a list of noise levels. At each it hands the network an input of unit-ish
//! variance and a timestep, turns the answer into an estimate of `x_0` ([`readout`]), and moves `x_t`
//! to the next level: a linear combination of `x_t`, the estimate, sometimes the estimate before it,
//! and fresh noise. The samplers differ in the levels and in the factors, which they compute once, in
//! [`SamplerConfig::build`]:
//!
//! | kind | file | source |
//! |---|---|---|
//! | `ddpm` | [`ddpm`] | Ho et al. 2020 |
//! | `ddim` | [`ddim`] | Song et al. 2021 |
//! | `euler`, `euler_a` | [`euler`] | Karras et al. 2022; the ancestral step of k-diffusion |
//! | `dpmpp_2m`, `dpmpp_2m_sde` | [`dpmpp_2m`] | Lu et al. 2022b |
//!
//! Levels, factors and quirks follow diffusers' schedulers, so that a network trained there gives the
//! same pictures here; each file names the quirks.

use std::convert::Infallible;
use std::fmt::Debug;

use burn::tensor::Tensor;

use crate::noise_schedule::NoiseSchedule;
use crate::parameterization::PredictionType;
use crate::setting_error::SettingError;

pub mod config;
pub mod ddim;
pub mod ddpm;
pub mod dpmpp_2m;
pub mod euler;
pub mod readout;
pub mod sigmas;
pub mod tiles;
pub mod timesteps;

pub use config::{
    FinalSigmasType, SamplerConfig, SamplerKind, SolverType, TimestepSpacing, VarianceType,
};

/// One sampler with all its levels and factors computed. Holds no state of a run.
pub trait Sampler: Debug + Send + Sync {
    /// What the network is told at each step, falling; whole numbers except for Euler.
    fn timesteps(&self) -> &[f64];

    /// Standard deviation of the noise that sampling starts from, in the sampler's own scale.
    fn init_noise_sigma(&self) -> f32 {
        1.0
    }

    /// Factors of `x_0` and `eps` in the sampler's own `x_t` at a step.
    fn mix(&self, step: usize) -> (f32, f32);

    /// What the network sees of `x_t` at a step: the sample scaled to `a^2 + s^2 = 1`.
    /// As it is, for samplers whose own scale is that.
    fn scale_model_input(&self, _step: usize, x_t: Tensor<4>) -> Tensor<4> {
        x_t
    }

    /// Whether a step adds fresh noise.
    fn needs_noise(&self, step: usize) -> bool;

    /// Moves from the level of `step` to the next one.
    fn step(&self, step: usize, input: StepInput) -> StepOutput;
}

/// What a sampler's step works on. All tensors are `[batch, channels, height, width]`.
#[derive(Debug, Clone)]
pub struct StepInput {
    /// The sample at the level of this step, in the sampler's own scale.
    pub x_t: Tensor<4>,
    /// The network's answer.
    pub prediction: Tensor<4>,
    /// [`StepOutput::x_0`] of the step before; `None` at the first.
    pub previous_x_0: Option<Tensor<4>>,
    /// Standard normal; needed where [`Sampler::needs_noise`] says so, not read elsewhere.
    pub noise: Option<Tensor<4>>,
}

/// What a sampler's step gives.
#[derive(Debug, Clone)]
pub struct StepOutput {
    /// The sample at the next level.
    pub x_t: Tensor<4>,
    /// The estimate of the clean sample on which the step was based.
    pub x_0: Tensor<4>,
}

/// A sampler built for one schedule and one kind of network, with the loop around its steps.
#[derive(Debug)]
pub struct SamplerRun {
    sampler: Box<dyn Sampler>,
}

impl SamplerConfig {
    /// Computes levels and factors.
    ///
    /// # Errors
    /// A setting out of range, one that the kind of sampler does not know, or one that clashes with
    /// the schedule.
    pub fn build(
        &self,
        schedule: &NoiseSchedule,
        prediction: PredictionType,
    ) -> Result<SamplerRun, SettingError> {
        self.validate()?;
        let sampler: Box<dyn Sampler> = match self.kind {
            SamplerKind::Ddpm => Box::new(ddpm::Ddpm::new(self, schedule, prediction)?),
            SamplerKind::Ddim => Box::new(ddim::Ddim::new(self, schedule, prediction)?),
            SamplerKind::Euler | SamplerKind::EulerA => {
                Box::new(euler::Euler::new(self, schedule, prediction)?)
            }
            SamplerKind::Dpmpp2m | SamplerKind::Dpmpp2mSde => {
                Box::new(dpmpp_2m::Dpmpp2m::new(self, schedule, prediction)?)
            }
        };
        Ok(SamplerRun { sampler })
    }
}

impl SamplerRun {
    /// The sampler, for callers that keep their own loop.
    pub fn sampler(&self) -> &dyn Sampler {
        self.sampler.as_ref()
    }

    /// Number of steps, one network evaluation each.
    pub fn num_steps(&self) -> usize {
        self.sampler.timesteps().len()
    }

    /// What the network is told at each step.
    pub fn timesteps(&self) -> &[f64] {
        self.sampler.timesteps()
    }

    /// Turns standard normal noise into samples.
    ///
    /// `denoise(x_t, timestep)` is the network, with guidance if any ([`crate::guidance`]): it gets
    /// the scaled sample and answers in the prediction type given to [`SamplerConfig::build`].
    /// `noise(step)` gives standard normal noise; it is called for the steps that need it, no others.
    ///
    /// # Shapes
    /// - `init_noise`, all tensors of both closures, result: `[batch, channels, height, width]`
    pub fn sample(
        &self,
        init_noise: Tensor<4>,
        mut denoise: impl FnMut(Tensor<4>, f64) -> Tensor<4>,
        noise: impl FnMut(usize) -> Tensor<4>,
    ) -> Tensor<4> {
        let denoise = |x_t, timestep| Ok::<_, Infallible>(denoise(x_t, timestep));
        match self.try_sample(init_noise, denoise, noise) {
            Ok(x_0) => x_0,
            Err(never) => match never {},
        }
    }

    /// [`Self::sample`] with a network evaluation that can fail or be cancelled.
    ///
    /// # Errors
    /// The first error of `denoise`.
    pub fn try_sample<E>(
        &self,
        init_noise: Tensor<4>,
        denoise: impl FnMut(Tensor<4>, f64) -> Result<Tensor<4>, E>,
        noise: impl FnMut(usize) -> Tensor<4>,
    ) -> Result<Tensor<4>, E> {
        let x_t = init_noise.mul_scalar(self.sampler.init_noise_sigma());
        self.try_sample_from(0, x_t, denoise, noise)
    }

    /// The rest of a run from `first_step` on; `x_t` is at the level of that step, for example from
    /// [`Self::add_noise`].
    ///
    /// # Errors
    /// The first error of `denoise`.
    pub fn try_sample_from<E>(
        &self,
        first_step: usize,
        mut x_t: Tensor<4>,
        mut denoise: impl FnMut(Tensor<4>, f64) -> Result<Tensor<4>, E>,
        mut noise: impl FnMut(usize) -> Tensor<4>,
    ) -> Result<Tensor<4>, E> {
        let mut previous_x_0 = None;
        for (step, &timestep) in self.sampler.timesteps().iter().enumerate().skip(first_step) {
            let seen = self.sampler.scale_model_input(step, x_t.clone());
            let prediction = denoise(seen, timestep)?;
            let noise = self.sampler.needs_noise(step).then(|| noise(step));
            let input = StepInput {
                x_t,
                prediction,
                previous_x_0,
                noise,
            };
            let output = self.sampler.step(step, input);
            x_t = output.x_t;
            previous_x_0 = Some(output.x_0);
        }
        Ok(x_t)
    }

    /// Noises clean samples to the level of `step`, in the sampler's own scale.
    ///
    /// # Shapes
    /// - `x_0`, `eps`, result: `[batch, channels, height, width]`
    pub fn add_noise(&self, x_0: Tensor<4>, eps: Tensor<4>, step: usize) -> Tensor<4> {
        let (signal, noise) = self.sampler.mix(step);
        x_0.mul_scalar(signal) + eps.mul_scalar(noise)
    }
}

/// A network that predicts `eps` says nothing about `x_0` where `x_t` is noise alone; `euler` and
/// `dpmpp_2m` never go quite there.
fn refuse_eps_at_zero_snr(
    schedule: &NoiseSchedule,
    prediction: PredictionType,
    timesteps: &[f64],
) -> Result<(), SettingError> {
    let divides = prediction == PredictionType::Epsilon
        && timesteps
            .iter()
            .any(|&t| schedule.alpha_bar(t as u32) == 0.0);
    if divides {
        return Err(SettingError::conflict(
            "rescale_betas_zero_snr",
            "prediction_type: epsilon",
            "the first step starts from noise alone, of which eps gives no estimate of x_0",
            "use a network with `prediction_type: v_prediction`, or `kind: dpmpp_2m`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
