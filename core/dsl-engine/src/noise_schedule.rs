//! The forward process: how much signal and how much noise each training timestep holds.
//!
//! `x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps`, with
//! `alpha_bar_t = prod_{s <= t} (1 - beta_s)` (Ho et al. 2020, eq. 4).
//!
//! `alpha_bar` is rounded to `f32` where the field's training code rounds it (betas in `f32`, their
//! product accumulated in `f64`, the zero-terminal-SNR rescaling in `f32`): the rescaling subtracts
//! nearly equal numbers, so that another rounding would move the last noise levels by 1e-5.

use burn::tensor::{Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setting_error::SettingError;

/// Shape of the sequence `beta_0 .. beta_{T-1}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// `beta` grows linearly from `beta_start` to `beta_end` (Ho et al. 2020).
    Linear,
    /// `sqrt(beta)` grows linearly (latent diffusion; with 0.00085 and 0.012 it is Stable
    /// Diffusion's schedule).
    ScaledLinear,
    /// `alpha_bar` follows a squared cosine (Nichol and Dhariwal 2021, eq. 17), `beta` at most 0.999;
    /// `beta_start` and `beta_end` are not used. The default: small pictures keep signal for longer.
    #[default]
    #[serde(rename = "squaredcos_cap_v2")]
    SquaredcosCapV2,
    /// `beta` follows a logistic curve over -6..6 from `beta_start` to `beta_end`.
    Sigmoid,
}

/// Settings of the forward process. Key names are those of diffusers' `scheduler_config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseScheduleConfig {
    /// Number of noise levels, 2 or more. Timesteps are `0..num_train_timesteps`.
    #[schemars(range(min = 2, max = 100000))]
    pub num_train_timesteps: u32,
    /// Shape of the betas.
    pub beta_schedule: BetaSchedule,
    /// First beta, in 0..1 and not above `beta_end`; not used by `squaredcos_cap_v2`.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub beta_start: f64,
    /// Last beta, in 0..1; not used by `squaredcos_cap_v2`.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub beta_end: f64,
    /// Rescale so that the last timestep is pure noise (Lin et al. 2023, algorithm 1). The network
    /// then has to predict `v_prediction` or `sample`: noise alone tells nothing about `eps`.
    pub rescale_betas_zero_snr: bool,
}

impl Default for NoiseScheduleConfig {
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_schedule: BetaSchedule::default(),
            beta_start: 1e-4,
            beta_end: 0.02,
            rescale_betas_zero_snr: false,
        }
    }
}

impl NoiseScheduleConfig {
    /// Says which value is out of range, if one is.
    pub fn validate(&self) -> Result<(), SettingError> {
        if !(2..=100_000).contains(&self.num_train_timesteps) {
            return Err(SettingError::out_of_range(
                "num_train_timesteps",
                self.num_train_timesteps,
                "2 to 100000",
            ));
        }
        if self.beta_schedule == BetaSchedule::SquaredcosCapV2 {
            return Ok(());
        }
        for (key, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return Err(SettingError::out_of_range(
                    key,
                    beta,
                    "a number above 0 and below 1",
                ));
            }
        }
        if self.beta_start > self.beta_end {
            return Err(SettingError::out_of_range(
                "beta_start",
                self.beta_start,
                format!("at most `beta_end`, which is {}", self.beta_end),
            ));
        }
        Ok(())
    }

    /// Computes the schedule.
    ///
    /// # Errors
    /// A value out of range, or betas so large that `alpha_bar` underflows before the last timestep.
    pub fn build(&self) -> Result<NoiseSchedule, SettingError> {
        NoiseSchedule::new(self)
    }
}

/// The noise levels of all timesteps, ready to use.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    config: NoiseScheduleConfig,
    alphas_cumprod: Vec<f32>,
}

impl NoiseSchedule {
    /// Computes `alpha_bar` for every timestep; see [`NoiseScheduleConfig::build`].
    pub fn new(config: &NoiseScheduleConfig) -> Result<Self, SettingError> {
        config.validate()?;
        let mut betas = betas(config);
        if config.rescale_betas_zero_snr {
            betas = zero_terminal_snr(&betas);
        }
        Self::from_alphas_cumprod(config, cumulative_alphas(&betas))
    }

    /// A schedule whose `alpha_bar` are known: learnt betas, or another library's rounding of them.
    ///
    /// # Errors
    /// Another number of values than `num_train_timesteps`, or values that do not fall within 0..1
    /// (0 is for the last alone, and only with `rescale_betas_zero_snr`).
    pub fn from_alphas_cumprod(
        config: &NoiseScheduleConfig,
        alphas_cumprod: Vec<f32>,
    ) -> Result<Self, SettingError> {
        let count = alphas_cumprod.len();
        if count != config.num_train_timesteps as usize {
            return Err(SettingError::out_of_range(
                "num_train_timesteps",
                config.num_train_timesteps,
                format!("{count}, the number of `alphas_cumprod`"),
            ));
        }
        let mut previous = 1.0;
        for (t, &alpha_bar) in alphas_cumprod.iter().enumerate() {
            let may_be_zero = config.rescale_betas_zero_snr && t + 1 == count;
            let positive = alpha_bar > f32::MIN_POSITIVE || (may_be_zero && alpha_bar == 0.0);
            if !(positive && alpha_bar < previous) {
                return Err(SettingError::out_of_range(
                    "beta_end",
                    config.beta_end,
                    format!(
                        "betas with which alpha_bar falls at every timestep and stays above 0; here \
                         it is {alpha_bar:e} at timestep {t}, after {previous:e}"
                    ),
                ));
            }
            previous = alpha_bar;
        }
        Ok(Self {
            config: config.clone(),
            alphas_cumprod,
        })
    }

    /// The settings this schedule was computed from.
    pub fn config(&self) -> &NoiseScheduleConfig {
        &self.config
    }

    /// Number of timesteps.
    pub fn num_train_timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// `alpha_bar` of every timestep: falls within 0..1; the last is exactly 0 with zero terminal SNR.
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// Whether the last timestep holds no signal at all.
    pub fn has_zero_terminal_snr(&self) -> bool {
        self.config.rescale_betas_zero_snr
    }

    /// `alpha_bar` at one timestep.
    ///
    /// # Panics
    /// Here and below: when `timestep` is not in `0..num_train_timesteps`, a mistake of the caller.
    pub fn alpha_bar(&self, timestep: u32) -> f32 {
        self.alphas_cumprod[timestep as usize]
    }

    /// Factor of `x_0` in `x_t`, 0..1.
    pub fn sqrt_alpha_bar(&self, timestep: u32) -> f32 {
        self.alpha_bar(timestep).sqrt()
    }

    /// Factor of `eps` in `x_t`, 0..1.
    pub fn sqrt_one_minus_alpha_bar(&self, timestep: u32) -> f32 {
        (1.0 - self.alpha_bar(timestep)).sqrt()
    }

    /// Noise level `sqrt((1 - alpha_bar) / alpha_bar)`; infinite at a zero-SNR timestep.
    pub fn sigma(&self, timestep: u32) -> f32 {
        let alpha_bar = self.alpha_bar(timestep);
        ((1.0 - alpha_bar) / alpha_bar).sqrt()
    }

    /// Signal-to-noise ratio `alpha_bar / (1 - alpha_bar)`; 0 at a zero-SNR timestep.
    ///
    /// Computed from the two square roots, as [`crate::loss_weighting`]'s reference does.
    pub fn snr(&self, timestep: u32) -> f32 {
        (self.sqrt_alpha_bar(timestep) / self.sqrt_one_minus_alpha_bar(timestep)).powi(2)
    }

    /// Noises `x_0` to `timestep`: `x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps`.
    ///
    /// Ho et al. 2020, eq. 4.
    ///
    /// # Shapes
    /// - `x_0`, `eps`, result: `[batch, channels, height, width]`
    /// - `timestep`: `batch` entries, each in `0..num_train_timesteps`
    pub fn add_noise(&self, x_0: Tensor<4>, eps: Tensor<4>, timestep: &[u32]) -> Tensor<4> {
        self.mix(x_0, eps, timestep)
    }

    /// The target of a `v_prediction` network: `v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0`.
    ///
    /// Salimans and Ho 2022, appendix D. Shapes as in [`Self::add_noise`].
    pub fn velocity(&self, x_0: Tensor<4>, eps: Tensor<4>, timestep: &[u32]) -> Tensor<4> {
        // The same rotation of (x_0, eps) as x_t, a quarter turn further.
        self.mix(eps, x_0.neg(), timestep)
    }

    /// `f(timestep)` for each sample, as `[batch, 1, 1, 1]` with the type and device of `like`.
    pub fn per_sample(
        &self,
        like: &Tensor<4>,
        timestep: &[u32],
        f: impl Fn(&Self, u32) -> f32,
    ) -> Tensor<4> {
        let values: Vec<f32> = timestep.iter().map(|&t| f(self, t)).collect();
        sample_scales(&values, like)
    }

    /// `sqrt(alpha_bar) a + sqrt(1 - alpha_bar) b`.
    pub(crate) fn mix(&self, a: Tensor<4>, b: Tensor<4>, timestep: &[u32]) -> Tensor<4> {
        let signal = self.per_sample(&a, timestep, Self::sqrt_alpha_bar);
        let noise = self.per_sample(&a, timestep, Self::sqrt_one_minus_alpha_bar);
        a * signal + b * noise
    }
}

/// One factor per sample, `[batch, 1, 1, 1]`, with the element type and device of `like`.
pub(crate) fn sample_scales(values: &[f32], like: &Tensor<4>) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [values.len(), 1, 1, 1]);
    Tensor::from_data(data, (&like.device(), like.dtype()))
}

fn betas(config: &NoiseScheduleConfig) -> Vec<f32> {
    let count = config.num_train_timesteps as usize;
    let (start, end) = (config.beta_start, config.beta_end);
    match config.beta_schedule {
        BetaSchedule::Linear => linspace_f32(start as f32, end as f32, count),
        BetaSchedule::ScaledLinear => linspace_f32(start.sqrt() as f32, end.sqrt() as f32, count)
            .into_iter()
            .map(|root| root * root)
            .collect(),
        BetaSchedule::SquaredcosCapV2 => {
            let alpha_bar = |time: f64| {
                ((time + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2)
                    .cos()
                    .powi(2)
            };
            (0..count)
                .map(|i| {
                    let (from, to) = (i as f64 / count as f64, (i + 1) as f64 / count as f64);
                    (1.0 - alpha_bar(to) / alpha_bar(from)).min(0.999) as f32
                })
                .collect()
        }
        BetaSchedule::Sigmoid => linspace_f32(-6.0, 6.0, count)
            .into_iter()
            .map(|x| {
                let logistic = 1.0 / (1.0 + (-x).exp());
                logistic * (end - start) as f32 + start as f32
            })
            .collect(),
    }
}

/// `count` equally spaced values, built from both ends so that both are exact.
fn linspace_f32(start: f32, end: f32, count: usize) -> Vec<f32> {
    let step = (end - start) / (count - 1) as f32;
    (0..count)
        .map(|i| {
            if i < count / 2 {
                start + step * i as f32
            } else {
                end - step * (count - 1 - i) as f32
            }
        })
        .collect()
}

fn cumulative_alphas(betas: &[f32]) -> Vec<f32> {
    let mut product = 1.0f64;
    betas
        .iter()
        .map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        })
        .collect()
}

/// Betas whose last `alpha_bar` is 0 and whose first is unchanged (Lin et al. 2023, algorithm 1).
fn zero_terminal_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulative_alphas(betas)
        .into_iter()
        .map(f32::sqrt)
        .collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let stretch = first / (first - last);
    let alpha_bars: Vec<f32> = roots
        .into_iter()
        .map(|root| ((root - last) * stretch).powi(2))
        .collect();
    let mut previous = 1.0;
    alpha_bars
        .into_iter()
        .map(|alpha_bar| {
            let beta = 1.0 - alpha_bar / previous;
            previous = alpha_bar;
            beta
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    const ALL: [BetaSchedule; 4] = [
        BetaSchedule::Linear,
        BetaSchedule::ScaledLinear,
        BetaSchedule::SquaredcosCapV2,
        BetaSchedule::Sigmoid,
    ];

    fn schedule(beta_schedule: BetaSchedule, rescale_betas_zero_snr: bool) -> NoiseSchedule {
        NoiseScheduleConfig {
            beta_schedule,
            rescale_betas_zero_snr,
            ..Default::default()
        }
        .build()
        .expect("valid")
    }

    fn image(values: [f32; 2]) -> Tensor<4> {
        Tensor::<1>::from_floats(values, &Device::flex()).reshape([2, 1, 1, 1])
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().try_to_vec().expect("f32")
    }

    #[test]
    fn signal_falls_from_nearly_all_to_nearly_none() {
        for beta_schedule in ALL {
            let plain = schedule(beta_schedule, false);
            let alpha_bars = plain.alphas_cumprod();
            assert!(alpha_bars.is_sorted_by(|a, b| a > b), "{beta_schedule:?}");
            assert!(
                alpha_bars[0] > 0.999 && alpha_bars[999] < 1e-2,
                "{beta_schedule:?}"
            );
            assert!(plain.sigma(999).is_finite(), "{beta_schedule:?}");
        }
    }

    #[test]
    fn zero_terminal_snr_changes_the_last_level_and_keeps_the_first() {
        for beta_schedule in ALL {
            let (plain, rescaled) = (
                schedule(beta_schedule, false),
                schedule(beta_schedule, true),
            );
            assert!((plain.alpha_bar(0) - rescaled.alpha_bar(0)).abs() < 1e-6);
            assert_eq!(rescaled.alpha_bar(999), 0.0);
            assert_eq!(rescaled.snr(999), 0.0);
            assert!(
                rescaled.alphas_cumprod().is_sorted_by(|a, b| a > b),
                "{beta_schedule:?}"
            );
        }
    }

    #[test]
    fn cosine_betas_follow_the_formula() {
        // alpha_bar(t) / alpha_bar(0), Nichol and Dhariwal 2021, eq. 17, at half time.
        let f = |time: f64| {
            ((time + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2)
                .cos()
                .powi(2)
        };
        let half = schedule(BetaSchedule::SquaredcosCapV2, false).alpha_bar(499);
        assert!((f64::from(half) - f(0.5) / f(0.0)).abs() < 1e-5);
    }

    #[test]
    fn noised_samples_and_velocities_by_hand() {
        let schedule = schedule(BetaSchedule::Linear, true);
        let (x_0, eps) = (image([1.0, 2.0]), image([3.0, 4.0]));
        let (a, s) = (
            schedule.sqrt_alpha_bar(500),
            schedule.sqrt_one_minus_alpha_bar(500),
        );
        assert!((a * a + s * s - 1.0).abs() < 1e-6);
        let x_t = values(schedule.add_noise(x_0.clone(), eps.clone(), &[500, 999]));
        assert!((x_t[0] - (a + 3.0 * s)).abs() < 1e-6);
        assert_eq!(x_t[1], 4.0, "nothing but noise at zero SNR");
        let v = values(schedule.velocity(x_0, eps, &[500, 999]));
        assert!((v[0] - (3.0 * a - s)).abs() < 1e-6);
        assert_eq!(v[1], -2.0, "the velocity is -x_0 at zero SNR");
    }

    #[test]
    fn impossible_settings_name_the_key() {
        let check = |config: NoiseScheduleConfig, key: &str| {
            let message = config.build().expect_err("refused").to_string();
            assert!(message.contains(key), "{message}");
        };
        let linear = || NoiseScheduleConfig {
            beta_schedule: BetaSchedule::Linear,
            ..Default::default()
        };
        check(
            NoiseScheduleConfig {
                num_train_timesteps: 1,
                ..linear()
            },
            "num_train_timesteps",
        );
        check(
            NoiseScheduleConfig {
                beta_start: 0.0,
                ..linear()
            },
            "beta_start",
        );
        check(
            NoiseScheduleConfig {
                beta_end: 1.0,
                ..linear()
            },
            "beta_end",
        );
        check(
            NoiseScheduleConfig {
                beta_start: 0.5,
                ..linear()
            },
            "beta_start",
        );
        check(
            NoiseScheduleConfig {
                beta_end: f64::NAN,
                ..linear()
            },
            "beta_end",
        );
        // exp(-0.02 / 2 * 100000) is far below what f32 can hold.
        check(
            NoiseScheduleConfig {
                num_train_timesteps: 100_000,
                ..linear()
            },
            "alpha_bar",
        );
        check(
            NoiseScheduleConfig {
                beta_start: 1e-9,
                ..linear()
            },
            "alpha_bar",
        );
    }

    #[test]
    fn known_levels_are_taken_as_they_are_or_refused() {
        let config = NoiseScheduleConfig {
            num_train_timesteps: 3,
            ..Default::default()
        };
        let take = |levels: &[f32]| NoiseSchedule::from_alphas_cumprod(&config, levels.to_vec());
        assert_eq!(
            take(&[0.9, 0.5, 0.1]).expect("valid").alphas_cumprod(),
            [0.9, 0.5, 0.1]
        );
        for levels in [
            &[0.9, 0.5][..],
            &[0.9, 0.9, 0.1],
            &[1.0, 0.5, 0.1],
            &[0.9, 0.5, 0.0],
        ] {
            assert!(take(levels).is_err(), "{levels:?}");
        }
    }

    #[test]
    fn settings_read_with_the_names_of_the_field() {
        let text = r#"{"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100}"#;
        let config: NoiseScheduleConfig = serde_json::from_str(text).expect("valid");
        assert_eq!(config.num_train_timesteps, 100);
        assert_eq!(config.beta_end, 0.02);
        assert!(serde_json::from_str::<NoiseScheduleConfig>(r#"{"beta": 1}"#).is_err());
    }
}
