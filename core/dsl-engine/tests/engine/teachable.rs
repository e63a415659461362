//! A discriminator that cannot represent what the task adds is refused, where the generator learns from nothing else.

use burn::tensor::Device;
use dsl_engine::objective::DslConfig;
use dsl_engine::{
    BiasNormConfig, Checkpoints, Conditions, LoraTrainableConfig, NamedConfig, TrainableConfig,
    Trainer, TrainerConfig,
};
use dsl_nets::{LoraConfig, Model};
use serde_json::{Value, json};

use crate::support::{dsl, full_twin, state, weights};
use crate::tasks::{
    Scenes, boxes, check_resume, gligen, opened_gligen, same_text, start, step, steps, text, unet,
    wave,
};

#[track_caller]
fn refusal(what: &str, config: &TrainerConfig, model: Model, set: &Scenes) -> String {
    let mut trainer = start(config, model);
    let before = weights(trainer.generator());
    let result = trainer.step(&set.batch(0, 1), set);
    let message = result.expect_err(what).to_string();
    assert_eq!(trainer.step_count(), 0);
    assert!(weights(trainer.generator()) == before && trainer.discriminator().is_none());
    message
}

#[test]
fn closed_gates_under_eq_3_alone_are_refused_with_what_can_be_done() {
    let set = Scenes::new(6, boxes);
    let message = refusal("gates", &dsl(|_| ()), gligen(), &set);
    for part in [
        "grounding_tokens",
        "objective.warmup_dsm_steps",
        "objective.discriminator.train_task_modules: true",
        "objective.generator.dsm_weight",
        "trained for the task",
    ] {
        assert!(message.contains(part), "`{part}` in: {message}");
    }
}

#[test]
fn each_way_out_is_one() {
    let set = Scenes::new(6, boxes);
    let ways = [
        ("warm-up", dsl(|dsl| dsl.warmup_dsm_steps = 1)),
        (
            "own modules",
            dsl(|dsl| dsl.discriminator.train_task_modules = true),
        ),
        ("DSM share", dsl(|dsl| dsl.generator.dsm_weight = 0.1)),
        ("full copy", dsl(full_twin)),
    ];
    for (way, config) in ways {
        let mut trainer = start(&config, gligen());
        let reports = steps(&mut trainer, &set, 2);
        assert!(reports[1].get("gap").is_some(), "{way}");
        assert!(trainer.discriminator().is_some(), "{way}");
    }
    // A model that was trained for the task.
    let mut trainer = start(&dsl(|_| ()), opened_gligen());
    step(&mut trainer, &set);
    assert!(trainer.discriminator().is_some());
}

/// Nothing could open these gates, whatever the objective: adapters behind closed gates have no gradient.
#[test]
fn closed_gates_that_do_not_train_are_refused() {
    let frozen = [
        TrainableConfig::Lora(LoraTrainableConfig {
            rank: 2,
            ..LoraTrainableConfig::default()
        }),
        TrainableConfig::BiasNorm(BiasNormConfig {}),
        TrainableConfig::Named(NamedConfig {
            parameters: vec!["conv_in".to_owned()],
            ..NamedConfig::default()
        }),
    ];
    for trainable in frozen {
        for mut config in [crate::support::dsm(), dsl(|dsl| dsl.warmup_dsm_steps = 1)] {
            config.trainable = trainable.clone();
            let refused = Trainer::new(config.clone(), gligen(), &Device::flex());
            let message = refused.err().expect("refused").to_string();
            for part in ["model.trainable", "grounding_tokens", "kind: task_modules"] {
                assert!(message.contains(part), "`{part}` in: {message}");
            }
            // Behind gates that are open, anything may train.
            let mut trainer = start(&config, opened_gligen());
            steps(&mut trainer, &Scenes::new(6, boxes), 2);
        }
    }
}

/// B of an adapter trains while what it is attached to is zero.
#[test]
fn an_adapter_on_a_closed_layer_opens_it() {
    let set = Scenes {
        rows: 2,
        ..Scenes::new(6, same_text)
    };
    let multi_view = json!({"views": 2, "domains": 1, "attention": "dense"});
    let model = || unet(json!({"task_modules": {"multi_view": multi_view.clone()}}));
    let mut config = crate::support::dsm();
    config.train.learning_rate = 1e-2;
    config.trainable = TrainableConfig::Lora(LoraConfig::default().into());
    let mut trainer = start(&config, model());
    steps(&mut trainer, &set, 2);
    let all = weights(trainer.generator()).into_iter();
    let mut opened = all.filter(|(path, _)| path.ends_with("attn_mv.to_out.0.lora.lora_b"));
    assert!(opened.any(|(_, values)| values.iter().any(|b| *b != 0.0)));
    // Attention that is not adapted opens nothing.
    config.trainable = TrainableConfig::Lora(
        LoraConfig {
            targets: vec!["attn1".to_owned()],
            ..LoraConfig::default()
        }
        .into(),
    );
    let refused = Trainer::new(config, model(), &Device::flex()).err();
    assert!(refused.unwrap().to_string().contains("multi_view"));
}

/// Adapters of the discriminator that are on nothing that a task has added.
fn adapts_no_module(dsl: &mut DslConfig) {
    dsl.discriminator.lora.targets = vec!["attn1".to_owned()];
}

#[test]
fn a_discriminator_with_adapters_on_closed_layers_can_teach() {
    let set = Scenes {
        rows: 2,
        ..Scenes::new(6, same_text)
    };
    let model = || {
        unet(
            json!({"task_modules": {"multi_view": {"views": 2, "domains": 1, "attention": "dense"}}}),
        )
    };
    let mut trainer = start(&dsl(|_| ()), model());
    steps(&mut trainer, &set, 2);
    let all = weights(trainer.discriminator().unwrap()).into_iter();
    let mut opened = all.filter(|(path, _)| path.ends_with("attn_mv.to_out.0.lora.lora_b"));
    assert!(opened.any(|(_, values)| values.iter().any(|b| *b != 0.0)));

    // What the generator's adapters have opened is open in the base of the discriminator's.
    let mut config = dsl(|dsl| {
        dsl.warmup_dsm_steps = 1;
        adapts_no_module(dsl);
    });
    config.trainable = TrainableConfig::Lora(LoraConfig::default().into());
    let mut trainer = start(&config, model());
    steps(&mut trainer, &set, 2);
    assert!(trainer.discriminator().is_some());
}

/// Whatever a network reads.
fn everything(rows: &[u64]) -> Conditions {
    Conditions {
        context: Some(wave(rows, &[1, 5], 0.51)),
        concat: Some(wave(rows, &[2, 8, 8], 0.29)),
        camera_pose: Some(wave(rows, &[4], 0.83)),
        ..same_text(rows)
    }
}

#[test]
fn every_module_that_computes_nothing_is_named() {
    let set = Scenes {
        rows: 2,
        ..Scenes::new(6, everything)
    };
    let multi_view = json!({"views": 2, "domains": 1, "attention": "dense"});
    let closed: [(&str, Value); 6] = [
        (
            "multi_view",
            json!({"task_modules": {"multi_view": multi_view}}),
        ),
        (
            "concat_channels",
            json!({"in_channels": 5, "task_modules": {"concat_channels": 2}}),
        ),
        (
            "camera_pose",
            json!({"task_modules": {"camera_pose": {"numbers": 4}}}),
        ),
        (
            "feature_pyramid",
            json!({"task_modules": {"feature_pyramid": {"in_channels": 2, "sft_norm": "none"}}}),
        ),
        (
            "view_volume",
            json!({"task_modules": {"view_volume": {
                "views": 2, "half_side": 0.5, "depth_range": [0.5, 2.0], "resolution": 8, "depths": 8, "channels": [8, 8]
            }}}),
        ),
        (
            "concat_channels, camera_pose",
            json!({"in_channels": 5, "task_modules": {"concat_channels": 2, "camera_pose": {"numbers": 4}}}),
        ),
    ];
    for (names, fields) in closed {
        let message = refusal(names, &dsl(adapts_no_module), unet(fields), &set);
        assert!(
            message.contains(&format!("{names} of this task")),
            "{message}"
        );
    }
}

#[test]
fn what_computes_something_from_the_start_is_not_refused() {
    let modules = json!({"task_modules": {"context": {"features": 5}}});
    for (model, told) in [
        (unet(json!({})), text as fn(&[u64]) -> Conditions),
        (unet(modules), everything),
        (
            crate::learned_words::model(),
            crate::learned_words::captions,
        ),
    ] {
        let set = Scenes::new(6, told);
        let mut trainer = start(&dsl(|_| ()), model);
        step(&mut trainer, &set);
        assert!(trainer.discriminator().is_some());
    }
}

/// A run goes on from its checkpoint in a process whose networks are fresh: the gates to look at are the saved ones.
#[test]
fn a_resumed_run_is_not_refused() {
    let set = Scenes::new(6, boxes);
    let config = dsl(|dsl| dsl.warmup_dsm_steps = 1);
    check_resume("warm-up", &config, gligen, &set, &[1, 2], 3);

    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let mut first = start(&config, gligen());
    steps(&mut first, &set, 2);
    checkpoints.save(&first).unwrap();
    let mut second: Trainer = start(&config, gligen());
    (second.restore(&checkpoints.load_latest().unwrap().checkpoint)).unwrap();
    assert!(state(&second) == state(&first));
}
