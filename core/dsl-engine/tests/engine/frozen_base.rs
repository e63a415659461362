//! Whose weights move: adapters on one side, the generator on the other, the discriminator's base never.

use burn::tensor::Device;
use dsl_engine::Trainer;
use dsl_engine::objective::{DiscriminatorBase, UpdateOrder};

use crate::support::{
    BATCH, Points, adapter_weights, base_weights, constant_margin, dsl, full_twin, mlp, train,
    trainable_ids, trainer, weights,
};

#[test]
fn the_two_sets_of_trained_parameters_are_disjoint_and_the_base_never_changes() {
    let set = Points::new(40);
    let mut trainer = trainer(dsl(|dsl| dsl.discriminator.weight_decay = 0.1));
    let start = weights(&trainer.generator().denoiser);
    let mut last = None;
    for step in 0..8 {
        train(&mut trainer, &set, 1);
        let (generator, discriminator) = (trainer.generator(), trainer.discriminator().unwrap());
        let (of_g, of_phi) = (trainable_ids(generator), trainable_ids(discriminator));
        assert_eq!(of_g.len(), weights(generator).len());
        assert_eq!(of_phi.len(), adapter_weights(discriminator).len());
        assert!(of_g.is_disjoint(&of_phi));
        assert_eq!(base_weights(discriminator), start, "step {step}");
        let adapters = adapter_weights(discriminator);
        assert_ne!(Some(&adapters), last.as_ref(), "step {step}");
        last = Some(adapters);
    }
    assert_ne!(weights(&trainer.generator().denoiser), start);
}

/// A full twin starts with the generator's parameter ids; the two are still moved apart from one another.
#[test]
fn a_full_twin_shares_nothing_with_the_generator() {
    let set = Points::new(40);
    let mut trainer = trainer(dsl(|dsl| {
        full_twin(dsl);
        dsl.update.order = UpdateOrder::Simultaneous;
    }));
    let start = weights(&trainer.generator().denoiser);
    train(&mut trainer, &set, 1);
    assert_eq!(weights(&trainer.generator().denoiser), start);
    let twin = weights(trainer.discriminator().unwrap());
    assert!(
        twin.iter().zip(&start).all(|(a, b)| a != b),
        "every tensor of the twin has moved"
    );
    assert_eq!(
        trainable_ids(trainer.discriminator().unwrap()).len(),
        twin.len()
    );
}

#[test]
fn a_refreshed_base_is_the_generator_and_keeps_its_adapters() {
    let set = Points::new(2 * BATCH);
    for full in [false, true] {
        let mut trainer = trainer(dsl(|dsl| {
            constant_margin(dsl, 1.0);
            dsl.warmup_dsm_steps = 1;
            dsl.discriminator.base = DiscriminatorBase::Refresh;
            dsl.discriminator.refresh_every_epochs = 2;
            if full {
                full_twin(dsl);
            }
        }));
        // One epoch is two steps, so the base is taken at steps 1, 5 and 9 (from 0).
        assert_eq!(trainer.steps_per_epoch(&set), 2);
        let mut expected = Vec::new();
        for step in 0..10 {
            if [1, 5, 9].contains(&step) {
                expected = weights(&trainer.generator().denoiser);
            }
            let before = trainer.discriminator().map(adapter_weights);
            train(&mut trainer, &set, 1);
            let Some(discriminator) = trainer.discriminator() else {
                continue;
            };
            if full {
                continue;
            }
            assert_eq!(base_weights(discriminator), expected, "step {step}");
            let adapters = adapter_weights(discriminator);
            assert_eq!(
                trainable_ids(discriminator).len(),
                adapters.len(),
                "step {step}"
            );
            if let Some(before) = before {
                let moved = crate::support::largest_difference(&before, &adapters);
                assert!(
                    moved > 0.0 && moved < 0.05,
                    "adapters are kept and go on: {moved}"
                );
            }
        }
        if full {
            // One AdamW step away from the generator at step 9.
            let moved = crate::support::largest_difference(
                &expected,
                &weights(trainer.discriminator().unwrap()),
            );
            assert!(moved > 0.0 && moved < 0.05, "{moved}");
        }
    }
}

#[test]
fn the_base_can_be_the_moving_average() {
    let set = Points::new(40);
    let mut config = dsl(|dsl| {
        dsl.warmup_dsm_steps = 5;
        dsl.discriminator.base = DiscriminatorBase::Ema;
    });
    let message = Trainer::new(config.clone(), mlp(3), &Device::flex())
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("objective.discriminator.base") && message.contains("train.ema.decay"),
        "{message}"
    );

    config.train.ema.decay = Some(0.9);
    let mut trainer = Trainer::new(config, mlp(3), &Device::flex()).unwrap();
    train(&mut trainer, &set, 5);
    let average = weights(&trainer.sampling_model().denoiser);
    train(&mut trainer, &set, 1);
    assert_eq!(base_weights(trainer.discriminator().unwrap()), average);
    assert_ne!(average, weights(&trainer.generator().denoiser));
}
