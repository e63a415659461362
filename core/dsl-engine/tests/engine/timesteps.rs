//! Who shares a timestep: the views of one domain of one object, and nobody else.

use dsl_engine::{SampleSource, Samples};
use serde_json::json;

use crate::support::{Points, assert_near, dsl, dsm, full_twin, trainer};
use crate::tasks::{Scenes, answer, drawn, error, same_text, start, unet};

/// Four objects of three views in two domains, in `parts` micro-batches.
fn batch(set: &Points, parts: usize) -> Vec<Samples> {
    let batch = set.batch(0, 4, parts).into_iter();
    batch
        .map(|samples| Samples {
            domains: 2,
            ..samples
        })
        .collect()
}

#[test]
fn views_of_a_domain_share_a_timestep_and_domains_do_not() {
    let set = Points::new(4 * 6).with_views(6);
    let trainer = trainer(dsm());
    let whole = batch(&set, 1).remove(0);
    let alpha_bar = trainer.noise_predictions(&whole, 0).alpha_bar;
    assert_eq!(alpha_bar.len(), 24);
    let mut different: Vec<f32> = Vec::new();
    for domain in alpha_bar.chunks(3) {
        assert!(domain.iter().all(|a| *a == domain[0]), "{domain:?}");
        assert!(!different.contains(&domain[0]), "{alpha_bar:?}");
        different.push(domain[0]);
    }
    // Without domains all rows of an object share one.
    let one = Samples {
        domains: 1,
        ..whole
    };
    let alpha_bar = trainer.noise_predictions(&one, 0).alpha_bar;
    assert!(alpha_bar.chunks(6).all(|o| o.iter().all(|a| *a == o[0])));
    assert_ne!(alpha_bar[0], alpha_bar[6]);
}

#[test]
fn a_step_has_the_same_draws_however_its_batch_is_cut() {
    let set = Points::new(4 * 6).with_views(6);
    for config in [dsm(), dsl(full_twin)] {
        for parts in [1, 2, 4] {
            let mut trainer = trainer(config.clone());
            let whole = batch(&set, 1).remove(0);
            let noised = drawn(&trainer, &whole);
            let model = trainer.generator();
            let expected = error(
                answer(&model.denoiser, model, &whole.conditions, &noised),
                &noised,
            );
            let report = trainer.step(&batch(&set, parts), &set).unwrap();
            let found = report.get("err/generator").unwrap();
            assert_near(&format!("{parts} parts"), found, expected, 1e-5);
            assert_eq!(report.images, 24);
        }
    }
}

/// A network that reads several views at once gets each with the timestep of its domain.
#[test]
fn a_network_across_views_gets_the_timesteps_of_its_domains() {
    let set = Scenes {
        rows: 4,
        domains: 2,
        ..Scenes::new(4, same_text)
    };
    let model = unet(json!({
        "task_modules": {"multi_view": {"views": 2, "domains": 2, "attention": "dense"}}
    }));
    let mut trainer = start(&dsm(), model);
    let whole = set.samples(&[0, 1, 2, 3]).unwrap();
    let noised = drawn(&trainer, &whole);
    let model = trainer.generator();
    let expected = error(
        answer(&model.denoiser, model, &whole.conditions, &noised),
        &noised,
    );
    let report = trainer.step(&set.batch(0, 2), &set).unwrap();
    assert_near(
        "err/generator",
        report.get("err/generator").unwrap(),
        expected,
        1e-5,
    );
}
