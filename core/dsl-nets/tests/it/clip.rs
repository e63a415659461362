//! CLIP's towers against their reference.

use burn::tensor::Device;
use dsl_nets::{ClipConfig, ClipModel, ClipModelConfig, ClipTextModel};

use crate::fixture::{Fixture, check_gradients, values};

#[test]
fn text_encoder_sd15_fixture_outputs() {
    check_outputs("text_encoder_sd15", "text_encoder");
}

#[test]
fn text_encoder_sd15_fixture_of_transformers_4_outputs() {
    check_outputs("text_encoder_sd15", "text_encoder_v4");
}

#[test]
fn text_encoder_2_sdxl_fixture_outputs() {
    check_outputs("text_encoder_2_sdxl", "text_encoder");
}

fn check_outputs(name: &str, folder: &str) {
    let fixture = Fixture::open(name);
    let device = Device::flex();
    let encoder: ClipTextModel = fixture.load(folder, &device);
    let ids = fixture.ids("in.input_ids", &device);
    let output = encoder.forward(ids.clone());
    let check = |key: &str, found: &[f32]| fixture.check("out", key, found);
    check(
        "out.last_hidden_state",
        &values(output.last_hidden_state.clone()),
    );
    check("out.penultimate", &values(output.penultimate()));
    let pooled = output.text_embeds.unwrap_or(output.pooled);
    check("out.pooled", &values(pooled));
    let states: Vec<f32> = output.hidden_states.into_iter().flat_map(values).collect();
    check("out.hidden_states", &states);
    let mask = fixture.tensor("in.attention_mask", &device);
    let masked = encoder.forward_masked(ids, mask).last_hidden_state;
    check("out.masked.last_hidden_state", &values(masked));
}

#[test]
fn text_encoder_fixture_gradients() {
    for name in ["text_encoder_sd15", "text_encoder_2_sdxl"] {
        let fixture = Fixture::open(name);
        let device = Device::flex().autodiff();
        let encoder: ClipTextModel = fixture.load("text_encoder", &device);
        let output = encoder.forward(fixture.ids("in.input_ids", &device));
        let square = |x: burn::tensor::Tensor<3>| x.powi_scalar(2).mean();
        let loss = square(output.last_hidden_state.clone()) + square(output.penultimate());
        fixture.check("loss", "loss.train", &values(loss.clone()));
        let grads = loss.backward();
        check_gradients(&fixture, &encoder, &grads, |name| {
            match name.starts_with("text_model.") {
                true => name.to_owned(),
                false => format!("text_model.{name}"),
            }
        });
    }
}

#[test]
fn clip_model_fixture_outputs() {
    let fixture = Fixture::open("clip_model");
    let device = Device::flex();
    let clip: ClipModel = fixture.load("clip", &device);
    let pixels = fixture.tensor::<4>("in.pixel_values", &device);
    let scores = clip.forward(fixture.ids("in.input_ids", &device), pixels);
    let check = |key: &str, found: &[f32]| fixture.check("out", key, found);
    check("out.image_embeds", &values(scores.image_embeds.clone()));
    check("out.text_embeds", &values(scores.text_embeds.clone()));
    check("out.logits_per_text", &values(scores.logits_per_text));
    let [texts, features] = scores.text_embeds.dims();
    let paired = scores.image_embeds.narrow(0, 0, texts) * scores.text_embeds;
    assert!(features > 0);
    check("out.cosine", &values(paired.sum_dim(1)));
}

#[test]
fn options_of_another_encoder_are_named() {
    let check = |json: &str, expected: &str| {
        let message = ClipConfig::from_transformers_json(json)
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(
        r#"{"architectures": ["T5EncoderModel"]}"#,
        "only CLIPTextModel or CLIPTextModelWithProjection can be read",
    );
    check(
        r#"{"hidden_act": "gelu_new"}"#,
        "`hidden_act` = \"gelu_new\" is not supported",
    );
    check(r#"{"attention_dropout": 0.1}"#, "it must be 0.0");
    check(
        r#"{"num_attention_heads": 7}"#,
        "must divide hidden_size = 512",
    );
    check(r#"{"rotary": true}"#, "`rotary` = true is not supported");
}

#[test]
fn configs_survive_their_files_fixture() {
    let folder = Fixture::open("text_encoder_2_sdxl").folder;
    let text = std::fs::read_to_string(folder.join("text_encoder/config.json")).unwrap();
    let config = ClipConfig::from_transformers_json(&text).unwrap();
    assert!(config.with_projection);
    let again = ClipConfig::from_transformers_json(&config.to_transformers_json()).unwrap();
    assert_eq!(config, again);
    let folder = Fixture::open("clip_model").folder;
    let text = std::fs::read_to_string(folder.join("clip/config.json")).unwrap();
    let config = ClipModelConfig::from_transformers_json(&text).unwrap();
    let again = ClipModelConfig::from_transformers_json(&config.to_transformers_json()).unwrap();
    assert_eq!(config, again);
}
