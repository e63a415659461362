//! From a diffusers scheduler class and its options to our settings.
//!
//! Every option is named here: it is translated, or has a reason for not being offered. An option that
//! is not named fails the test.

use dsl_engine::PredictionType;
use dsl_engine::noise_schedule::NoiseScheduleConfig;
use dsl_engine::sampler::{SamplerConfig, SamplerKind, TimestepSpacing};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub struct Case {
    pub schedule: NoiseScheduleConfig,
    pub prediction: PredictionType,
    pub sampler: SamplerConfig,
    pub init_noise_sigma: f32,
}

/// Why a case of the reference is not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    #[error(
        "`interpolation_type: log_linear` gives the network timesteps that do not belong to the \
         noise levels it steps through"
    )]
    LogLinearSigmas,
    #[error("`s_churn` noises the sample after the network has seen it, unlike the paper's churn")]
    Churn,
    #[error("third-order steps are unstable under guidance; the solver is 2M")]
    ThirdOrder,
    #[error("`dpmsolver` and `sde-dpmsolver` (over eps) are superseded by the ++ forms")]
    NoiseSolver,
    #[error("the network would have to predict a variance too")]
    LearnedVariance,
    #[error("`fixed_large_log` takes the square root of a logarithm")]
    FixedLargeLog,
    #[error("exponential, beta, lu and flow noise levels are not offered")]
    OtherSigmas,
    #[error("noise levels of one's own choice are not offered")]
    ChosenSigmas,
    #[error("`timestep_type: continuous` is for networks conditioned on sigma")]
    ContinuousTimesteps,
    #[error("betas are given by a schedule, not as a list")]
    TrainedBetas,
    #[error("levels are cut by the choice of schedule and spacing, not by `lambda_min_clipped`")]
    LambdaClipping,
    #[error("`linspace` with a single step starts at timestep 0, where there is no noise")]
    OneStepLinspace,
}

pub fn read_case(key: &str, meta: &Value) -> Result<Case, Unsupported> {
    let class = meta["class"].as_str().expect("a class");
    let (kind, timestep_spacing) = match class {
        "DDPMScheduler" => (SamplerKind::Ddpm, TimestepSpacing::Leading),
        "DDIMScheduler" => (SamplerKind::Ddim, TimestepSpacing::Leading),
        "EulerDiscreteScheduler" => (SamplerKind::Euler, TimestepSpacing::Linspace),
        "EulerAncestralDiscreteScheduler" => (SamplerKind::EulerA, TimestepSpacing::Linspace),
        "DPMSolverMultistepScheduler" => (SamplerKind::Dpmpp2m, TimestepSpacing::Linspace),
        _ => panic!("{key}: unknown class {class}"),
    };
    let mut case = Case {
        schedule: serde_json::from_value(serde_json::json!({"beta_schedule": "linear"}))
            .expect("valid"),
        prediction: PredictionType::Epsilon,
        sampler: SamplerConfig {
            kind,
            timestep_spacing,
            num_inference_steps: read(&meta["steps"]),
            clip_sample: matches!(kind, SamplerKind::Ddpm | SamplerKind::Ddim),
            ..SamplerConfig::default()
        },
        init_noise_sigma: read(&meta["init_noise_sigma"]),
    };
    for group in ["options", "step"] {
        for (option, value) in meta[group].as_object().expect("options") {
            apply(&mut case, key, option, value)?;
        }
    }
    // The reference prefers thresholding where both are set; here that is an error.
    case.sampler.clip_sample &= !case.sampler.thresholding;
    if case.sampler.num_inference_steps == 1
        && case.sampler.timestep_spacing == TimestepSpacing::Linspace
        && !matches!(
            case.sampler.kind,
            SamplerKind::Dpmpp2m | SamplerKind::Dpmpp2mSde
        )
    {
        return Err(Unsupported::OneStepLinspace);
    }
    Ok(case)
}

fn apply(case: &mut Case, key: &str, option: &str, value: &Value) -> Result<(), Unsupported> {
    let Case {
        schedule,
        prediction,
        sampler,
        ..
    } = case;
    let text = value.as_str().unwrap_or_default();
    let is_set = !matches!(value, Value::Null | Value::Bool(false));
    let refuse_if = |condition, reason| if condition { Err(reason) } else { Ok(()) };
    match option {
        "num_train_timesteps" => schedule.num_train_timesteps = read(value),
        "beta_schedule" => schedule.beta_schedule = read(value),
        "beta_start" => schedule.beta_start = read(value),
        "beta_end" => schedule.beta_end = read(value),
        "rescale_betas_zero_snr" => schedule.rescale_betas_zero_snr = read(value),
        "trained_betas" => refuse_if(is_set, Unsupported::TrainedBetas)?,
        "prediction_type" => *prediction = read(value),

        "timestep_spacing" => sampler.timestep_spacing = read(value),
        "steps_offset" => sampler.steps_offset = read(value),
        "timestep_type" => refuse_if(text != "discrete", Unsupported::ContinuousTimesteps)?,
        "clip_sample" => sampler.clip_sample = read(value),
        "clip_sample_range" => sampler.clip_sample_range = read(value),
        "thresholding" => sampler.thresholding = read(value),
        "dynamic_thresholding_ratio" => sampler.dynamic_thresholding_ratio = read(value),
        "sample_max_value" => sampler.sample_max_value = read(value),

        "variance_type" => match text {
            "learned" | "learned_range" => return Err(Unsupported::LearnedVariance),
            "fixed_large_log" => return Err(Unsupported::FixedLargeLog),
            _ if is_set => sampler.variance_type = read(value),
            _ => {}
        },
        "eta" => sampler.eta = read(value),
        "set_alpha_to_one" => sampler.set_alpha_to_one = read(value),
        "use_clipped_model_output" => sampler.use_clipped_model_output = read(value),

        "use_karras_sigmas" => sampler.use_karras_sigmas = read(value),
        "use_exponential_sigmas"
        | "use_beta_sigmas"
        | "use_lu_lambdas"
        | "use_flow_sigmas"
        | "use_dynamic_shifting" => refuse_if(is_set, Unsupported::OtherSigmas)?,
        "flow_shift" | "time_shift_type" => {} // read with flow sigmas only
        "sigma_min" | "sigma_max" => refuse_if(is_set, Unsupported::ChosenSigmas)?,
        "final_sigmas_type" => sampler.final_sigmas_type = read(value),
        "interpolation_type" => refuse_if(text != "linear", Unsupported::LogLinearSigmas)?,
        "lambda_min_clipped" => {
            refuse_if(value.as_f64().is_some(), Unsupported::LambdaClipping)?;
        }
        "s_churn" => refuse_if(value.as_f64() != Some(0.0), Unsupported::Churn)?,
        "s_tmin" | "s_tmax" | "s_noise" => {} // bounds and strength of the churn

        "solver_order" => {
            refuse_if(value.as_u64() == Some(3), Unsupported::ThirdOrder)?;
            sampler.solver_order = read(value);
        }
        "solver_type" => sampler.solver_type = read(value),
        "algorithm_type" => match text {
            "dpmsolver++" => {}
            "sde-dpmsolver++" => sampler.kind = SamplerKind::Dpmpp2mSde,
            _ => return Err(Unsupported::NoiseSolver),
        },
        "lower_order_final" => sampler.lower_order_final = read(value),
        "euler_at_final" => sampler.euler_at_final = read(value),
        _ => panic!("{key}: option `{option}` is neither translated nor refused for a reason"),
    }
    Ok(())
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{value}: {error}"))
}
