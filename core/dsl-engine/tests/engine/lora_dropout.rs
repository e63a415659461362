//! Dropout in the adapters takes its masks from the device's generator, which is seeded per step.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use dsl_engine::{
    Checkpoints, Conditions, LoraTrainableConfig, PipelineTexts, TrainableConfig, Trainer,
};
use dsl_nets::{LoraConfig, Model, ModelConfig};
use serde_json::json;

use crate::support::{Points, dsl, state, train, trainer};
use crate::tasks::{Scenes, start, steps};

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

/// A UNet with the text encoder of a pipeline, of 12 features.
fn with_pipeline_text() -> Model {
    let config: ModelConfig = serde_json::from_value(json!({
        "denoiser": {
            "kind": "unet",
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": [8, 16],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "attention_head_dim": 2,
            "cross_attention_dim": 12
        },
        "pipeline_text": {"text_encoder": {"with_projection": false, "text": {
            "vocab_size": 30,
            "hidden_size": 12,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "max_position_embeddings": 8,
            "eos_token_id": 29
        }}}
    }))
    .unwrap();
    config.init(1, &Device::flex()).unwrap()
}

fn texts(rows: &[u64]) -> Conditions {
    let ids = rows.iter().flat_map(|row| [1, 2 + (row % 8) as i64, 29]);
    Conditions {
        pipeline_texts: Some(PipelineTexts {
            token_ids: vec![TensorData::new(ids.collect::<Vec<i64>>(), [rows.len(), 3])],
            kept: None,
            time_ids: None,
        }),
        ..Conditions::default()
    }
}

/// Text encoders are computed once, whatever is checkpointed.
#[test]
fn text_encoders_may_drop_out_under_gradient_checkpointing() {
    let _alone = alone();
    let set = Scenes::new(6, texts);
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
        let mut trainer = start(&config, with_pipeline_text());
        (steps(&mut trainer, &set, 3), state(&trainer))
    };
    let once = run(0.3, false);
    assert!(once == run(0.3, true));
    assert!(once.0 != run(0.0, true).0);

    let refused = Trainer::new(
        config(0.3, 0.0, true),
        with_pipeline_text(),
        &Device::flex(),
    );
    let message = refused.err().expect("refused").to_string();
    assert!(
        message.contains("train.gradient_checkpointing"),
        "{message}"
    );
}
