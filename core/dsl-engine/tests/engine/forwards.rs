//! Network evaluations of a step: one of each network where the mathematics allows it.

use dsl_engine::objective::{DslConfig, UpdateOrder};
use dsl_engine::trainer::ForwardCounts;
use dsl_engine::{Trainer, TrainerConfig};

use crate::support::{BATCH, Points, constant_margin, dsl, dsm, trainer};

/// Counts of the second step, in `parts` micro-batches.
fn counts(config: TrainerConfig, parts: usize) -> (u32, u32) {
    let set = Points::new(32);
    let mut trainer: Trainer = trainer(config);
    trainer.step(&set.batch(0, BATCH, parts), &set).unwrap();
    let ForwardCounts {
        generator,
        discriminator,
    } = trainer
        .step(&set.batch(1, BATCH, parts), &set)
        .unwrap()
        .forwards;
    (generator, discriminator)
}

fn of_dsl(parts: usize, change: impl FnOnce(&mut DslConfig)) -> (u32, u32) {
    counts(dsl(change), parts)
}

#[test]
fn dsm_runs_its_network_once_per_micro_batch() {
    assert_eq!(counts(dsm(), 1), (1, 0));
    assert_eq!(counts(dsm(), 4), (4, 0));
}

#[test]
fn a_warm_up_step_is_a_dsm_step() {
    assert_eq!(of_dsl(1, |dsl| dsl.warmup_dsm_steps = 10), (1, 0));
}

#[test]
fn dsl_runs_the_generator_once_and_the_discriminator_before_and_after_its_update() {
    assert_eq!(of_dsl(1, |_| ()), (1, 2));
    assert_eq!(of_dsl(1, crate::support::full_twin), (1, 2));
}

#[test]
fn simultaneous_updates_need_one_forward_of_each() {
    assert_eq!(
        of_dsl(1, |dsl| dsl.update.order = UpdateOrder::Simultaneous),
        (1, 1)
    );
}

/// The generator's graphs of several micro-batches would not fit in memory: it runs again for its own update.
#[test]
fn with_accumulation_the_generator_runs_twice() {
    assert_eq!(of_dsl(4, |_| ()), (8, 8));
    assert_eq!(
        of_dsl(4, |dsl| dsl.update.order = UpdateOrder::Simultaneous),
        (8, 4)
    );
}

#[test]
fn further_updates_cost_one_forward_each() {
    assert_eq!(of_dsl(1, |dsl| dsl.update.d_steps = 3), (1, 4));
    assert_eq!(of_dsl(1, |dsl| dsl.update.g_steps = 3), (3, 2));
    assert_eq!(
        of_dsl(2, |dsl| (dsl.update.d_steps, dsl.update.g_steps) = (2, 2)),
        (6, 6)
    );
}

/// Micro-batches that are worked on side by side keep their graphs, as a single one does.
#[test]
fn with_a_worker_per_micro_batch_no_forward_is_repeated() {
    let with = |mut config: TrainerConfig, workers: usize| {
        config.train.workers = workers;
        counts(config, 4)
    };
    assert_eq!(with(dsm(), 4), (4, 0));
    assert_eq!(with(dsl(|_| ()), 4), (4, 8));
    assert_eq!(with(dsl(|_| ()), 2), (8, 8));
}

/// A margin pass is inference on the training set, not part of the step's cost.
#[test]
fn margin_passes_are_not_counted() {
    let counted = of_dsl(1, |dsl| dsl.margin.every_steps = Some(1));
    assert_eq!(counted, of_dsl(1, |dsl| constant_margin(dsl, 1.0)));
}
