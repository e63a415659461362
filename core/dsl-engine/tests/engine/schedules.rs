//! The learning rate over a run.

use dsl_engine::trainer::{LrScheduleConfig, LrScheduleKind};

use crate::support::{
    Points, assert_near, constant_margin, dsl, dsm, largest_difference, series, train, trainer,
    weights,
};

#[test]
fn the_rate_rises_over_the_warm_up_and_falls_by_its_kind() {
    let set = Points::new(16);
    let run = |kind| {
        let mut config = dsm();
        (config.train.steps, config.train.learning_rate) = (12, 0.5e-2);
        config.train.lr_schedule = LrScheduleConfig {
            kind,
            warmup_steps: 4,
        };
        let mut trainer = trainer(config);
        series(&train(&mut trainer, &set, 12), "learning_rate")
    };
    type Shape = fn(f64) -> f64;
    let kinds: [(LrScheduleKind, Shape); 3] = [
        (LrScheduleKind::Constant, |_| 1.0),
        (LrScheduleKind::Linear, |progress| 1.0 - progress),
        (LrScheduleKind::Cosine, |progress| {
            0.5 + 0.5 * (std::f64::consts::PI * progress).cos()
        }),
    ];
    for (kind, shape) in kinds {
        for (step, rate) in run(kind).into_iter().enumerate() {
            let factor = if step < 4 {
                (step + 1) as f64 / 4.0
            } else {
                shape((step - 4) as f64 / 8.0)
            };
            assert_near(&format!("{kind:?} {step}"), rate, 0.5e-2 * factor, 1e-12);
        }
    }
}

/// The first AdamW step moves every weight by the learning rate, whatever its gradient.
#[test]
fn both_networks_follow_the_schedule_from_their_own_peaks() {
    let set = Points::new(16);
    let mut config = dsl(|dsl| {
        constant_margin(dsl, 1.0);
        dsl.discriminator.learning_rate = Some(3e-3);
    });
    config.train.optimizer.weight_decay = 0.0;
    config.train.lr_schedule.warmup_steps = 10;
    let mut trainer = trainer(config);
    let start = weights(trainer.generator());
    train(&mut trainer, &set, 1);
    let moved = largest_difference(&start, &weights(trainer.generator()));
    assert_near("generator", f64::from(moved), 1e-2 / 10.0, 1e-3);
    // B starts at 0.
    let adapters = crate::support::adapter_weights(trainer.discriminator().unwrap());
    let b = adapters
        .iter()
        .filter(|(path, _)| path.ends_with("lora_b"))
        .flat_map(|(_, b)| b);
    assert_near(
        "discriminator",
        f64::from(b.fold(0.0f32, |max, b| max.max(b.abs()))),
        3e-3 / 10.0,
        1e-3,
    );
}

#[test]
fn the_discriminators_peak_depends_on_what_is_trained() {
    let mut config = dsl_engine::objective::DiscriminatorConfig::default();
    assert_eq!(config.peak_learning_rate(0.5), 1e-4);
    config.trainable = dsl_engine::objective::DiscriminatorTrainable::Full;
    assert_eq!(config.peak_learning_rate(0.5), 0.5);
    config.learning_rate = Some(0.25);
    assert_eq!(config.peak_learning_rate(0.5), 0.25);
}
