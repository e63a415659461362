//! A run that is stopped, saved and resumed is the run that never stopped, bit for bit.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use dsl_engine::objective::{DiscriminatorBase, UpdateOrder};
use dsl_engine::{Checkpoints, SampleSource, StepReport, Trainer, TrainerConfig};

use crate::support::{
    BATCH, Pictures, Points, dsl, dsm, full_twin, mlp, state, tiny_unet, train, trainer,
};

/// A trainer of another start, so that nothing can be right by chance.
fn resumed(config: &TrainerConfig, checkpoints: &Checkpoints) -> Trainer {
    let mut trainer = Trainer::new(config.clone(), mlp(8), &Device::flex()).unwrap();
    let loaded = checkpoints.load_latest().unwrap();
    assert!(loaded.damaged.is_empty(), "{:?}", loaded.damaged);
    trainer.restore(&loaded.checkpoint).unwrap();
    trainer
}

fn check_resume(what: &str, config: TrainerConfig, stops: &[u64], steps: u64) {
    let set = Points::new(3 * BATCH);
    let mut whole = trainer(config.clone());
    let expected = train(&mut whole, &set, steps);

    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    let mut stopped = trainer(config.clone());
    let mut found: Vec<StepReport> = Vec::new();
    for stop in stops {
        let more = stop - stopped.step_count();
        found.extend(train(&mut stopped, &set, more));
        let path = checkpoints.save(&stopped).unwrap();
        assert!(
            path.ends_with(format!("step-{stop:08}")),
            "{}",
            path.display()
        );
        let before = state(&stopped);
        stopped = resumed(&config, &checkpoints);
        assert_eq!(
            state(&stopped),
            before,
            "{what}: what was saved at {stop} is what is read"
        );
    }
    let more = steps - stopped.step_count();
    found.extend(train(&mut stopped, &set, more));
    assert_eq!(found, expected, "{what}: reports");
    assert_eq!(state(&stopped), state(&whole), "{what}: weights");
}

#[test]
fn dsm_with_a_moving_average_resumes_exactly() {
    let mut config = dsm();
    config.train.ema.decay = Some(0.95);
    config.train.lr_schedule =
        serde_json::from_value(serde_json::json!({"kind": "cosine", "warmup_steps": 4})).unwrap();
    check_resume("dsm", config, &[10], 20);
}

#[test]
fn dsl_with_adapters_resumes_exactly() {
    let mut config = dsl(|dsl| {
        // Passes at 0, 4, 8 and so on, with a share of the old margin: the margin itself has to be saved.
        dsl.margin.every_steps = Some(4);
        dsl.margin.ema = 0.5;
        dsl.margin.bins = 3;
        dsl.lambda_warmup_steps = 12;
    });
    check_resume("adapters", config.clone(), &[10], 20);
    config.train.ema.decay = Some(0.9);
    check_resume(
        "adapters, with an average, stopped often",
        config,
        &[1, 2, 8, 9],
        12,
    );
}

#[test]
fn dsl_with_a_refreshed_twin_resumes_exactly() {
    for full in [true, false] {
        let config = dsl(|dsl| {
            if full {
                full_twin(dsl);
            }
            dsl.discriminator.base = DiscriminatorBase::Refresh;
            // An epoch is three steps: refreshed at 6, 12 and 18.
            dsl.discriminator.refresh_every_epochs = 2;
            dsl.margin.every_epochs = 2;
        });
        check_resume(
            if full { "full" } else { "adapters" },
            config,
            &[10, 12],
            20,
        );
    }
}

/// The base is a copy of the generator at the end of the warm-up, or of its average, which is not there any more later.
#[test]
fn a_run_stopped_around_the_end_of_its_warm_up_resumes_exactly() {
    for base in [DiscriminatorBase::Initial, DiscriminatorBase::Ema] {
        let mut config = dsl(|dsl| {
            dsl.warmup_dsm_steps = 5;
            dsl.discriminator.base = base;
            dsl.update.order = UpdateOrder::Simultaneous;
        });
        config.train.ema.decay = Some(0.8);
        check_resume(&format!("{base:?}"), config, &[4, 5, 6, 9], 12);
    }
}

#[test]
fn a_captioned_unet_resumes_exactly() {
    let set = Pictures(4);
    let config = dsl(|_| ());
    let step = |trainer: &mut Trainer| {
        trainer
            .step(&[set.samples(&[0, 1, 2]).unwrap()], &set)
            .unwrap()
    };
    let start = |seed| Trainer::new(config.clone(), tiny_unet(seed), &Device::flex()).unwrap();
    let mut whole = start(1);
    let mut expected = Vec::new();
    for _ in 0..4 {
        expected.push(step(&mut whole));
    }
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let mut first = start(1);
    let mut found = vec![step(&mut first), step(&mut first)];
    checkpoints.save(&first).unwrap();
    let mut second = start(2);
    second
        .restore(&checkpoints.load_latest().unwrap().checkpoint)
        .unwrap();
    found.extend([step(&mut second), step(&mut second)]);
    assert_eq!(found, expected);
    assert_eq!(state(&second), state(&whole));
}

#[test]
fn only_the_newest_are_kept() {
    let set = Points::new(BATCH);
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path().join("made/when/needed"), 2);
    assert!(checkpoints.steps().is_empty() && !checkpoints.folder().exists());
    let mut trainer = trainer(dsm());
    for step in 1..=4 {
        train(&mut trainer, &set, 1);
        checkpoints.save(&trainer).unwrap();
        // Saving again changes nothing.
        checkpoints.save(&trainer).unwrap();
        let expected: Vec<u64> = (step.max(2) - 1..=step).collect();
        assert_eq!(checkpoints.steps(), expected);
    }
    assert_eq!(
        names(checkpoints.folder()),
        ["step-00000003", "step-00000004"]
    );
    assert_eq!(checkpoints.load_latest().unwrap().checkpoint.step(), 4);
    assert_eq!(checkpoints.load(3).unwrap().step(), 3);
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn another_configuration_is_refused() {
    let set = Points::new(BATCH);
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let mut first = trainer(dsl(|_| ()));
    train(&mut first, &set, 1);
    checkpoints.save(&first).unwrap();
    let checkpoint = checkpoints.load_latest().unwrap().checkpoint;
    let refused = |mut trainer: Trainer, expected: &str| {
        let before = state(&trainer);
        let message = trainer.restore(&checkpoint).unwrap_err().to_string();
        assert!(
            message.contains("does not fit this run") && message.contains(expected),
            "{message}"
        );
        assert_eq!(
            state(&trainer),
            before,
            "a refused checkpoint changes nothing"
        );
    };
    refused(trainer(dsm()), "`objective.kind` is not `dsl`");
    refused(
        Trainer::new(dsl(|_| ()), tiny_unet(1), &Device::flex()).unwrap(),
        "generator.bpk",
    );
    refused(trainer(dsl(full_twin)), "discriminator.bpk");
    refused(
        trainer(dsl(|dsl| dsl.discriminator.lora.rank = 3)),
        "discriminator.bpk",
    );
    let mut averaged = dsl(|_| ());
    averaged.train.ema.decay = Some(0.9);
    refused(trainer(averaged), "generator_ema.bpk");
}
