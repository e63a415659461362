//! Noise schedules, loss weights and samplers against golden values of diffusers' schedulers.
//!
//! A folder `scheduler_*` holds `io.safetensors` and `meta.json`; the latter names the scheduler class
//! and options of every case, and the tolerance. `DSL_FIXTURES` points the tests at another folder of
//! the same layout (other seeds, shapes, numbers of steps, options).
//!
//! Schedules are compared by themselves. Samplers then run on the reference's own `alphas_cumprod`,
//! where the folder's `scheduler_training` holds them: `1 - alpha_bar` of the first timesteps and the
//! slope at sigma 4096 blow the last bit of `alpha_bar`, in which two square roots may differ, up
//! beyond the tolerance.
//!
//! The "network" of the trajectories is `0.1 x + 0.01 sin(timestep)`, whatever it is taken to predict.

mod scheduler {
    pub mod cases;
    pub mod fixture;
}

use burn::tensor::{Device, Tensor, TensorData};
use dsl_engine::noise_schedule::{BetaSchedule, NoiseScheduleConfig};
use dsl_engine::sampler::{SamplerConfig, SamplerKind, SamplerRun, StepInput};
use dsl_engine::{LossWeighting, NoiseSchedule, PredictionType};
use scheduler::cases::{Case, Unsupported, read_case};
use scheduler::fixture::{Fixture, assert_close, tensor};

/// Replays every case of one fixture; returns how many ran and what is not offered, with the reason.
fn replay(name: &str) -> (usize, Vec<(String, Unsupported)>) {
    let fixture = Fixture::open(name);
    let x_init = tensor(&fixture, "in.x_init");
    let noise = fixture.floats("in.noise");
    let (mut ran, mut unsupported) = (0, Vec::new());
    for (key, meta) in fixture.cases() {
        match read_case(key, meta) {
            Ok(case) => {
                check_case(&fixture, key, &case, &x_init, &noise.values);
                ran += 1;
            }
            Err(reason) => {
                println!("{name}/{key} is not offered: {reason}");
                unsupported.push((key.clone(), reason));
            }
        }
    }
    (ran, unsupported)
}

/// The schedules in `scheduler_training`: key, settings.
fn training_schedules(num_train_timesteps: usize) -> Vec<(String, NoiseScheduleConfig)> {
    let mut all = Vec::new();
    for (name, beta_schedule, beta_start, beta_end) in [
        ("linear", BetaSchedule::Linear, 0.0001, 0.02),
        ("scaled_linear", BetaSchedule::ScaledLinear, 0.00085, 0.012),
        (
            "squaredcos_cap_v2",
            BetaSchedule::SquaredcosCapV2,
            0.0001,
            0.02,
        ),
        ("sigmoid", BetaSchedule::Sigmoid, 0.0001, 0.02),
    ] {
        for rescale_betas_zero_snr in [false, true] {
            let suffix = if rescale_betas_zero_snr { ".zsnr" } else { "" };
            let config = NoiseScheduleConfig {
                num_train_timesteps: num_train_timesteps as u32,
                beta_schedule,
                beta_start,
                beta_end,
                rescale_betas_zero_snr,
            };
            all.push((format!("{name}{suffix}"), config));
        }
    }
    all
}

/// The schedule of a case, with the reference's own levels where they are known.
fn schedule_of(config: &NoiseScheduleConfig) -> NoiseSchedule {
    let training = Fixture::try_open("scheduler_training");
    let levels = training.iter().find_map(|training| {
        let all = training_schedules(config.num_train_timesteps as usize);
        let (name, _) = all.iter().find(|(_, known)| known == config)?;
        training.try_floats(&format!("out.{name}.alphas_cumprod"))
    });
    match levels {
        Some(levels) if levels.values.len() == config.num_train_timesteps as usize => {
            NoiseSchedule::from_alphas_cumprod(config, levels.values)
        }
        _ => config.build(),
    }
    .unwrap_or_else(|error| panic!("{config:?}: {error}"))
}

fn check_case(fixture: &Fixture, key: &str, case: &Case, x_init: &Tensor<4>, noise: &[f32]) {
    let schedule = schedule_of(&case.schedule);
    let run = case
        .sampler
        .build(&schedule, case.prediction)
        .unwrap_or_else(|error| panic!("{key}: {error}"));
    let tolerance = fixture.tolerance();

    let timesteps = fixture.numbers(&format!("out.{key}.timesteps"));
    check_timesteps(key, case, run.timesteps(), &timesteps);
    if let Some(sigmas) = fixture.try_floats(&format!("out.{key}.sigmas")) {
        let found: Vec<f32> = (0..run.num_steps())
            .map(|step| {
                let (signal, noise) = run.sampler().mix(step);
                noise / signal
            })
            .collect();
        // The last entry is where the last step ends; the trajectory shows it.
        let expected = &sigmas.values[..run.num_steps()];
        for (found, expected) in found.iter().zip(expected) {
            assert_close(&format!("{key} sigma"), &[*found], &[*expected], tolerance);
        }
    }
    let init = run.sampler().init_noise_sigma();
    assert_close(key, &[init], &[case.init_noise_sigma], tolerance);

    let expected = fixture.floats(&format!("out.{key}.trajectory"));
    let found = trajectory(&run, &timesteps, x_init, noise);
    let per_step = expected.values.len() / expected.shape[0];
    assert_eq!(found.len(), expected.shape[0], "{key}: number of levels");
    // What the reference itself loses in a step counts where a level is nearly pure noise; a relative
    // error is carried along.
    let max = |x: &[f32]| x.iter().fold(0f32, |max, x| max.max(x.abs()));
    let mut allowed = tolerance;
    let mut before = 0.0;
    for (step, (found, expected)) in found
        .iter()
        .zip(expected.values.chunks(per_step))
        .enumerate()
    {
        if let Some(last) = step.checked_sub(1) {
            let lost = rounding_of_reference(case, &schedule, run.timesteps()[last]);
            allowed += lost * before / max(expected);
        }
        assert_close(
            &format!("{key} after step {step}"),
            found,
            expected,
            allowed,
        );
        before = max(expected);
    }

    let shape = x_init.dims();
    let mut told = timesteps.iter();
    let out = run.sample(
        x_init.clone(),
        |seen, _| network(seen, *told.next().expect("one call a step")),
        |step| noise_of(noise, step, shape),
    );
    assert_eq!(
        &values(out),
        found.last().expect("a level"),
        "{key}: the loop is its steps"
    );
}

/// Relative error, against `x_t`, that the reference's own `f32` can make in a step from `timestep`.
fn rounding_of_reference(case: &Case, schedule: &NoiseSchedule, timestep: f64) -> f32 {
    // No step is more exact than the last bits of what it starts from: 2^-23 for the sums of a step
    // from sigma 4096, and as much for `sigma_down`, a root of a difference of squares.
    let last_bits = 2.0 * f32::EPSILON;
    let SamplerConfig {
        kind: SamplerKind::Ddim,
        eta,
        ..
    } = case.sampler
    else {
        return last_bits;
    };
    // DDIM's factor of eps is the root of 1 - alpha_bar' - std^2, nearly 0 with eta 1 and alpha_bar 0.
    let stride = schedule.num_train_timesteps() as u32 / case.sampler.num_inference_steps;
    let of = |t| f64::from(schedule.alpha_bar(t));
    let alpha_bar = of(timestep as u32);
    let next = match (timestep as u32).checked_sub(stride) {
        Some(next) => of(next),
        None if case.sampler.set_alpha_to_one => 1.0,
        None => of(0),
    };
    let variance = (1.0 - next) / (1.0 - alpha_bar) * (1.0 - alpha_bar / next);
    let difference = (1.0 - next - eta * eta * variance).max(0.0);
    let lost = f64::from(2.0 * f32::EPSILON);
    last_bits + ((difference + lost).sqrt() - difference.sqrt()) as f32
}

fn check_timesteps(key: &str, case: &Case, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{key}: number of steps");
    // On Karras levels the reference finds timesteps by inverting a logarithm in f32. Fractional ones
    // (Euler) may differ by its last bits. Cut-off ones (DPM-Solver on cosine betas) may start one
    // lower, when those bits put the noisiest level just below the last timestep.
    let cut_off = case.sampler.use_karras_sigmas
        && case.sampler.kind != SamplerKind::Euler
        && case.schedule.beta_schedule == BetaSchedule::SquaredcosCapV2;
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        let one_lower = step == 0 && cut_off && found - expected == 1.0;
        let allowed = if expected.fract() == 0.0 {
            0.0
        } else {
            2e-6 * expected
        };
        assert!(
            one_lower || (found - expected).abs() <= allowed,
            "{key}: timestep {found}, not {expected}"
        );
    }
}

fn network(seen: Tensor<4>, timestep: f64) -> Tensor<4> {
    seen.mul_scalar(0.1f32)
        .add_scalar((0.01 * timestep.sin()) as f32)
}

fn noise_of(noise: &[f32], step: usize, shape: [usize; 4]) -> Tensor<4> {
    let size: usize = shape.iter().product();
    let values = noise[step * size..(step + 1) * size].to_vec();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("f32")
}

/// The sample at every level, step by step through the sampler's own interface.
fn trajectory(
    run: &SamplerRun,
    timesteps: &[f64],
    x_init: &Tensor<4>,
    noise: &[f32],
) -> Vec<Vec<f32>> {
    let sampler = run.sampler();
    let mut x_t = x_init.clone().mul_scalar(sampler.init_noise_sigma());
    let mut previous_x_0 = None;
    let mut all = vec![values(x_t.clone())];
    for (step, &timestep) in timesteps.iter().enumerate() {
        let prediction = network(sampler.scale_model_input(step, x_t.clone()), timestep);
        let noise = sampler
            .needs_noise(step)
            .then(|| noise_of(noise, step, x_init.dims()));
        let output = sampler.step(
            step,
            StepInput {
                x_t,
                prediction,
                previous_x_0,
                noise,
            },
        );
        x_t = output.x_t;
        previous_x_0 = Some(output.x_0);
        all.push(values(x_t.clone()));
    }
    all
}

/// Every case of these fixtures is offered, but for a `linspace` of one step.
fn check_fully(name: &str) {
    let (ran, mut unsupported) = replay(name);
    assert!(ran > 0, "{name} holds no case");
    unsupported.retain(|(_, reason)| *reason != Unsupported::OneStepLinspace);
    assert!(unsupported.is_empty(), "{name}: {unsupported:?}");
}

#[test]
fn ddpm_fixture() {
    check_fully("scheduler_ddpm");
}

#[test]
fn ddim_deterministic_fixture() {
    check_fully("scheduler_ddim_eta0");
}

#[test]
fn ddim_stochastic_fixture() {
    check_fully("scheduler_ddim_eta1");
}

#[test]
fn euler_fixture() {
    check_fully("scheduler_euler");
}

#[test]
fn euler_ancestral_fixture() {
    check_fully("scheduler_euler_a");
}

#[test]
fn dpmpp_2m_fixture() {
    check_fully("scheduler_dpm2m");
}

#[test]
fn dpmpp_2m_karras_fixture() {
    check_fully("scheduler_dpm2m_karras");
}

/// Options of published configurations; those not offered are told by a reason each.
#[test]
fn published_options_fixture() {
    let (ran, unsupported) = replay("scheduler_special");
    assert!(ran > 0);
    for (key, reason) in &unsupported {
        assert!(
            matches!(
                reason,
                Unsupported::LogLinearSigmas
                    | Unsupported::Churn
                    | Unsupported::ThirdOrder
                    | Unsupported::NoiseSolver
                    | Unsupported::OneStepLinspace
            ),
            "{key}: {reason}"
        );
    }
}

#[test]
fn training_fixture() {
    let fixture = Fixture::open("scheduler_training");
    let (x_0, eps) = (tensor(&fixture, "in.x0"), tensor(&fixture, "in.noise"));
    let timestep: Vec<u32> = fixture
        .numbers("in.timesteps")
        .into_iter()
        .map(|t| t as u32)
        .collect();
    let mut seen = 0;
    let count = fixture.floats("out.linear.alphas_cumprod").values.len();
    for (name, config) in training_schedules(count) {
        if fixture
            .try_floats(&format!("out.{name}.alphas_cumprod"))
            .is_some()
        {
            let schedule = config.build().expect("valid");
            check_training(&fixture, &name, &schedule, &x_0, &eps, &timestep);
            seen += 1;
        }
    }
    assert!(seen > 0, "no schedule found");
}

fn check_training(
    fixture: &Fixture,
    name: &str,
    schedule: &NoiseSchedule,
    x_0: &Tensor<4>,
    eps: &Tensor<4>,
    timestep: &[u32],
) {
    let check = |what: &str, found: &[f32]| {
        let key = format!("out.{name}.{what}");
        let expected = fixture.floats(&key);
        // SNR and weights leave out a last timestep without signal.
        assert_close(
            &key,
            &found[..expected.values.len()],
            &expected.values,
            fixture.tolerance(),
        );
    };
    check("alphas_cumprod", schedule.alphas_cumprod());
    check(
        "add_noise",
        &values(schedule.add_noise(x_0.clone(), eps.clone(), timestep)),
    );
    check(
        "velocity",
        &values(schedule.velocity(x_0.clone(), eps.clone(), timestep)),
    );
    // The SNR of the first timesteps is 1 / (1 - alpha_bar), all cancellation: so it is computed from
    // the reference's own levels. It spans eight decades: every timestep by itself.
    let levels = fixture.floats(&format!("out.{name}.alphas_cumprod")).values;
    let schedule = NoiseSchedule::from_alphas_cumprod(schedule.config(), levels).expect("valid");
    let expected = fixture.floats(&format!("out.{name}.snr"));
    for (&t, expected) in timestep.iter().zip(&expected.values) {
        let what = format!("{name} snr at {t}");
        assert_close(&what, &[schedule.snr(t)], &[*expected], fixture.tolerance());
    }
    let prefix = format!("out.{name}.min_snr_");
    let mut weights = 0;
    for key in fixture.keys().filter_map(|key| key.strip_prefix(&prefix)) {
        let (gamma, prediction) = key.split_once('.').expect("gamma, then prediction type");
        let weighting = LossWeighting::MinSnr {
            gamma: gamma.parse().expect("a number"),
        };
        let prediction: PredictionType =
            serde_json::from_value(prediction.into()).expect("a prediction type");
        let found = weighting.weights(&schedule, prediction, timestep);
        check(&format!("min_snr_{key}"), &found);
        weights += 1;
    }
    assert!(weights > 0, "{name} holds no weights");
}

/// Noising to a sampler's own levels (8 steps on Stable Diffusion's schedule).
#[test]
fn sampler_add_noise_fixture() {
    let fixture = Fixture::open("scheduler_training");
    let (x_0, eps) = (fixture.floats("in.x0"), fixture.floats("in.noise"));
    let num_train_timesteps = fixture
        .floats("out.scaled_linear.alphas_cumprod")
        .values
        .len() as u32;
    for (name, class, options) in [
        ("euler", "EulerDiscreteScheduler", serde_json::json!({})),
        (
            "euler_a",
            "EulerAncestralDiscreteScheduler",
            serde_json::json!({}),
        ),
        (
            "dpm2m",
            "DPMSolverMultistepScheduler",
            serde_json::json!({}),
        ),
        (
            "dpm2m_karras",
            "DPMSolverMultistepScheduler",
            serde_json::json!({"use_karras_sigmas": true}),
        ),
    ] {
        let mut options = options;
        options["num_train_timesteps"] = num_train_timesteps.into();
        options["beta_schedule"] = "scaled_linear".into();
        options["beta_start"] = 0.00085.into();
        options["beta_end"] = 0.012.into();
        let meta = serde_json::json!({
            "class": class, "options": options, "step": {}, "steps": 8, "init_noise_sigma": 1.0,
        });
        let case = read_case(name, &meta).expect("offered");
        let schedule = schedule_of(&case.schedule);
        let run = case
            .sampler
            .build(&schedule, case.prediction)
            .expect("valid");
        let expected = fixture.floats(&format!("out.{name}.add_noise"));
        let per_sample = expected.values.len() / expected.shape[0];
        let mut found = Vec::new();
        for (i, t) in fixture
            .numbers(&format!("in.{name}.timesteps"))
            .into_iter()
            .enumerate()
        {
            let steps = run
                .timesteps()
                .iter()
                .enumerate()
                .filter(|(_, own)| **own == t);
            let steps: Vec<usize> = steps.map(|(step, _)| step).collect();
            // Of a repeated timestep the reference takes the second.
            let step = *steps
                .get(1)
                .or(steps.first())
                .expect("a timestep of this sampler");
            let sample = |all: &[f32]| {
                let shape = [1, 1, 1, per_sample];
                let values = all[i * per_sample..(i + 1) * per_sample].to_vec();
                Tensor::from_data(TensorData::new(values, shape), &Device::flex())
            };
            found.extend(values(run.add_noise(
                sample(&x_0.values),
                sample(&eps.values),
                step,
            )));
        }
        assert_close(name, &found, &expected.values, fixture.tolerance());
    }
}
