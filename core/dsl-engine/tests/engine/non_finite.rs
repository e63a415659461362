//! Numbers that are none stop training before they reach a weight.

use burn::tensor::TensorData;
use dsl_engine::objective::{DslConfig, UpdateOrder};
use dsl_engine::{Conditions, EngineError, Samples, Trainer};

use crate::support::{BATCH, Points, constant_margin, dsl, dsm, full_twin, state, train, trainer};

fn batch_with(value: f32) -> Samples {
    let mut values = vec![0.5; 2 * BATCH];
    values[3] = value;
    Samples {
        x_0: TensorData::new(values, [BATCH, 2, 1, 1]),
        conditions: Conditions::default(),
        views: 1,
        domains: 1,
    }
}

#[track_caller]
fn check(trainer: &mut Trainer, batch: &[Samples], culprit: &str) {
    let set = Points::new(16);
    let before = state(trainer);
    let step = trainer.step_count() + 1;
    let error = trainer.step(batch, &set).unwrap_err();
    let message = error.to_string();
    match error {
        EngineError::NonFinite {
            step: found,
            name,
            value,
        } => {
            assert_eq!((found, name.as_str()), (step, culprit));
            assert!(!value.is_finite());
        }
        other => panic!("{other}"),
    }
    assert!(
        message.contains(&format!("step {step}")) && message.contains(culprit),
        "{message}"
    );
    assert_eq!(state(trainer), before);
}

#[test]
fn a_bad_sample_stops_the_step_and_names_the_loss() {
    let set = Points::new(16);
    let mut dsm = dsm();
    dsm.train.ema.decay = Some(0.9);
    let mut trainer = trainer(dsm);
    train(&mut trainer, &set, 2);
    for value in [f32::NAN, f32::INFINITY] {
        check(&mut trainer, &[batch_with(value)], "loss/generator");
    }
    // The second micro-batch is the bad one.
    let [first, second] = [batch_with(0.5), batch_with(f32::NAN)];
    check(&mut trainer, &[first, second], "loss/generator");
    // The run could go on with other data.
    train(&mut trainer, &set, 1);
}

#[test]
fn a_bad_sample_moves_neither_network() {
    let set = Points::new(16);
    let change = |order: UpdateOrder| {
        move |dsl: &mut DslConfig| {
            constant_margin(dsl, 1.0);
            dsl.update.order = order;
        }
    };
    for order in [UpdateOrder::DThenG, UpdateOrder::Simultaneous] {
        for parts in [1, 2] {
            let mut trainer = trainer(dsl(change(order)));
            train(&mut trainer, &set, 2);
            let mut batch = vec![batch_with(f32::NAN)];
            if parts == 2 {
                batch.insert(0, batch_with(0.5));
            }
            check(&mut trainer, &batch, "loss/discriminator");
        }
    }
}

/// The generator alone runs away. Eq. 2 hides it: without lambda it does not see the generator, and with it the hinge
/// of an infinite distance is 0.
#[test]
fn a_generator_that_overflows_stops_the_step_before_the_discriminator_learns_from_it() {
    // The generator's rate, lambda, what tells: at 1e8 outputs are finite and their squares are not.
    let cases = [
        (1e8, 0.0, "gap"),
        (1e8, 0.05, "gap"),
        (1e30, 0.0, "gap"),
        (1e30, 0.05, "loss/discriminator"),
    ];
    for (rate, lambda, culprit) in cases {
        let mut config = dsl(|dsl| {
            constant_margin(dsl, 1.0);
            full_twin(dsl);
            dsl.lambda = lambda;
            dsl.discriminator.learning_rate = Some(1e-3);
        });
        config.train.learning_rate = rate;
        config.train.optimizer.weight_decay = 0.0;
        let set = Points::new(16);
        let mut trainer = trainer(config);
        train(&mut trainer, &set, 1);
        check(&mut trainer, &set.batch(1, BATCH, 1), culprit);
    }
}

#[test]
fn a_batch_that_does_not_fit_is_told() {
    let set = Points::new(16);
    let mut trainer = trainer(dsm());
    let mut refused = |x_0: TensorData, views: usize, expected: &str| {
        let message = trainer
            .step(
                &[Samples {
                    x_0,
                    conditions: Conditions::default(),
                    domains: 1,
                    views,
                }],
                &set,
            )
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("step 1") && message.contains(expected),
            "{message}"
        );
    };
    refused(
        TensorData::new(Vec::<f32>::new(), [0, 2, 1, 1]),
        1,
        "no samples",
    );
    refused(
        TensorData::new(vec![0.0f32; 6], [3, 2]),
        1,
        "[batch, channels, height, width], found [3, 2]",
    );
    refused(
        TensorData::new(vec![0.0f32; 6], [3, 2, 1, 1]),
        2,
        "3 rows are not a multiple of 2 views",
    );
}
