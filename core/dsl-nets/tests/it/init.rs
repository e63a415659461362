//! Fresh values are a function of seed and path.

use burn::tensor::{Device, Distribution, Tensor};
use dsl_nets::{
    DenoiserConfig, MlpConfig, Model, ModelConfig, TextEncoderConfig, named_parameters,
};

pub fn small_config() -> ModelConfig {
    serde_json::from_value(serde_json::json!({
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
        "text_encoder": {
            "vocab_size": 30,
            "hidden_size": 12,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "max_position_embeddings": 8
        }
    }))
    .unwrap()
}

pub fn same_parameters(a: &Model, b: &Model) -> bool {
    let (a, b) = (named_parameters(a), named_parameters(b));
    a.len() == b.len()
        && a.iter()
            .zip(&b)
            .all(|(a, b)| a.path == b.path && a.values == b.values)
}

#[test]
fn values_follow_from_the_seed_alone() {
    let config = small_config();
    let first = config.init(3, &Device::flex()).unwrap();
    // Burn's own generator moves on in between, and other models are being built at the same time.
    let _ = Tensor::<1>::random([100], Distribution::Default, &Device::flex()).into_data();
    let threads: Vec<_> = (0..3)
        .map(|_| std::thread::spawn(|| small_config().init(3, &Device::flex().autodiff()).unwrap()))
        .collect();
    for thread in threads {
        assert!(same_parameters(&first, &thread.join().unwrap()));
    }
    assert!(!same_parameters(
        &first,
        &config.init(4, &Device::flex()).unwrap()
    ));
}

#[test]
fn a_parameter_does_not_depend_on_the_rest_of_the_network() {
    let device = Device::flex();
    let with_text = small_config().init(5, &device).unwrap();
    let alone = ModelConfig {
        text_encoder: None,
        ..small_config()
    }
    .init(5, &device)
    .unwrap();
    let (with_text, alone) = (
        named_parameters(&with_text.denoiser),
        named_parameters(&alone.denoiser),
    );
    assert!(
        with_text
            .iter()
            .zip(&alone)
            .all(|(a, b)| a.values == b.values && a.id == b.id)
    );
}

#[test]
fn ids_are_distinct_and_the_same_every_time() {
    let ids = |seed| -> Vec<_> {
        named_parameters(&small_config().init(seed, &Device::flex()).unwrap())
            .into_iter()
            .map(|p| p.id)
            .collect()
    };
    let (a, b) = (ids(1), ids(2));
    assert_eq!(a, b);
    let distinct: std::collections::HashSet<_> = a.iter().collect();
    assert_eq!(distinct.len(), a.len());
}

#[test]
fn fresh_values_have_the_usual_spread() {
    let config = ModelConfig {
        denoiser: DenoiserConfig::Mlp(MlpConfig {
            features: 2,
            hidden_sizes: vec![256],
            time_embedding_dim: 62,
        }),
        text_encoder: Some(TextEncoderConfig::default()),
        pipeline_text: None,
    };
    let parameters = named_parameters(&config.init(0, &Device::flex()).unwrap());
    let std = |path: &str| {
        let values = &parameters.iter().find(|p| p.path == path).unwrap().values;
        (values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    // U(-b, b) has standard deviation b / sqrt(3); here b = 1 / sqrt(64).
    let expected = 1.0 / 8.0 / 3f64.sqrt();
    assert!((std("denoiser.layers.0.weight") / expected - 1.0).abs() < 0.02);
    assert!((std("text_encoder.embeddings.token_embedding.weight") / 0.02 - 1.0).abs() < 0.02);
    assert_eq!(std("text_encoder.final_layer_norm.weight"), 1.0);
    assert_eq!(std("text_encoder.final_layer_norm.bias"), 0.0);
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let mut config = small_config();
    config.text_encoder.as_mut().unwrap().hidden_size = 16;
    let message = config.init(0, &Device::flex()).unwrap_err().to_string();
    assert!(message.contains("cross_attention_dim is 12"), "{message}");
}
