//! Blocks that are computed twice give the numbers of blocks that are computed once.

use burn::tensor::{DType, Device};
use dsl_engine::trainer::Precision;
use dsl_engine::{
    BiasNormConfig, NamedConfig, SampleSource, StepReport, TaskModulesOnlyConfig, TrainableConfig,
    Trainer, TrainerConfig,
};
use dsl_nets::LoraConfig;
use serde_json::json;

use crate::support::{Pictures, assert_near, dsl, dsm, full_twin, state, tiny_unet, weights};
use crate::tasks::{self, Scenes};

/// Reports, and the weights of both networks.
type Run = (Vec<StepReport>, Vec<(String, Vec<f32>)>);

fn run(mut config: TrainerConfig, checkpointing: bool) -> Run {
    config.train.gradient_checkpointing = checkpointing;
    let mut trainer = Trainer::new(config, tiny_unet(1), &Device::flex()).unwrap();
    let set = Pictures(6);
    let reports: Vec<_> = (0..3)
        .map(|step| {
            let batch = set.samples(&[step, step + 1]).unwrap();
            trainer.step(&[batch], &set).unwrap()
        })
        .collect();
    let mut all = weights(trainer.generator());
    all.extend(trainer.discriminator().into_iter().flat_map(weights));
    (reports, all)
}

#[track_caller]
fn check(what: &str, config: TrainerConfig) {
    let (again, once) = (run(config.clone(), true), run(config, false));
    let differing: Vec<_> = again
        .1
        .iter()
        .zip(&once.1)
        .filter(|(a, b)| a != b)
        .map(|(a, b)| {
            let pairs = a.1.iter().zip(&b.1);
            let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            (&a.0, largest)
        })
        .collect();
    assert!(differing.is_empty(), "{what}: {differing:?}");
    assert_eq!(again.0, once.0, "{what}");
}

fn named(patterns: &[&str]) -> TrainableConfig {
    TrainableConfig::Named(NamedConfig {
        parameters: patterns.iter().map(|p| (*p).to_owned()).collect(),
        ..NamedConfig::default()
    })
}

/// Text encoder, timestep embedding and first convolution get their gradients through all blocks.
#[test]
fn all_parameters_move_by_the_same_bits() {
    check("dsm", dsm());
    check("dsl", dsl(full_twin));
}

#[test]
fn parts_of_the_network_move_by_the_same_bits() {
    for (what, trainable) in [
        ("lora", TrainableConfig::Lora(LoraConfig::default().into())),
        ("bias_norm", TrainableConfig::BiasNorm(BiasNormConfig {})),
        ("the end", named(&["conv_out"])),
        ("the middle", named(&["mid_block"])),
        ("the last block", named(&["up_blocks.1"])),
        ("the first block", named(&["down_blocks.0"])),
        (
            "the second block's end",
            named(&["down_blocks.1.resnets.0.conv2"]),
        ),
        ("the timestep", named(&["time_embedding"])),
        ("the text", named(&["text_encoder"])),
        ("the first convolution", named(&["conv_in"])),
    ] {
        let mut config = dsl(|_| ());
        config.trainable = trainable;
        check(what, config);
    }
}

/// What hands values from block to block beside the picture: the views' volume, and the estimate of the camera.
#[test]
fn modules_across_blocks_move_by_the_same_bits() {
    let camera = json!({
        "multi_view": {"views": 2, "domains": 2, "attention": "row_wise"},
        "camera_regression": {}
    });
    let volume = json!({"view_volume": {
        "views": 4, "half_side": 0.5, "depth_range": [0.5, 4.0], "resolution": 8, "depths": 8, "channels": [8, 8]
    }});
    for (what, modules, domains) in [("camera", camera, 2), ("volume", volume, 1)] {
        let set = Scenes {
            rows: 4,
            domains,
            ..Scenes::new(4, tasks::of_objects)
        };
        for (kind, trainable) in [
            ("all", TrainableConfig::All),
            (
                "modules",
                TrainableConfig::TaskModules(TaskModulesOnlyConfig {}),
            ),
            ("the estimate", named(&["camera_regression", "view_volume"])),
            ("the end of both", named(&["up_blocks.1", "conv_2"])),
        ] {
            let run = |checkpointing| {
                let mut config = dsl(full_twin);
                config.trainable = trainable.clone();
                config.train.gradient_checkpointing = checkpointing;
                let model = tasks::unet(json!({"task_modules": modules.clone()}));
                let mut trainer = tasks::start(&config, tasks::opened(model, &set));
                let reports = tasks::steps(&mut trainer, &set, 2);
                (reports, state(&trainer))
            };
            assert!(run(true) == run(false), "{what} {kind}");
        }
    }
}

#[test]
fn workers_and_micro_batches_make_no_difference() {
    for (workers, parts) in [(1, 2), (2, 2)] {
        let run = |checkpointing| {
            let mut config = dsl(|_| ());
            config.train.workers = workers;
            config.train.batch_size = 4;
            config.train.gradient_checkpointing = checkpointing;
            let mut trainer = Trainer::new(config, tiny_unet(1), &Device::flex()).unwrap();
            let set = Pictures(6);
            let batch: Vec<_> = (0..parts)
                .map(|part| set.samples(&[2 * part, 2 * part + 1]).unwrap())
                .collect();
            let reports = [
                trainer.step(&batch, &set).unwrap(),
                trainer.step(&batch, &set).unwrap(),
            ];
            (reports, state(&trainer))
        };
        assert!(run(true) == run(false), "{workers}");
    }
}

/// burn computes attention in another way where no graph is kept: equal up to the rounding of bfloat16.
#[test]
fn bfloat16_is_recomputed_in_bfloat16() {
    if !Device::flex().supports_dtype(DType::BF16) {
        return;
    }
    let mut config = dsm();
    config.train.precision = Precision::Bf16;
    config.train.learning_rate = 1e-4;
    let (again, once) = (run(config.clone(), true).0, run(config, false).0);
    for name in ["err/generator", "grad_norm/generator"] {
        for (again, once) in again.iter().zip(&once) {
            let [again, once] = [again, once].map(|report| report.get(name).unwrap());
            assert_near(name, again, once, 0.05);
        }
    }
}

#[test]
fn dropout_is_refused() {
    let mut config = dsl(|dsl| dsl.discriminator.lora.dropout = 0.1);
    config.train.gradient_checkpointing = true;
    let message = Trainer::new(config, tiny_unet(1), &Device::flex())
        .err()
        .unwrap()
        .to_string();
    assert!(
        message.contains("train.gradient_checkpointing") && message.contains("dropout"),
        "{message}"
    );
}
