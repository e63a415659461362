//! The losses of a camera estimate: the generator's alone, beside its objective.

use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::{DType, Device};
use dsl_engine::objective::DslConfig;
use dsl_engine::{Conditions, SampleSource, StepReport, TrainerConfig};
use dsl_nets::Model;
use serde_json::json;

use crate::support::{assert_near, constant_margin, dsl, dsm, full_twin, series, values, weights};
use crate::tasks::{Scenes, camera, camera_with, drawn, same_text, start, steps, unet};

const NAMES: [&str; 2] = ["loss/camera_elevation", "loss/camera_inverse_focal"];

/// Two views in two domains, and a camera to estimate.
fn model() -> Model {
    unet(json!({
        "task_modules": {
            "multi_view": {"views": 2, "domains": 2, "attention": "row_wise"},
            "camera_regression": {}
        }
    }))
}

fn set(told: fn(&[u64]) -> Conditions) -> Scenes {
    Scenes {
        rows: 4,
        domains: 2,
        ..Scenes::new(4, told)
    }
}

fn without_weight(rows: &[u64]) -> Conditions {
    camera_with(rows, 0.0)
}

/// Without clipping, which would let every loss reach every parameter.
fn unclipped(mut config: TrainerConfig) -> TrainerConfig {
    config.train.max_grad_norm = None;
    config
}

fn has_camera(report: &StepReport) -> bool {
    report
        .values
        .iter()
        .any(|(name, _)| name.contains("camera"))
}

#[test]
fn a_step_reports_the_squared_errors_of_the_estimate() {
    let set = set(camera);
    let configs = [
        dsm(),
        dsl(|dsl| {
            full_twin(dsl);
            constant_margin(dsl, 1.0);
        }),
    ];
    for config in configs {
        for parts in [1, 2] {
            let mut trainer = start(&config, model());
            let whole = set.samples(&[0, 1, 2, 3]).unwrap();
            let (noised, device) = (drawn(&trainer, &whole), Device::flex());
            let network = trainer.generator().valid();
            let told = whole.conditions.conditioning(&network, &device, DType::F32);
            let (_, estimate) = network.denoiser.forward_with_camera(
                noised.x_t(&device),
                noised.timesteps(&device),
                &told,
            );
            let (estimate, truth) = (estimate.unwrap(), whole.conditions.camera.unwrap());
            let report = trainer.step(&set.batch(0, parts), &set).unwrap();
            for (name, estimate, truth) in [
                (NAMES[0], estimate.elevation, truth.elevation),
                (NAMES[1], estimate.inverse_focal, truth.inverse_focal),
            ] {
                let estimate = values(estimate);
                assert_eq!(estimate.len(), 4);
                let pairs = estimate.iter().zip(truth.iter::<f32>());
                let squares = pairs.map(|(a, b)| f64::from(a - b).powi(2));
                let expected = squares.sum::<f64>() / 4.0;
                assert_near(name, report.get(name).unwrap(), expected, 1e-4);
            }
        }
    }
}

#[test]
fn the_losses_move_the_regressors_and_nothing_else() {
    let config = unclipped(dsm());
    let run = |told| {
        let mut trainer = start(&config, model());
        let report = steps(&mut trainer, &set(told), 1).remove(0);
        (report, weights(trainer.generator()))
    };
    let (with, weighted) = run(camera);
    let (without, unweighted) = run(without_weight);
    let (untold, plain) = run(same_text);
    // The errors are the same numbers whatever they weigh, and no part of the objective's loss.
    for name in [NAMES[0], NAMES[1], "loss/generator", "err/generator"] {
        assert_eq!(with.get(name), without.get(name), "{name}");
    }
    assert_eq!(untold.get("loss/generator"), with.get("loss/generator"));
    assert!(has_camera(&with) && !has_camera(&untold));
    assert!(with.get("grad_norm/generator") > without.get("grad_norm/generator"));
    assert!(unweighted == plain);
    let differ: BTreeSet<&str> = (weighted.iter().zip(&plain))
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.0.as_str())
        .collect();
    assert!(!differ.is_empty());
    for path in &differ {
        assert!(
            path.contains("camera_regression.") && path.contains("_regressor."),
            "{path}"
        );
    }
    for head in ["elevation_regressor", "focal_regressor"] {
        assert!(differ.iter().any(|path| path.contains(head)), "{head}");
    }
}

#[test]
fn the_estimate_gets_better() {
    let mut trainer = start(&dsm(), model());
    let reports = steps(&mut trainer, &set(camera), 20);
    for name in NAMES {
        let errors = series(&reports, name);
        let last = errors[16..].iter().sum::<f64>() / 4.0;
        assert!(last < 0.5 * errors[0], "{name}: {errors:?}");
    }
}

/// The discriminator moves first: if the losses were its own too, their weight would show in it.
#[test]
fn the_discriminator_has_no_such_loss() {
    let full = |dsl: &mut DslConfig| full_twin(dsl);
    let config = unclipped(dsl(full));
    let run = |told| {
        let mut trainer = start(&config, model());
        steps(&mut trainer, &set(told), 1);
        let of_generator = weights(trainer.generator());
        (of_generator, weights(trainer.discriminator().unwrap()))
    };
    let (with, without) = (run(camera), run(without_weight));
    assert!(with.0 != without.0, "the generator has it");
    assert!(with.1 == without.1, "the discriminator has not");

    // With adapters, its copy of the estimate stays what it was when DSL started.
    let heads = |weights: Vec<(String, Vec<f32>)>| -> Vec<(String, Vec<f32>)> {
        let of_head = weights.into_iter().filter_map(|(path, values)| {
            let at = path.find("camera_regression.")?;
            Some((path[at..].to_owned(), values))
        });
        of_head.collect()
    };
    let config = dsl(|dsl| dsl.warmup_dsm_steps = 1);
    let mut trainer = start(&config, model());
    let fresh = heads(weights(trainer.generator()));
    steps(&mut trainer, &set(camera), 1);
    let at_start = heads(weights(trainer.generator()));
    assert!(!fresh.is_empty() && at_start != fresh);
    steps(&mut trainer, &set(camera), 2);
    assert_eq!(heads(weights(trainer.discriminator().unwrap())), at_start);
    assert_ne!(heads(weights(trainer.generator())), at_start);
}
