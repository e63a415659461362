//! Dropout in the adapters takes its masks from the device's generator, which is seeded per step.

use burn::tensor::{Device, Distribution, Tensor};
use dsl_engine::Checkpoints;

use crate::support::{Points, dsl, train, trainer};

/// The only test that draws from the device's generator, which is one for the whole process.
#[test]
fn dropped_inputs_are_the_same_whatever_was_drawn_before() {
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
