//! Dropout in the adapters takes its masks from the device's generator, which is seeded per step.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Distribution, Tensor};
use dsl_engine::{Checkpoints, LoraTrainableConfig, TrainableConfig, Trainer};
use dsl_nets::LoraConfig;

use crate::support::{Points, dsl, state, train, trainer};
use crate::tasks::{Scenes, of_pipeline, pipeline_texts, start, steps};

/// The device's generator is one for the whole process; only the tests of this file draw from it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn dropped_inputs_are_the_same_whatever_was_drawn_before() {
    let _alone = alone();
    let set = Points::new(40);
    let config = |dropout: f64| dsl(|dsl| dsl.discriminator.lora.dropout = dropout);
    let run = |disturbed: bool| {
        let mut trainer = trainer(config(0.3));
        let mut reports = Vec::new();
        for _ in 0..4 {
            if disturbed {
                let _ =
                    Tensor::<1>::random([7], Distribution::Default, &Device::flex()).into_data();
            }
            reports.extend(train(&mut trainer, &set, 1));
        }
        reports
    };
    let calm = run(false);
    assert_eq!(calm, run(true));
    let mut without = trainer(config(0.0));
    assert_ne!(calm, train(&mut without, &set, 4));

    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let mut stopped = trainer(config(0.3));
    assert_eq!(train(&mut stopped, &set, 2), calm[..2]);
    checkpoints.save(&stopped).unwrap();
    let mut resumed = trainer(config(0.3));
    resumed
        .restore(&checkpoints.load_latest().unwrap().checkpoint)
        .unwrap();
    assert_eq!(train(&mut resumed, &set, 2), calm[2..]);
}

/// Text encoders are computed once, whatever is checkpointed.
#[test]
fn text_encoders_may_drop_out_under_gradient_checkpointing() {
    let _alone = alone();
    let set = Scenes::new(6, pipeline_texts);
    let config = |of_denoiser: f64, of_text: f64, checkpointing: bool| {
        let mut config = dsl(|_| ());
        config.train.gradient_checkpointing = checkpointing;
        config.trainable = TrainableConfig::Lora(LoraTrainableConfig {
            dropout: of_denoiser,
            text_encoder: Some(LoraConfig {
                dropout: of_text,
                ..LoraConfig::default()
            }),
            ..LoraTrainableConfig::default()
        });
        config
    };
    let run = |of_text: f64, checkpointing: bool| {
        let config = config(0.0, of_text, checkpointing);
        let mut trainer = start(&config, of_pipeline());
        (steps(&mut trainer, &set, 3), state(&trainer))
    };
    let once = run(0.3, false);
    assert!(once == run(0.3, true));
    assert!(once.0 != run(0.0, true).0);

    let refused = Trainer::new(config(0.3, 0.0, true), of_pipeline(), &Device::flex());
    let message = refused.err().expect("refused").to_string();
    assert!(
        message.contains("train.gradient_checkpointing"),
        "{message}"
    );
}
