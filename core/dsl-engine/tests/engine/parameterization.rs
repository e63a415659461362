//! Losses of networks that predict velocity or the clean sample: the same, in noise space, as those of a network that
//! gives the same answers as noise.

use burn::tensor::{Device, Tensor, TensorData};
use dsl_engine::objective::dsl::{discriminator_loss, generator_loss};
use dsl_engine::objective::{GeneratorConfig, HingeConfig};
use dsl_engine::trainer::Noised;
use dsl_engine::{
    Conditions, LossConfig, LossSpace, LossWeighting, NoiseSchedule, NoiseScheduleConfig,
    PredictionType, Samples,
};

use crate::support::{BATCH, Points, assert_near, dsl, normal, train, trainer, values};

const SHAPE: [usize; 4] = [5, 2, 3, 3];
const TIMESTEP: [u32; 5] = [3, 120, 444, 700, 990];

struct Losses {
    scalars: Vec<f64>,
    per_sample: Vec<Vec<f32>>,
}

/// Eq. 2 and 3 of networks that answer `eps_phi` and `eps_g`, told in `native`.
fn losses(native: PredictionType, loss: &LossConfig, schedule: &NoiseSchedule) -> Losses {
    let device = Device::flex();
    let x_0 = normal("x_0", SHAPE, &device).into_data();
    let samples = Samples {
        x_0,
        conditions: Conditions::default(),
        views: 1,
        domains: 1,
    };
    let eps: TensorData = normal("eps", SHAPE, &device).into_data();
    let noised = Noised::new(
        &samples,
        TIMESTEP.to_vec(),
        eps,
        schedule,
        native,
        loss,
        &device,
    );
    let x_t = noised.x_t(&device);
    let answer = |name| {
        let as_eps = normal(name, SHAPE, &device) * 0.3 + noised.eps(&device);
        PredictionType::Epsilon.convert(native, schedule, as_eps, x_t.clone(), &TIMESTEP)
    };
    let (phi, g) = (answer("eps_phi"), answer("eps_g"));
    let (target, measure, hinge) = (
        noised.target(&device),
        noised.measure(&device),
        HingeConfig::default(),
    );
    let margin = Tensor::full([SHAPE[0]], 0.2, &device);
    let d = discriminator_loss(
        phi.clone(),
        target.clone(),
        g.clone(),
        0.05,
        margin.clone(),
        &hinge,
        &measure,
    );
    let config = GeneratorConfig {
        dsm_weight: 0.5,
        ..GeneratorConfig::default()
    };
    let g = generator_loss(g, phi, target, 0.05, margin, &config, &hinge, &measure);
    let active = values(d.active);
    assert!(
        active.contains(&0.0) && active.contains(&1.0),
        "the margin divides the samples: {active:?}"
    );
    Losses {
        scalars: [d.loss, g.loss]
            .map(|loss| f64::from(values(loss)[0]))
            .to_vec(),
        per_sample: vec![
            values(d.error),
            values(d.gap),
            values(d.hinge),
            active,
            values(g.error),
            values(g.gap),
        ],
    }
}

#[test]
fn losses_in_noise_space_do_not_depend_on_what_the_network_predicts() {
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    for weighting in [LossWeighting::None, LossWeighting::MinSnr { gamma: 5.0 }] {
        let loss = LossConfig {
            weighting,
            ..LossConfig::default()
        };
        assert_eq!(loss.space, LossSpace::Eps);
        let expected = losses(PredictionType::Epsilon, &loss, &schedule);
        for native in [PredictionType::VPrediction, PredictionType::Sample] {
            let found = losses(native, &loss, &schedule);
            let what = format!("{native:?} {weighting:?}");
            for (found, expected) in found.scalars.iter().zip(&expected.scalars) {
                assert_near(&what, *found, *expected, 1e-4);
            }
            for (found, expected) in found
                .per_sample
                .iter()
                .flatten()
                .zip(expected.per_sample.iter().flatten())
            {
                assert!(
                    (found - expected).abs() < 1e-4 * expected.abs().max(1e-2),
                    "{what}: {found} {expected}"
                );
            }
        }
    }
}

/// `eps_a - eps_b = sqrt(alpha_bar) (v_a - v_b)`, so a native loss of `v` is that in noise space divided by `alpha_bar`.
#[test]
fn a_native_loss_is_left_as_it_is() {
    let schedule = NoiseScheduleConfig::default().build().unwrap();
    let device = Device::flex();
    let samples = Samples {
        x_0: normal("x_0", SHAPE, &device).into_data(),
        conditions: Conditions::default(),
        views: 1,
        domains: 1,
    };
    let error = |space| {
        let loss = LossConfig {
            space,
            ..LossConfig::default()
        };
        let eps = normal("eps", SHAPE, &device).into_data();
        let native = PredictionType::VPrediction;
        let noised = Noised::new(
            &samples,
            TIMESTEP.to_vec(),
            eps,
            &schedule,
            native,
            &loss,
            &device,
        );
        values(
            noised
                .measure(&device)
                .squared_distance(normal("v", SHAPE, &device), noised.target(&device)),
        )
    };
    for ((native, eps), t) in error(LossSpace::Native)
        .iter()
        .zip(error(LossSpace::Eps))
        .zip(TIMESTEP)
    {
        assert_near(
            "native",
            f64::from(*native * schedule.alpha_bar(t)),
            f64::from(eps),
            1e-4,
        );
    }
}

/// What evaluators are given is noise, whatever the networks answer.
#[test]
fn predictions_are_handed_out_as_noise() {
    let set = Points::new(BATCH);
    for native in [
        PredictionType::Epsilon,
        PredictionType::VPrediction,
        PredictionType::Sample,
    ] {
        let mut config = dsl(|_| ());
        config.prediction_type = native;
        let mut trainer = trainer(config);
        train(&mut trainer, &set, 2);
        let samples = set.batch(0, BATCH, 1).remove(0);
        let found = trainer.noise_predictions(&samples, 0);
        let discriminator = found.discriminator.expect("DSL has one");
        let distance = |a: &TensorData, b: &TensorData| -> f64 {
            a.iter::<f32>()
                .zip(b.iter::<f32>())
                .map(|(a, b)| f64::from((a - b) * (a - b)))
                .sum()
        };
        // x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) eps.
        let (x_0, eps, x_t) = (
            samples.x_0.iter::<f32>(),
            found.eps.iter::<f32>(),
            found.x_t.iter::<f32>(),
        );
        for (i, ((x_0, eps), x_t)) in x_0.zip(eps).zip(x_t).enumerate() {
            let alpha_bar = found.alpha_bar[i / 2];
            assert!((x_t - (alpha_bar.sqrt() * x_0 + (1.0 - alpha_bar).sqrt() * eps)).abs() < 1e-5);
        }
        let gap = distance(&found.generator, &discriminator);
        assert!(
            gap > 0.0 && gap.is_finite() && distance(&found.generator, &found.eps).is_finite(),
            "{native:?}"
        );
    }
}
