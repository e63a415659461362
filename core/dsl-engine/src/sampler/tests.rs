//! The contract that every sampler keeps, with networks in closed form.

use burn::tensor::{Device, TensorData};

use super::*;
use crate::noise_schedule::{BetaSchedule, NoiseScheduleConfig};
use crate::rng::{Stream, Streams};

const KINDS: [SamplerKind; 6] = [
    SamplerKind::Ddpm,
    SamplerKind::Ddim,
    SamplerKind::Euler,
    SamplerKind::EulerA,
    SamplerKind::Dpmpp2m,
    SamplerKind::Dpmpp2mSde,
];
const PREDICTIONS: [PredictionType; 3] = [
    PredictionType::Epsilon,
    PredictionType::VPrediction,
    PredictionType::Sample,
];

fn schedule(rescale_betas_zero_snr: bool) -> NoiseSchedule {
    let beta_schedule = BetaSchedule::Linear;
    NoiseScheduleConfig {
        beta_schedule,
        rescale_betas_zero_snr,
        ..Default::default()
    }
    .build()
    .expect("valid")
}

fn config(kind: SamplerKind, num_inference_steps: u32) -> SamplerConfig {
    SamplerConfig {
        kind,
        num_inference_steps,
        ..SamplerConfig::default()
    }
}

fn normal(step: u64, shape: [usize; 4]) -> Tensor<4> {
    let values = Streams::new(7).normal(Stream::SAMPLE, step, 0, shape);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

fn values(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("f32")
}

fn max_difference(one: Tensor<4>, other: Tensor<4>) -> f32 {
    one.sub(other).abs().max().into_scalar()
}

/// Factors of `x_0` and `eps` in what the network sees at a step.
fn seen_level(run: &SamplerRun, step: usize) -> (f64, f64) {
    let (a, s) = run.sampler().mix(step);
    let (a, s) = (f64::from(a), f64::from(s));
    (a / a.hypot(s), s / a.hypot(s))
}

/// The answer of a network whose estimate of `x_0` is `x_0`.
fn answer(
    prediction: PredictionType,
    x_0: Tensor<4>,
    seen: Tensor<4>,
    (a, s): (f64, f64),
) -> Tensor<4> {
    let eps = (seen - x_0.clone().mul_scalar(a)).div_scalar(s);
    match prediction {
        PredictionType::Epsilon => eps,
        PredictionType::Sample => x_0,
        PredictionType::VPrediction => eps.mul_scalar(a) - x_0.mul_scalar(s),
    }
}

/// Runs with a network that estimates `x_0 = estimate(seen, a, s)`.
fn run_with(
    run: &SamplerRun,
    prediction: PredictionType,
    init: Tensor<4>,
    estimate: impl Fn(Tensor<4>, f64, f64) -> Tensor<4>,
) -> Tensor<4> {
    let shape = init.dims();
    let mut step = 0;
    run.sample(
        init,
        |seen, _| {
            let level = seen_level(run, step);
            step += 1;
            let x_0 = estimate(seen.clone(), level.0, level.1);
            answer(prediction, x_0, seen, level)
        },
        |step| normal(step as u64 + 1, shape),
    )
}

fn every_run(mut check: impl FnMut(&str, &SamplerRun, PredictionType)) {
    for zero_snr in [false, true] {
        for kind in KINDS {
            for prediction in PREDICTIONS {
                let ancestral = matches!(kind, SamplerKind::Ddpm | SamplerKind::Ddim);
                if zero_snr && ancestral && prediction == PredictionType::Epsilon {
                    continue; // refused, see below
                }
                let schedule = schedule(zero_snr);
                let run = config(kind, 20)
                    .build(&schedule, prediction)
                    .expect("valid");
                let name = format!("{} {prediction:?} zero_snr={zero_snr}", kind.name());
                check(&name, &run, prediction);
            }
        }
    }
}

#[test]
fn a_network_that_knows_x_0_is_followed_to_x_0() {
    let shape = [2, 3, 4, 4];
    every_run(|name, run, prediction| {
        let x_0 = normal(99, shape);
        let out = run_with(run, prediction, normal(0, shape), |_, _, _| x_0.clone());
        // At sigma 4096 an eps answer in f32 fixes x_0 to 4096 * 6e-8 only, and the multistep rule
        // carries that into the second step.
        let error = max_difference(out, x_0.clone());
        assert!(error < 2e-3, "{name}: {error}");
    });
}

#[test]
fn the_same_noise_gives_the_same_samples() {
    let shape = [2, 1, 3, 3];
    every_run(|name, run, prediction| {
        let shrink = |seen: Tensor<4>, a: f64, _| seen.mul_scalar(0.5 * a).tanh();
        let one = values(run_with(run, prediction, normal(0, shape), shrink));
        let other = values(run_with(run, prediction, normal(0, shape), shrink));
        assert!(one.iter().all(|x| x.is_finite()), "{name}");
        assert_eq!(one, other, "{name}");
    });
}

#[test]
fn gaussian_data_comes_out_with_its_own_spread() {
    // For x_0 ~ N(0, c^2), E[x_0 | x_t] = a c^2 / (a^2 c^2 + s^2) x_t.
    let (c, shape) = (0.5, [4096, 1, 1, 1]);
    let schedule = schedule(false);
    for kind in KINDS {
        let run = config(kind, 100)
            .build(&schedule, PredictionType::VPrediction)
            .expect("valid");
        let out = run_with(
            &run,
            PredictionType::VPrediction,
            normal(0, shape),
            |seen, a, s| seen.mul_scalar(a * c * c / (a * a * c * c + s * s)),
        );
        let spread = values(out).iter().map(|x| f64::from(x * x)).sum::<f64>() / 4096.0;
        let spread = spread.sqrt();
        assert!((spread / c - 1.0).abs() < 0.06, "{}: {spread}", kind.name());
    }
}

#[test]
fn ddim_is_euler_and_first_order_dpm_solver() {
    // The three are the same equation in other variables (Song et al. 2021, eq. 14; Lu et al. 2022b,
    // section 4), as long as all visit the same levels.
    let (shape, schedule) = ([2, 1, 4, 4], schedule(false));
    let prediction = PredictionType::Epsilon;
    let network = |seen: Tensor<4>, t: f64| (seen.mul_scalar(0.7) + 0.1 * (t / 100.0).sin()).tanh();
    let none = |_| panic!("deterministic samplers draw no noise");

    let ddim = config(SamplerKind::Ddim, 25)
        .build(&schedule, prediction)
        .expect("valid");
    let expected = ddim.sample(normal(0, shape), network, none);

    let first_order = SamplerConfig {
        solver_order: 1,
        ..config(SamplerKind::Dpmpp2m, 25)
    };
    let dpm = first_order.build(&schedule, prediction).expect("valid");
    let found = dpm.sample(normal(0, shape), network, none);
    assert!(max_difference(found, expected.clone()) < 1e-4);

    let euler = config(SamplerKind::Euler, 25)
        .build(&schedule, prediction)
        .expect("valid");
    let sigma = f64::from(euler.sampler().mix(0).1);
    let start = normal(0, shape).mul_scalar((sigma * sigma + 1.0).sqrt());
    let answer = |seen, t| Ok::<_, Infallible>(network(seen, t));
    let found = euler
        .try_sample_from(0, start, answer, none)
        .expect("infallible");
    assert!(max_difference(found, expected) < 1e-3);
}

#[test]
fn the_second_order_solver_is_nearer_to_the_limit_than_the_first() {
    let (shape, schedule) = ([1, 1, 8, 8], schedule(false));
    let network = |seen: Tensor<4>, _: f64| seen.mul_scalar(0.9).tanh();
    let sample = |solver_order, steps| {
        let config = SamplerConfig {
            solver_order,
            ..config(SamplerKind::Dpmpp2m, steps)
        };
        let run = config
            .build(&schedule, PredictionType::Epsilon)
            .expect("valid");
        run.sample(normal(0, shape), network, |_| panic!("deterministic"))
    };
    let limit = sample(1, 1000);
    let first = max_difference(sample(1, 20), limit.clone());
    let second = max_difference(sample(2, 20), limit);
    assert!(
        second < 0.5 * first,
        "first order {first}, second order {second}"
    );
}

#[test]
fn sampling_starts_from_noise_and_ends_without() {
    let schedule = schedule(true);
    for kind in KINDS {
        let run = config(kind, 10)
            .build(&schedule, PredictionType::VPrediction)
            .expect("valid");
        assert_eq!(run.num_steps(), 10);
        assert_eq!(run.timesteps()[0], 999.0, "{}", kind.name());
        let (a, s) = seen_level(&run, 0);
        assert!(a < 1e-3 && (s - 1.0).abs() < 1e-6, "{}", kind.name());
        assert!(!run.sampler().needs_noise(9), "{}", kind.name());
    }
}

#[test]
fn a_last_step_that_goes_nowhere_leaves_the_sample_as_it_is() {
    for kind in [
        SamplerKind::Euler,
        SamplerKind::Dpmpp2m,
        SamplerKind::Dpmpp2mSde,
    ] {
        for solver_type in [SolverType::Midpoint, SolverType::Heun] {
            let config = SamplerConfig {
                use_karras_sigmas: true,
                final_sigmas_type: FinalSigmasType::SigmaMin,
                solver_type,
                ..config(kind, 20)
            };
            let run = config
                .build(&schedule(false), PredictionType::Sample)
                .expect("valid");
            let shape = [1, 1, 2, 2];
            let x_0 = normal(9, shape);
            let out = run.sample(
                normal(0, shape),
                |_, _| x_0.clone(),
                |step| normal(step as u64 + 1, shape),
            );
            let sigma_min = schedule(false).sigma(0);
            assert!(
                max_difference(out, x_0) < 5.0 * sigma_min,
                "{kind:?} {solver_type:?}"
            );
        }
    }
}

#[test]
fn an_error_of_the_network_ends_the_run() {
    let run = config(SamplerKind::Ddim, 10)
        .build(&schedule(false), PredictionType::Epsilon)
        .expect("valid");
    let mut calls = 0;
    let result = run.try_sample(
        normal(0, [1, 1, 1, 1]),
        |seen, _| {
            calls += 1;
            if calls == 3 { Err("stopped") } else { Ok(seen) }
        },
        |_| panic!("deterministic"),
    );
    assert_eq!(result.err(), Some("stopped"));
    assert_eq!(calls, 3);
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let check = |config: SamplerConfig, zero_snr, key: &str| {
        let message = config
            .build(&schedule(zero_snr), PredictionType::Epsilon)
            .expect_err("refused")
            .to_string();
        assert!(message.contains(key), "{message}");
    };
    check(config(SamplerKind::Ddim, 0), false, "num_inference_steps");
    check(config(SamplerKind::Ddim, 1001), false, "1 to 1000");
    check(
        SamplerConfig {
            eta: 1.5,
            ..config(SamplerKind::Ddim, 10)
        },
        false,
        "eta",
    );
    check(
        SamplerConfig {
            eta: 0.5,
            ..config(SamplerKind::Euler, 10)
        },
        false,
        "kind: euler",
    );
    check(
        SamplerConfig {
            use_karras_sigmas: true,
            ..config(SamplerKind::Ddpm, 10)
        },
        false,
        "use_karras_sigmas",
    );
    check(
        SamplerConfig {
            clip_sample: true,
            thresholding: true,
            ..SamplerConfig::default()
        },
        false,
        "thresholding",
    );
    check(
        SamplerConfig {
            solver_order: 3,
            ..SamplerConfig::default()
        },
        false,
        "solver_order",
    );
    check(config(SamplerKind::Ddpm, 10), true, "v_prediction");
    check(config(SamplerKind::Ddim, 10), true, "v_prediction");
}

#[test]
fn settings_read_with_defaults_and_refuse_unknown_keys() {
    let read = |text| serde_json::from_str::<SamplerConfig>(text);
    let config = read(r#"{"kind": "dpmpp_2m_sde", "num_inference_steps": 10}"#).expect("valid");
    assert_eq!(config.kind, SamplerKind::Dpmpp2mSde);
    assert_eq!(config.timestep_spacing, TimestepSpacing::Trailing);
    assert_eq!(read("{}").expect("valid"), SamplerConfig::default());
    assert!(read(r#"{"num_steps": 10}"#).is_err());
    for kind in KINDS {
        assert_eq!(serde_json::to_value(kind).expect("plain"), kind.name());
    }
}
