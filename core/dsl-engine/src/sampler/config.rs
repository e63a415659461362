//! Settings of all samplers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setting_error::SettingError;

/// Which sampler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplerKind {
    /// Ancestral sampling of the training process; needs many steps.
    Ddpm,
    /// Deterministic (`eta` 0) up to as random as DDPM (`eta` 1).
    Ddim,
    /// Euler steps of the probability-flow equation over noise levels.
    Euler,
    /// Euler steps with fresh noise after each.
    EulerA,
    /// DPM-Solver++, multistep, second order: good pictures in 15 to 30 steps.
    #[default]
    #[serde(rename = "dpmpp_2m")]
    Dpmpp2m,
    /// The stochastic form of `dpmpp_2m`.
    #[serde(rename = "dpmpp_2m_sde")]
    Dpmpp2mSde,
}

impl SamplerKind {
    /// The name used in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddpm => "ddpm",
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::EulerA => "euler_a",
            Self::Dpmpp2m => "dpmpp_2m",
            Self::Dpmpp2mSde => "dpmpp_2m_sde",
        }
    }
}

/// How sampling steps are laid over the training timesteps (Lin et al. 2023, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimestepSpacing {
    /// Whole multiples counted from timestep 0; never visits the noisiest timesteps.
    Leading,
    /// Counted down from the last timestep, so that sampling starts from the noise it was trained
    /// with. The default, and needed with `rescale_betas_zero_snr`.
    #[default]
    Trailing,
    /// Both ends included.
    Linspace,
}

/// How much noise a `ddpm` step adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// The variance of the true posterior given `x_0`.
    #[default]
    FixedSmall,
    /// `fixed_small`, computed through its logarithm.
    FixedSmallLog,
    /// `beta`, the upper bound.
    FixedLarge,
}

/// Where Euler and DPM-Solver++ end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigmasType {
    /// Without noise.
    #[default]
    Zero,
    /// At the noise of training timestep 0.
    SigmaMin,
}

/// Second-order rule of DPM-Solver++.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// The paper's 2M rule.
    #[default]
    Midpoint,
    /// Exact integration of the linear extrapolation.
    Heun,
}

/// Settings of a sampling run. Key names are those of diffusers' `scheduler_config.json` where it
/// has them; defaults differ from it in `timestep_spacing` (trailing) and `clip_sample` (off).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamplerConfig {
    /// Which sampler.
    pub kind: SamplerKind,
    /// Number of steps, from 1 to the number of training timesteps; one network evaluation each.
    #[schemars(range(min = 1))]
    pub num_inference_steps: u32,
    /// How the steps are laid over the training timesteps.
    pub timestep_spacing: TimestepSpacing,
    /// Added to every timestep of `leading` spacing; not used by the others. Stable Diffusion 1 and 2
    /// were published with 1.
    pub steps_offset: u32,
    /// Share of random noise, 0 (deterministic) to 1; `ddim` only.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eta: f64,
    /// Whether the last step of `ddim` ends without noise (else at the noise of timestep 0).
    pub set_alpha_to_one: bool,
    /// Whether `ddim` computes its noise estimate anew from the limited `x_0`.
    pub use_clipped_model_output: bool,
    /// How much noise a `ddpm` step adds.
    pub variance_type: VarianceType,
    /// Clip each estimate of `x_0` to plus or minus `clip_sample_range`. Good for pixels in -1..1,
    /// wrong for latents and unbounded vectors.
    pub clip_sample: bool,
    /// Bound for `clip_sample`, above 0.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub clip_sample_range: f64,
    /// Dynamic thresholding (Saharia et al. 2022, section 2.3): each estimate of `x_0` is clipped to,
    /// then divided by, its own quantile of absolute values, bounded to 1..`sample_max_value`.
    pub thresholding: bool,
    /// The quantile for `thresholding`, above 0, at most 1.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub dynamic_thresholding_ratio: f64,
    /// Upper bound of the threshold, 1 or above.
    #[schemars(range(min = 1.0))]
    pub sample_max_value: f64,
    /// Space the noise levels as Karras et al. 2022, eq. 5 (rho 7); `euler` and `dpmpp_2m` kinds.
    pub use_karras_sigmas: bool,
    /// Where the `euler` and `dpmpp_2m` kinds end.
    pub final_sigmas_type: FinalSigmasType,
    /// Order of the `dpmpp_2m` kinds: 1 (equals DDIM) or 2.
    #[schemars(range(min = 1, max = 2))]
    pub solver_order: u32,
    /// Second-order rule of the `dpmpp_2m` kinds.
    pub solver_type: SolverType,
    /// Whether the `dpmpp_2m` kinds end with a first-order step when there are fewer than 15 steps.
    /// Ending without noise (`final_sigmas_type: zero`) always does.
    pub lower_order_final: bool,
    /// Whether the `dpmpp_2m` kinds always end with a first-order step.
    pub euler_at_final: bool,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            kind: SamplerKind::default(),
            num_inference_steps: 25,
            timestep_spacing: TimestepSpacing::default(),
            steps_offset: 0,
            eta: 0.0,
            set_alpha_to_one: true,
            use_clipped_model_output: false,
            variance_type: VarianceType::default(),
            clip_sample: false,
            clip_sample_range: 1.0,
            thresholding: false,
            dynamic_thresholding_ratio: 0.995,
            sample_max_value: 1.0,
            use_karras_sigmas: false,
            final_sigmas_type: FinalSigmasType::default(),
            solver_order: 2,
            solver_type: SolverType::default(),
            lower_order_final: true,
            euler_at_final: false,
        }
    }
}

impl SamplerConfig {
    /// Says which value is out of range or clashes with another, if one does. What depends on the
    /// schedule is checked by [`Self::build`].
    pub fn validate(&self) -> Result<(), SettingError> {
        let check = |ok: bool, key, found: f64, expected: &str| {
            if ok {
                Ok(())
            } else {
                Err(SettingError::out_of_range(key, found, expected))
            }
        };
        check(
            self.num_inference_steps >= 1,
            "num_inference_steps",
            f64::from(self.num_inference_steps),
            "1 or more",
        )?;
        check((0.0..=1.0).contains(&self.eta), "eta", self.eta, "0 to 1")?;
        check(
            self.clip_sample_range > 0.0 && self.clip_sample_range.is_finite(),
            "clip_sample_range",
            self.clip_sample_range,
            "a finite number above 0",
        )?;
        check(
            self.dynamic_thresholding_ratio > 0.0 && self.dynamic_thresholding_ratio <= 1.0,
            "dynamic_thresholding_ratio",
            self.dynamic_thresholding_ratio,
            "a number above 0, at most 1",
        )?;
        check(
            self.sample_max_value >= 1.0,
            "sample_max_value",
            self.sample_max_value,
            "1 or more",
        )?;
        check(
            (1..=2).contains(&self.solver_order),
            "solver_order",
            f64::from(self.solver_order),
            "1 or 2",
        )?;
        if self.clip_sample && self.thresholding {
            return Err(SettingError::conflict(
                "clip_sample",
                "thresholding",
                "both limit the estimate of x_0",
                "set one of them to false",
            ));
        }
        let kind = format!("kind: {}", self.kind.name());
        if self.eta != 0.0 && self.kind != SamplerKind::Ddim {
            return Err(SettingError::conflict(
                "eta",
                kind,
                "only `ddim` has this setting",
                "leave `eta` at 0, or use `kind: ddim`",
            ));
        }
        let has_sigmas = matches!(
            self.kind,
            SamplerKind::Euler | SamplerKind::Dpmpp2m | SamplerKind::Dpmpp2mSde
        );
        if self.use_karras_sigmas && !has_sigmas {
            return Err(SettingError::conflict(
                "use_karras_sigmas",
                kind,
                "it has no free choice of noise levels",
                "use `kind: dpmpp_2m`, `dpmpp_2m_sde` or `euler`",
            ));
        }
        Ok(())
    }
}
