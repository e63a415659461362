//! One update, however its batch is cut, and however large its gradient.

use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::tensor::Device;
use dsl_engine::objective::UpdateOrder;
use dsl_engine::trainer::{AdamWConfig, Learner};
use dsl_engine::{ObjectiveConfig, SampleSource, StepReport, Trainer, TrainerConfig};
use dsl_nets::Conditioning;

use crate::support::{
    BATCH, Points, adapter_weights, assert_near, constant_margin, dsl, dsm, full_twin, gradients,
    largest_difference, mlp, normal, trainer, weights,
};

/// Two steps of `config` in `parts` micro-batches.
fn run(mut config: TrainerConfig, parts: usize) -> (Trainer, Vec<StepReport>) {
    let set = Points::new(4 * BATCH);
    // Large enough that rounding of tiny gradients does not turn updates around.
    config.train.optimizer.adam_epsilon = 1e-3;
    config.train.gradient_accumulation_steps = parts;
    let mut trainer = trainer(config);
    let reports = (0..2)
        .map(|step| trainer.step(&set.batch(step, BATCH, parts), &set).unwrap())
        .collect();
    (trainer, reports)
}

#[test]
fn micro_batches_give_the_update_of_the_whole_batch() {
    let simultaneous = dsl(|dsl| {
        constant_margin(dsl, 1.0);
        dsl.update.order = UpdateOrder::Simultaneous;
    });
    let steps = dsl(|dsl| {
        constant_margin(dsl, 0.02);
        full_twin(dsl);
        (dsl.update.d_steps, dsl.update.g_steps) = (2, 2);
    });
    let mut views = dsl(|_| ());
    views.loss.weighting = serde_json::from_value(serde_json::json!({"kind": "min_snr"})).unwrap();
    for config in [
        dsm(),
        dsl(|dsl| constant_margin(dsl, 1.0)),
        simultaneous,
        steps,
        views,
    ] {
        let (whole, expected) = run(config.clone(), 1);
        for parts in [2, 4] {
            let (cut, found) = run(config.clone(), parts);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.images, expected.images);
                for ((name, found), (expected_name, expected)) in
                    found.values.iter().zip(&expected.values)
                {
                    assert_eq!(name, expected_name);
                    assert_near(name, *found, *expected, 2e-4);
                }
            }
            assert!(
                largest_difference(&weights(whole.generator()), &weights(cut.generator())) < 2e-5
            );
            if let (Some(whole), Some(cut)) = (whole.discriminator(), cut.discriminator()) {
                assert!(largest_difference(&weights(whole), &weights(cut)) < 2e-5);
            }
        }
    }
}

/// The gradients of the first update of `config` on 13 objects, in micro-batches of `most`: with a huge `adam_epsilon` a first
/// AdamW step is `learning_rate / adam_epsilon` times the gradient.
fn first_gradients(mut config: TrainerConfig, views: usize, most: usize) -> [Vec<f32>; 2] {
    const EPSILON: f64 = 1e4;
    config.train.optimizer.adam_epsilon = EPSILON;
    config.train.optimizer.weight_decay = 0.0;
    config.train.learning_rate = EPSILON;
    config.train.max_grad_norm = None;
    if let ObjectiveConfig::Dsl(dsl) = &mut config.objective {
        dsl.discriminator.learning_rate = Some(EPSILON);
        dsl.discriminator.weight_decay = 0.0;
        dsl.discriminator.max_grad_norm = None;
    }
    let set = Points::new(13 * views).with_views(views);
    let indices: Vec<u64> = (0..13).collect();
    let parts = indices.chunks(most).map(|part| set.samples(part).unwrap());
    let mut trainer = trainer(config);
    let before = weights(trainer.generator());
    trainer.step(&parts.collect::<Vec<_>>(), &set).unwrap();
    let moved = before.iter().zip(weights(trainer.generator()));
    let moved = moved.flat_map(|((_, before), (_, after))| {
        let pairs = before.clone().into_iter().zip(after);
        pairs.map(|(before, after)| before - after)
    });
    let of_discriminator = trainer.discriminator().map(adapter_weights);
    let of_discriminator = of_discriminator.unwrap_or_default();
    [
        moved.collect(),
        of_discriminator.into_iter().flat_map(|(_, b)| b).collect(),
    ]
}

/// The last batch of a bucket seldom fills its last micro-batch.
#[test]
fn a_smaller_last_micro_batch_counts_by_its_rows() {
    let mut weighted = dsl(|dsl| constant_margin(dsl, 1.0));
    weighted.loss.weighting =
        serde_json::from_value(serde_json::json!({"kind": "min_snr"})).unwrap();
    let toward = dsl(|dsl| {
        constant_margin(dsl, 1.0);
        dsl.generator.dsm_weight = 0.5;
    });
    for (config, views) in [(dsm(), 1), (weighted, 1), (toward, 2)] {
        let whole = first_gradients(config.clone(), views, 13);
        for most in [4, 5, 6] {
            let cut = first_gradients(config.clone(), views, most);
            for (whole, cut) in whole.iter().zip(&cut) {
                assert_eq!(whole.len(), cut.len());
                let largest = whole.iter().fold(0f32, |most, g| most.max(g.abs()));
                let difference = whole.iter().zip(cut).map(|(a, b)| (a - b).abs());
                let difference = difference.fold(0.0, f32::max);
                assert!(
                    difference <= 1e-5 * largest,
                    "{most}: {difference} of {largest}"
                );
                assert!(largest > 1e-4 || whole.is_empty());
            }
        }
    }
}

/// Threads change who computes a part, not what is computed.
#[test]
fn workers_change_no_bit() {
    let full = dsl(|dsl| {
        constant_margin(dsl, 1.0);
        full_twin(dsl);
        dsl.update.g_steps = 2;
    });
    for config in [dsm(), dsl(|dsl| constant_margin(dsl, 1.0)), full] {
        let (alone, expected) = run(config.clone(), 4);
        for workers in [2, 3, 4, 8] {
            let mut config = config.clone();
            config.train.workers = workers;
            // The whole batch is still of a size that four parts and these workers divide.
            config.train.batch_size = 4 * workers * BATCH;
            let (side_by_side, found) = run(config, 4);
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.values, expected.values, "{workers} workers");
            }
            assert_eq!(
                weights(side_by_side.generator()),
                weights(alone.generator())
            );
            if let (Some(a), Some(b)) = (side_by_side.discriminator(), alone.discriminator()) {
                assert_eq!(weights(a), weights(b));
            }
        }
    }
}

/// With a huge `adam_epsilon` a first AdamW step is `learning_rate / adam_epsilon` times the gradient, so that the
/// gradient that was applied can be read off.
#[test]
fn the_norm_over_all_parameters_is_clipped() {
    const EPSILON: f64 = 1e4;
    let device = Device::flex().autodiff();
    let adamw = AdamWConfig {
        adam_epsilon: EPSILON,
        weight_decay: 0.0,
        ..AdamWConfig::default()
    };
    let network = mlp(3).denoiser.train();
    let loss = |network: &dsl_nets::Denoiser| {
        let t = burn::tensor::Tensor::full([4], 300.0, &device);
        let out = network.forward(normal("x", [4, 2, 1, 1], &device), t, &Conditioning::none());
        (out - normal("y", [4, 2, 1, 1], &device) * 5.0)
            .powi_scalar(2)
            .mean()
    };
    let gradient = gradients(&network, &loss(&network).backward());
    let squares = gradient
        .iter()
        .flat_map(|(_, g)| g)
        .map(|&g| f64::from(g).powi(2));
    let norm = squares.sum::<f64>().sqrt();
    for (max, factor) in [
        (None, 1.0),
        (Some(2.0 * norm), 1.0),
        (Some(0.25 * norm), 0.25),
    ] {
        let mut learner = Learner::new(network.clone(), &adamw, max);
        let mut accumulated = GradientsAccumulator::new();
        learner.backward(&loss(learner.module()), &mut accumulated);
        let reported = learner
            .update(&mut accumulated, EPSILON, 1, "norm")
            .unwrap();
        assert_near("the norm before clipping", reported, norm, 1e-5);
        let before = weights(&network);
        for ((before, after), (path, gradient)) in
            before.iter().zip(weights(learner.module())).zip(&gradient)
        {
            assert_eq!(&before.0, path);
            for ((before, after), g) in before.1.iter().zip(&after.1).zip(gradient) {
                let applied = f64::from(before - after);
                let expected = f64::from(*g) * factor;
                assert!(
                    (applied - expected).abs() < 1e-3 * expected.abs() + 1e-6,
                    "{path}: {applied}, {expected}"
                );
            }
        }
    }
}

#[test]
fn each_network_has_its_own_limit() {
    let set = Points::new(BATCH);
    let run = |generator: Option<f64>, discriminator: Option<f64>| {
        let mut config = dsl(|dsl| {
            constant_margin(dsl, 1.0);
            dsl.discriminator.max_grad_norm = discriminator;
        });
        config.train.max_grad_norm = generator;
        // With a small epsilon AdamW's first step does not feel the scale of its gradient.
        config.train.optimizer.adam_epsilon = 1.0;
        let mut trainer = trainer(config);
        trainer.step(&set.batch(0, BATCH, 1), &set).unwrap();
        (
            weights(&trainer.generator().denoiser),
            weights(trainer.discriminator().unwrap()),
        )
    };
    let (open, of_g, of_phi) = (
        run(None, None),
        run(Some(1e-4), None),
        run(None, Some(1e-4)),
    );
    assert!(
        open.0 != of_g.0 && open.1 == of_g.1,
        "the generator's limit is the generator's alone"
    );
    assert!(open.1 != of_phi.1);
}
