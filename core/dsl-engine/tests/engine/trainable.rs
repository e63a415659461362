//! What of the generator trains, and what a checkpoint then holds.

use std::collections::BTreeSet;
use std::fs;

use burn::tensor::Device;
use dsl_engine::objective::{DiscriminatorBase, ShareBase, UpdateOrder};
use dsl_engine::{
    BiasNormConfig, Checkpoints, LoraTrainableConfig, NamedConfig, SampleSource, StepReport,
    TrainableConfig, Trainer, TrainerConfig,
};
use dsl_nets::{named_parameters, parameters};

use crate::support::{Pictures, dsl, dsm, full_twin, state, tiny_unet, weights};
use crate::tasks::{self, Scenes, pipeline_texts};

fn lora() -> TrainableConfig {
    TrainableConfig::Lora(LoraTrainableConfig {
        rank: 2,
        alpha: 4.0,
        // Linear layers, convolutions with and without stride, and 1×1 convolutions.
        targets: vec![
            r"attn[12]\.to_".to_owned(),
            r"conv1$".to_owned(),
            r"conv_shortcut$".to_owned(),
            r"proj_in$".to_owned(),
            r"samplers\.0\.conv$".to_owned(),
        ],
        ..LoraTrainableConfig::default()
    })
}

fn named(patterns: &[&str]) -> TrainableConfig {
    TrainableConfig::Named(NamedConfig {
        parameters: patterns.iter().map(|p| (*p).to_owned()).collect(),
        ..NamedConfig::default()
    })
}

/// Parameters of a pipeline's text encoders.
fn named_in_text(parameters: &[&str], text_encoder: &[&str]) -> TrainableConfig {
    let owned = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect();
    TrainableConfig::Named(NamedConfig {
        parameters: owned(parameters),
        text_encoder: owned(text_encoder),
    })
}

fn kinds() -> [(&'static str, TrainableConfig); 4] {
    [
        ("lora", lora()),
        ("bias_norm", TrainableConfig::BiasNorm(BiasNormConfig {})),
        ("named", named(&[r"attn2\.to_[kv]", r"^text_encoder"])),
        ("all", TrainableConfig::All),
    ]
}

fn start(config: &TrainerConfig, seed: u64) -> Trainer {
    Trainer::new(config.clone(), tiny_unet(seed), &Device::flex()).unwrap()
}

fn step(trainer: &mut Trainer) -> StepReport {
    let set = Pictures(6);
    let first = trainer.step_count() % 4;
    let batch = set.samples(&[first, first + 1, first + 2]).unwrap();
    trainer.step(&[batch], &set).unwrap()
}

/// Paths whose values differ.
fn moved(before: &[(String, Vec<f32>)], after: &[(String, Vec<f32>)]) -> BTreeSet<String> {
    assert_eq!(before.len(), after.len());
    let pairs = before.iter().zip(after);
    pairs
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.0.clone())
        .collect()
}

#[test]
fn what_is_named_of_a_pipelines_text_encoders_moves() {
    let set = Scenes::new(6, pipeline_texts);
    let of_text = "pipeline_text.text_encoder.text_model.";
    for (parameters, text_encoder) in [
        (
            &[r"attn2\.to_k"][..],
            &[r"layers\.0\.mlp", "^text_model.final_layer_norm"][..],
        ),
        (&[], &[r"self_attn\.v_proj\.weight$"]),
    ] {
        let mut config = dsl(|_| ());
        config.trainable = named_in_text(parameters, text_encoder);
        let mut trainer = tasks::start(&config, tasks::of_pipeline());
        let before = weights(trainer.generator());
        tasks::steps(&mut trainer, &set, 3);
        let moved = moved(&before, &weights(trainer.generator()));
        let expected = before.iter().map(|(path, _)| path.clone()).filter(|path| {
            match path.strip_prefix(of_text) {
                Some(_) if parameters.is_empty() => path.ends_with("self_attn.v_proj.weight"),
                Some(below) => {
                    below.contains("layers.0.mlp") || below.starts_with("final_layer_norm")
                }
                None => !parameters.is_empty() && path.contains("attn2.to_k"),
            }
        });
        assert_eq!(moved, expected.collect());
        let model = tasks::of_pipeline;
        tasks::check_resume("text", &config, model, &set, &[1, 2], 3);
    }
}

#[test]
fn parameters_of_text_encoders_that_are_not_there_are_refused() {
    let refused = |trainable: TrainableConfig, model| {
        let mut config = dsm();
        config.trainable = trainable;
        let refused = Trainer::new(config, model, &Device::flex()).err();
        refused.expect("refused").to_string()
    };
    let message = refused(named_in_text(&["attn2"], &["mlp"]), tiny_unet(1));
    assert!(message.contains("those of a pipeline"), "{message}");
    let message = refused(named_in_text(&["attn2"], &["attn2"]), tasks::of_pipeline());
    assert!(
        message.contains("model.trainable.text_encoder"),
        "{message}"
    );
    let message = refused(named_in_text(&[], &[]), tasks::of_pipeline());
    assert!(message.contains("model.trainable.parameters"), "{message}");
}

#[test]
fn exactly_what_is_named_moves() {
    for (kind, trainable) in kinds() {
        let mut config = dsm();
        config.trainable = trainable;
        let mut trainer = start(&config, 1);
        let before = weights(trainer.generator());
        for _ in 0..2 {
            step(&mut trainer);
        }
        let moved = moved(&before, &weights(trainer.generator()));
        let all: BTreeSet<String> = before.iter().map(|(path, _)| path.clone()).collect();
        let expected: BTreeSet<String> = match kind {
            "all" => all.clone(),
            "lora" => of(&all, |path| path.contains(".lora.lora_")),
            "bias_norm" => of(&all, |path| {
                let is_norm = path.contains("norm") && path.ends_with("weight");
                path.starts_with("denoiser.") && (path.ends_with(".bias") || is_norm)
            }),
            _ => of(&all, |path| {
                path.contains("attn2.to_k")
                    || path.contains("attn2.to_v")
                    || !path.starts_with("den")
            }),
        };
        // Tokens that no caption has do not move, and neither does a key's bias before a softmax; whole tensors do.
        let missing: Vec<_> = expected.difference(&moved).collect();
        assert!(missing.is_empty(), "{kind}: {missing:?} did not move");
        assert_eq!(moved, expected, "{kind}");
        let trained = parameters::count_trainable(trainer.generator());
        let total: usize = before.iter().map(|(_, values)| values.len()).sum();
        assert_eq!(trainer.parameter_counts(), [trained, total - trained]);
        assert_eq!(trainer.frozen_sha256().is_none(), kind == "all");
    }
}

fn of(paths: &BTreeSet<String>, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    paths.iter().filter(|path| wanted(path)).cloned().collect()
}

/// A merged network computes what its adapters computed.
#[test]
fn merged_adapters_give_the_same_pictures() {
    let mut config = dsm();
    config.trainable = lora();
    let mut trainer = start(&config, 1);
    for _ in 0..3 {
        step(&mut trainer);
    }
    let model = trainer.sampling_model();
    let merged = model.merge_lora();
    let plain: Vec<String> = weights(&tiny_unet(1)).into_iter().map(|w| w.0).collect();
    let paths: Vec<String> = weights(&merged).into_iter().map(|w| w.0).collect();
    assert_eq!(paths, plain, "no adapter is left");
    let device = Device::flex();
    let ids = Pictures(1).samples(&[0]).unwrap();
    let ids = ids.conditions.token_ids.unwrap();
    let run = |model: &dsl_nets::Model| {
        let x = crate::support::normal("x", [1, 3, 8, 8], &device);
        let t = burn::tensor::Tensor::from_floats([500.0], &device);
        let ids = burn::tensor::Tensor::from_data(ids.clone(), &device);
        crate::support::values(model.denoiser.forward(x, t, &model.encode_text(ids)))
    };
    let (with, without, base) = (run(&model), run(&merged), run(&tiny_unet(1)));
    let largest = |a: &[f32], b: &[f32]| {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(
        largest(&with, &without) < 1e-5,
        "{}",
        largest(&with, &without)
    );
    assert!(largest(&with, &base) > 1e-3, "the adapters have learned");
}

fn check_resume(what: &str, config: &TrainerConfig, stops: &[u64], steps: u64) {
    let mut whole = start(config, 1);
    let expected: Vec<StepReport> = (0..steps).map(|_| step(&mut whole)).collect();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let mut stopped = start(config, 1);
    let mut found = Vec::new();
    for &stop in stops.iter().chain([&steps]) {
        while stopped.step_count() < stop {
            found.push(step(&mut stopped));
        }
        checkpoints.save(&stopped).unwrap();
        stopped = start(config, 1);
        let loaded = checkpoints.load_latest().unwrap();
        stopped.restore(&loaded.checkpoint).unwrap();
    }
    assert_eq!(found, expected, "{what}: reports");
    assert_eq!(state(&stopped), state(&whole), "{what}: weights");
}

#[test]
fn every_kind_resumes_exactly() {
    for (kind, trainable) in kinds() {
        for base in [
            DiscriminatorBase::Initial,
            DiscriminatorBase::Ema,
            DiscriminatorBase::Refresh,
        ] {
            for full in [false, true] {
                let mut config = dsl(|dsl| {
                    dsl.warmup_dsm_steps = 1;
                    dsl.discriminator.base = base;
                    dsl.discriminator.refresh_every_epochs = 1;
                    if full {
                        full_twin(dsl);
                    }
                });
                config.train.steps_per_epoch = Some(2);
                config.train.ema.decay = Some(0.8);
                config.trainable = trainable.clone();
                check_resume(&format!("{kind} {base:?} full={full}"), &config, &[1, 3], 5);
            }
        }
        let mut config = dsl(|_| ());
        config.trainable = trainable;
        check_resume(&format!("{kind} without a warm-up"), &config, &[2], 3);
    }
}

#[test]
fn a_checkpoint_holds_what_is_trained_and_nothing_else() {
    let mut config = dsl(|dsl| dsl.discriminator.lora.rank = 2);
    config.train.ema.decay = Some(0.9);
    config.trainable = lora();
    let mut trainer = start(&config, 1);
    step(&mut trainer);
    let folder = tempfile::tempdir().unwrap();
    let path = Checkpoints::new(folder.path(), 1).save(&trainer).unwrap();
    let [trained, frozen] = trainer.parameter_counts();
    assert!(frozen > 4 * trained, "{frozen} and {trained}");
    let adapters = |network: &dsl_nets::Denoiser| -> usize {
        let adapters = named_parameters(network);
        adapters
            .iter()
            .filter(|p| p.is_adapter())
            .map(|p| p.values.len())
            .sum()
    };
    let of_discriminator = adapters(trainer.discriminator().unwrap());
    for (file, elements) in [
        ("generator.bpk", trained),
        ("generator_ema.bpk", trained),
        ("generator_optimizer.bpk", 2 * trained),
        ("discriminator.bpk", of_discriminator),
        ("discriminator_optimizer.bpk", 2 * of_discriminator),
    ] {
        let bytes = fs::metadata(path.join(file)).unwrap().len() as usize;
        // Names and places of the tensors come on top, and less than the frozen weights would take.
        assert!(
            bytes >= 4 * elements && bytes < 4 * elements + 4 * frozen / 2 + 40_000,
            "{file}: {bytes} bytes for {elements} elements"
        );
    }
    let state: serde_json::Value =
        serde_json::from_slice(&fs::read(path.join("state.json")).unwrap()).unwrap();
    assert_eq!(
        state["frozen_sha256"].as_str(),
        trainer.frozen_sha256(),
        "{state}"
    );
}

#[test]
fn another_base_and_another_choice_are_refused() {
    let mut config = dsm();
    config.trainable = lora();
    let mut trainer = start(&config, 1);
    step(&mut trainer);
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    checkpoints.save(&trainer).unwrap();
    let checkpoint = checkpoints.load_latest().unwrap().checkpoint;
    let refused = |mut other: Trainer, parts: &[&str]| {
        let before = state(&other);
        let message = other.restore(&checkpoint).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(state(&other), before);
    };
    let sha256 = trainer.frozen_sha256().unwrap();
    refused(
        start(&config, 2),
        &["frozen base", sha256, "base model of the run"],
    );
    refused(start(&dsm(), 1), &["trained parameters alone"]);
    let mut other = config.clone();
    other.trainable = named(&["conv_in"]);
    refused(start(&other, 1), &["frozen base"]);

    let message = |trainable| {
        let mut config = dsm();
        config.trainable = trainable;
        let made = Trainer::new(config, tiny_unet(1), &Device::flex());
        made.err().unwrap().to_string()
    };
    let nothing = message(named(&["no_such_layer"]));
    assert!(
        nothing.contains("model.trainable") && nothing.contains("nothing to train"),
        "{nothing}"
    );
    let pattern = message(named(&["("]));
    assert!(
        pattern.contains("model.trainable.parameters.0") && pattern.contains("regular expression"),
        "{pattern}"
    );
}

/// One base in memory is the same computation as two.
#[test]
fn a_shared_base_gives_the_numbers_of_an_own_one() {
    for (kind, trainable) in kinds() {
        for (warmup, refresh) in [(0, false), (2, false), (1, true)] {
            let run = |share: ShareBase| {
                let mut config = dsl(|dsl| {
                    dsl.warmup_dsm_steps = warmup;
                    dsl.discriminator.share_base = share;
                    if refresh {
                        dsl.discriminator.base = DiscriminatorBase::Refresh;
                        dsl.discriminator.refresh_every_epochs = 1;
                    }
                });
                config.train.steps_per_epoch = Some(2);
                config.trainable = trainable.clone();
                let mut trainer = start(&config, 1);
                let reports: Vec<StepReport> = (0..4).map(|_| step(&mut trainer)).collect();
                (reports, state(&trainer))
            };
            assert!(
                run(ShareBase::Auto) == run(ShareBase::Never),
                "{kind}, {warmup}, {refresh}"
            );
        }
    }
}

/// After a warm-up the generator's adapters have learned something: the copy answers as the generator does.
#[test]
fn the_discriminator_starts_where_the_generators_adapters_are() {
    for full in [false, true] {
        let mut config = dsl(|dsl| {
            dsl.warmup_dsm_steps = 3;
            dsl.update.order = UpdateOrder::Simultaneous;
            if full {
                full_twin(dsl);
            }
        });
        config.trainable = lora();
        let mut trainer = start(&config, 1);
        let reports: Vec<StepReport> = (0..4).map(|_| step(&mut trainer)).collect();
        let first = reports.last().unwrap();
        let (gap, error) = (
            first.get("gap").unwrap(),
            first.get("err/generator").unwrap(),
        );
        // Adapters are computed as they were; merged ones are rounded another way.
        let allowed = if full { 1e-8 * error } else { 0.0 };
        assert!(gap <= allowed, "full={full}: {gap} of {error}");
        let network = trainer.discriminator().unwrap();
        let in_base = named_parameters(network)
            .iter()
            .filter(|p| p.path.contains("base_lora"))
            .count();
        assert_eq!(in_base > 0, !full);
    }
}
