//! Layers that a task adds, as what trains: in the discriminator beside its adapters, and as all that the generator trains.

use std::collections::BTreeSet;
use std::fs;

use dsl_engine::objective::{DiscriminatorBase, ShareBase};
use dsl_engine::{
    Checkpoints, Conditions, TaskModulesOnlyConfig, TrainableConfig, Trainer, TrainerConfig,
};
use dsl_nets::{LoraConfig, Model, named_parameters};
use serde_json::json;

use crate::support::{dsl, dsm, state, weights};
use crate::tasks::{
    Scenes, boxes, check_resume, gligen, opened_gligen, start, steps, text, unet, wave,
};

fn set() -> Scenes {
    Scenes::new(6, boxes)
}

fn task_modules() -> TrainableConfig {
    TrainableConfig::TaskModules(TaskModulesOnlyConfig {})
}

fn lora() -> TrainableConfig {
    TrainableConfig::Lora(LoraConfig {
        rank: 2,
        ..LoraConfig::default()
    })
}

/// DSL whose discriminator trains its own task modules.
fn with_own_modules(base: DiscriminatorBase, warmup: u64) -> TrainerConfig {
    let mut config = dsl(|dsl| {
        dsl.warmup_dsm_steps = warmup;
        dsl.discriminator.train_task_modules = true;
        dsl.discriminator.lora.rank = 2;
        dsl.discriminator.base = base;
        dsl.discriminator.refresh_every_epochs = 1;
    });
    config.train.steps_per_epoch = Some(2);
    config.train.ema.decay = Some(0.8);
    config
}

fn added(model: &Model) -> BTreeSet<String> {
    let modules = model.task_modules().into_iter();
    modules.flat_map(|module| module.parameters).collect()
}

/// Paths whose values differ.
fn moved(before: &[(String, Vec<f32>)], after: &[(String, Vec<f32>)]) -> BTreeSet<String> {
    assert_eq!(before.len(), after.len());
    let pairs = before.iter().zip(after);
    let differ = pairs.filter(|(before, after)| before != after);
    differ.map(|(before, _)| before.0.clone()).collect()
}

#[test]
fn a_discriminator_trains_its_adapters_and_its_own_task_modules_and_nothing_else() {
    let mut trainer = start(&with_own_modules(DiscriminatorBase::Initial, 0), gligen());
    let base = weights(&trainer.generator().denoiser);
    let modules = trainer.generator().denoiser.task_modules();
    let added: BTreeSet<String> = modules.into_iter().flat_map(|m| m.parameters).collect();
    assert!(added.contains("position_net.linears.0.weight"), "{added:?}");
    // Gates open, then what lies behind them moves.
    steps(&mut trainer, &set(), 3);
    let network = named_parameters(trainer.discriminator().unwrap());
    let adapters: BTreeSet<String> = (network.iter())
        .filter(|p| p.is_adapter())
        .map(|p| p.path.clone())
        .collect();
    assert!(adapters.iter().any(|path| path.contains("fuser.attn")));
    let trained: BTreeSet<String> = (network.iter())
        .filter(|p| p.require_grad)
        .map(|p| p.path.clone())
        .collect();
    let expected: BTreeSet<String> = added.union(&adapters).cloned().collect();
    assert_eq!(trained, expected);

    let rest: Vec<_> = (network.iter())
        .filter(|p| !p.is_adapter())
        .map(|p| (p.path.clone(), p.values.clone()))
        .collect();
    assert_eq!(moved(&base, &rest), added);
    for adapter in network.iter().filter(|p| p.path.ends_with("lora_b")) {
        assert!(adapter.values.iter().any(|b| *b != 0.0), "{}", adapter.path);
    }
    // The generator's modules are its own.
    assert_ne!(weights(&trainer.generator().denoiser), rest, "two networks");
}

/// The base is refreshed beneath what the discriminator trains, which neither changes by that nor stops to train.
#[test]
fn own_task_modules_train_on_after_a_refresh() {
    let config = with_own_modules(DiscriminatorBase::Refresh, 0);
    let mut trainer = start(&config, gligen());
    let trained = |trainer: &Trainer| -> Vec<(String, Vec<f32>)> {
        let network = named_parameters(trainer.discriminator().unwrap());
        let trained = network.into_iter().filter(|p| p.require_grad);
        trained.map(|p| (p.path, p.values)).collect()
    };
    steps(&mut trainer, &set(), 2);
    let before = trained(&trainer);
    let generator = weights(&trainer.generator().denoiser);
    // Refreshed at step 2 (from 0).
    steps(&mut trainer, &set(), 1);
    let refreshed = trained(&trainer);
    // Its own modules are a step away from what they were, and further from the generator's.
    let of = |path: &str, values: &[(String, Vec<f32>)]| -> Vec<f32> {
        let found = values.iter().find(|(at, _)| at == path);
        found.map(|(_, values)| values.clone()).unwrap_or_default()
    };
    let own = "position_net.linears.0.weight";
    let distance = |values: &[(String, Vec<f32>)]| -> f32 {
        let pairs = of(own, values).into_iter().zip(of(own, &refreshed));
        pairs.map(|(a, b)| (a - b).abs()).sum()
    };
    assert!(distance(&before) > 0.0);
    assert!(
        2.0 * distance(&before) < distance(&generator),
        "{} {}",
        distance(&before),
        distance(&generator)
    );
    steps(&mut trainer, &set(), 1);
    let after = trained(&trainer);
    let all: BTreeSet<String> = before.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(moved(&refreshed, &after), all);
    let base = |trainer: &Trainer| {
        let network = named_parameters(trainer.discriminator().unwrap());
        let frozen = network.into_iter().filter(|p| !p.require_grad);
        frozen.map(|p| (p.path, p.values)).collect::<Vec<_>>()
    };
    let frozen = base(&trainer);
    assert!(frozen.iter().any(|(path, _)| path == "conv_in.weight"));
    assert_ne!(
        frozen,
        base(&{
            let mut unrefreshed = start(&with_own_modules(DiscriminatorBase::Initial, 0), gligen());
            steps(&mut unrefreshed, &set(), 4);
            unrefreshed
        })
    );
}

#[test]
fn own_task_modules_resume_exactly() {
    for trainable in [TrainableConfig::All, lora(), task_modules()] {
        for (base, warmup) in [
            (DiscriminatorBase::Initial, 0),
            (DiscriminatorBase::Ema, 1),
            (DiscriminatorBase::Refresh, 1),
        ] {
            let mut config = with_own_modules(base, warmup);
            config.trainable = trainable.clone();
            let what = format!("{trainable:?} {base:?}");
            check_resume(&what, &config, opened_gligen, &set(), &[2, 3], 5);
        }
    }
}

#[test]
fn only_what_the_task_adds_is_trained() {
    let mut config = dsm();
    config.trainable = task_modules();
    // Boxes, then a picture in further channels, whose first convolution is one parameter.
    let concat = || {
        unet(json!({
            "in_channels": 5,
            "task_modules": {"concat_channels": 2, "class_labels": 3}
        }))
    };
    fn pictures(rows: &[u64]) -> Conditions {
        let classes: Vec<i64> = rows.iter().map(|row| *row as i64 % 4).collect();
        Conditions {
            concat: Some(wave(rows, &[2, 8, 8], 0.29)),
            class_ids: Some(burn::tensor::TensorData::new(classes, [rows.len()])),
            ..text(rows)
        }
    }
    let cases: [(Model, Scenes); 2] = [(gligen(), set()), (concat(), Scenes::new(6, pictures))];
    for (model, set) in cases {
        let mut trainer = start(&config, model);
        let (before, hash) = (weights(trainer.generator()), trainer.frozen_sha256());
        let hash = hash.unwrap().to_owned();
        let added = added(trainer.generator());
        steps(&mut trainer, &set, 3);
        assert_eq!(moved(&before, &weights(trainer.generator())), added);
        // The same sum of the weights as they are now.
        let again = start(&config, trainer.sampling_model());
        assert_eq!(again.frozen_sha256(), Some(hash.as_str()));
        let elements: usize = (before.iter())
            .filter(|(path, _)| added.contains(path))
            .map(|(_, values)| values.len())
            .sum();
        assert_eq!(trainer.parameter_counts()[0], elements);
    }
}

#[test]
fn a_network_without_task_modules_has_nothing_to_train() {
    let mut config = dsm();
    config.trainable = task_modules();
    let made = Trainer::new(config, unet(json!({})), &burn::tensor::Device::flex());
    let message = made.err().unwrap().to_string();
    assert!(
        message.contains("model.trainable") && message.contains("nothing to train"),
        "{message}"
    );
}

#[test]
fn a_checkpoint_of_task_modules_is_small() {
    let model = || unet(json!({"task_modules": {"camera_pose": {"numbers": 4}}}));
    fn poses(rows: &[u64]) -> Conditions {
        Conditions {
            camera_pose: Some(wave(rows, &[4], 0.83)),
            ..text(rows)
        }
    }
    let set = Scenes::new(6, poses);
    let mut config = dsm();
    config.trainable = task_modules();
    let size = |config: &TrainerConfig| {
        let mut trainer = start(config, model());
        steps(&mut trainer, &set, 1);
        let folder = tempfile::tempdir().unwrap();
        let path = Checkpoints::new(folder.path(), 1).save(&trainer).unwrap();
        let bytes = fs::metadata(path.join("generator.bpk")).unwrap().len();
        (bytes as usize, trainer.parameter_counts())
    };
    let (small, [trained, frozen]) = size(&config);
    config.trainable = TrainableConfig::All;
    let (whole, _) = size(&config);
    assert!(frozen > 4 * trained, "{frozen} and {trained}");
    assert!(small >= 4 * trained && whole >= 4 * (trained + frozen));
    assert!(small < whole / 4, "{small} of {whole} bytes");
}

/// One base in memory, two sets of task modules: the same computation as two bases.
#[test]
fn task_modules_share_their_base_with_a_discriminator() {
    for own in [false, true] {
        let run = |share: ShareBase| {
            let mut config = dsl(|dsl| {
                dsl.warmup_dsm_steps = 1;
                dsl.discriminator.train_task_modules = own;
                dsl.discriminator.share_base = share;
            });
            config.trainable = task_modules();
            let mut trainer = start(&config, gligen());
            let start = weights(trainer.generator());
            let reports = steps(&mut trainer, &set(), 3);
            let added = added(trainer.generator());
            assert_eq!(moved(&start, &weights(trainer.generator())), added);
            (reports, trainer)
        };
        let (shared, trainer) = run(ShareBase::Auto);
        let (apart, other) = run(ShareBase::Never);
        assert_eq!(shared, apart, "own modules: {own}");
        assert!(state(&trainer) == state(&other), "own modules: {own}");
    }
}
