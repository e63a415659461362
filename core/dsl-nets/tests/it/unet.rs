//! The UNet against its reference: outputs and gradients.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use dsl_nets::{
    AddedConditioning, Conditioning, GligenConditioning, GligenImages, UNet2DConditionConfig,
    named_parameters,
};

use crate::fixture::{Fixture, assert_close, values};

#[test]
fn unet_sd15_fixture_outputs() {
    check_outputs("unet_sd15");
}

#[test]
fn unet_sd2_v_fixture_outputs() {
    check_outputs("unet_sd2_v");
}

#[test]
fn unet_sd15_fixture_gradients() {
    check_gradients("unet_sd15");
}

#[test]
fn unet_sd2_v_fixture_gradients() {
    check_gradients("unet_sd2_v");
}

#[test]
fn unet_sdxl_fixture_outputs() {
    check_outputs("unet_sdxl");
}

#[test]
fn unet_sdxl_fixture_gradients() {
    check_gradients("unet_sdxl");
}

#[test]
fn unet_gligen_fixture_outputs() {
    check_outputs("unet_gligen");
}

#[test]
fn unet_gligen_fixture_gradients() {
    check_gradients("unet_gligen");
}

#[test]
fn unet_gligen_text_image_fixture_outputs() {
    check_outputs("unet_gligen_text_image");
}

#[test]
fn unet_gligen_text_image_fixture_gradients() {
    check_gradients("unet_gligen_text_image");
}

/// Boxes that bring phrases alone are as those of which no picture counts, alone and beside others.
#[test]
fn boxes_without_pictures_fixture() {
    let fixture = Fixture::open("unet_gligen_text_image");
    let device = Device::flex();
    let unet = fixture.unet(&device);
    let of = |case: &str| conditioning(&fixture, &format!("in.{case}"), &device);
    let (pictures, mut phrases) = (of("case0"), of("case1"));
    let gligen = phrases.gligen.as_mut().unwrap();
    gligen.images = None;
    let input = |name: &str, case: &str| format!("in.{case}.{name}");
    let forward = |cases: &[&str], conditioning: &Conditioning| {
        let of = |case: &&str| fixture.tensor::<4>(&input("sample", case), &device);
        let sample = Tensor::cat(cases.iter().map(of).collect(), 0);
        let of = |case: &&str| fixture.tensor::<1>(&input("timestep", case), &device);
        let timestep = Tensor::cat(cases.iter().map(of).collect(), 0);
        values(unet.forward(sample, timestep, conditioning))
    };
    let alone = forward(&["case1"], &phrases);
    fixture.check("out", "out.case1.sample", &alone);

    let both = Conditioning::concat(&[&pictures, &phrases]);
    let both = forward(&["case0", "case1"], &both);
    let (first, second) = both.split_at(alone.len());
    fixture.check("out", "out.case0.sample", first);
    fixture.check("out", "out.case1.sample", second);
}

/// Whatever conditioning the fixture holds under `prefix`.
fn conditioning(fixture: &Fixture, prefix: &str, device: &Device) -> Conditioning {
    let has = |name: &str| fixture.io.shape(&format!("{prefix}.{name}")).is_some();
    let key = |name: &str| format!("{prefix}.{name}");
    Conditioning {
        added: has("time_ids").then(|| AddedConditioning {
            text_embeds: fixture.tensor(&key("text_embeds"), device),
            time_ids: fixture.tensor(&key("time_ids"), device),
        }),
        gligen: has("boxes").then(|| GligenConditioning {
            boxes: fixture.tensor(&key("boxes"), device),
            masks: fixture.tensor(&key("masks"), device),
            positive_embeddings: match has("positive_embeddings") {
                true => fixture.tensor(&key("positive_embeddings"), device),
                false => fixture.tensor(&key("phrases_embeddings"), device),
            },
            images: has("image_masks").then(|| GligenImages {
                phrases_masks: fixture.tensor(&key("phrases_masks"), device),
                image_masks: fixture.tensor(&key("image_masks"), device),
                image_embeddings: fixture.tensor(&key("image_embeddings"), device),
            }),
        }),
        ..Conditioning::text(fixture.tensor(&key("encoder_hidden_states"), device))
    }
}

fn check_outputs(name: &str) {
    let fixture = Fixture::open(name);
    let device = Device::flex();
    let unet = fixture.unet(&device);
    let cases = fixture.meta["cases"].as_object().unwrap();
    assert!(!cases.is_empty());
    for case in cases.keys() {
        let input = |name: &str| format!("in.{case}.{name}");
        let mut conditioning = conditioning(&fixture, &format!("in.{case}"), &device);
        let forward = |conditioning: &Conditioning| {
            let sample = fixture.tensor(&input("sample"), &device);
            let timestep = fixture.tensor(&input("timestep"), &device);
            values(unet.forward(sample, timestep, conditioning))
        };
        let sample = forward(&conditioning);
        fixture.check("out", &format!("out.{case}.sample"), &sample);
        if conditioning.gligen.take().is_some() {
            let key = format!("out.{case}.sample_without_gligen");
            let without = forward(&conditioning);
            assert_ne!(sample, without);
            fixture.check("out", &key, &without);
        }
    }
}

fn check_gradients(name: &str) {
    let fixture = Fixture::open(name);
    let device = Device::flex().autodiff();
    let unet = fixture.unet(&device);
    let sample = fixture
        .tensor::<4>("in.train.sample", &device)
        .require_grad();
    let mut conditioning = conditioning(&fixture, "in.train", &device);
    let text = conditioning
        .encoder_hidden_states
        .take()
        .unwrap()
        .require_grad();
    conditioning.encoder_hidden_states = Some(text.clone());
    let target = fixture.tensor::<4>("in.train.target", &device);
    let timestep = fixture.tensor::<1>("in.train.timestep", &device);
    let loss = (unet.forward(sample.clone(), timestep, &conditioning) - target)
        .powi_scalar(2)
        .mean();
    fixture.check("loss", "loss.train", &values(loss.clone()));

    let grads = loss.backward();
    fixture.check(
        "grad",
        "grad.in.sample",
        &values(sample.grad(&grads).unwrap()),
    );
    fixture.check(
        "grad",
        "grad.in.encoder_hidden_states",
        &values(text.grad(&grads).unwrap()),
    );
    let by_key = gradients_by_key(&unet, &grads);
    let mut checked = 0;
    for key in fixture.io.keys() {
        let Some(parameter) = key
            .strip_prefix("grad.")
            .filter(|name| !name.starts_with("in."))
        else {
            continue;
        };
        fixture.check("grad", &key, &by_key[parameter]);
        checked += 1;
    }
    assert!(checked > 10, "only {checked} gradients in the fixture");
    let l2 = by_key
        .values()
        .flatten()
        .map(|g| f64::from(*g).powi(2))
        .sum::<f64>()
        .sqrt();
    fixture.check("grad", "out.all_grads_l2", &[l2 as f32]);
}

/// Gradients in the layout of weight files.
pub fn gradients_by_key<M: Module>(module: &M, grads: &Gradients) -> BTreeMap<String, Vec<f32>> {
    struct Collector<'a>(&'a Gradients, Vec<Vec<f32>>);
    impl ModuleVisitor for Collector<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1
                .push(param.val().grad(self.0).map(values).unwrap_or_default());
        }
    }
    let mut collector = Collector(grads, Vec::new());
    module.visit(&mut collector);
    named_parameters(module)
        .into_iter()
        .zip(collector.1)
        .map(|(parameter, grad)| {
            if parameter.is_transposed && !grad.is_empty() {
                let [rows, columns] = [parameter.shape[0], parameter.shape[1]];
                let turned = (0..columns)
                    .flat_map(|c| (0..rows).map(move |r| r * columns + c))
                    .map(|i| grad[i]);
                (parameter.path, turned.collect())
            } else {
                (parameter.path, grad)
            }
        })
        .collect()
}

#[test]
fn a_single_timestep_stands_for_the_whole_batch() {
    let fixture = Fixture::open("unet_sd15");
    let device = Device::flex();
    let unet = fixture.unet(&device);
    let x = fixture.tensor::<4>("in.case0.sample", &device);
    let text = conditioning(&fixture, "in.case0", &device);
    let one = unet.forward(x.clone(), Tensor::from_floats([37.0], &device), &text);
    let each = unet.forward(x.clone(), Tensor::full([x.dims()[0]], 37.0, &device), &text);
    assert_close("prediction", &values(one), &values(each), 0.0);
}

#[test]
fn diffusers_config_is_read_and_written() {
    let fixture = Fixture::open("unet_sd15");
    let text = std::fs::read_to_string(fixture.folder.join("unet/config.json")).unwrap();
    let config = UNet2DConditionConfig::from_diffusers_json(&text).unwrap();
    let again = UNet2DConditionConfig::from_diffusers_json(&config.to_diffusers_json()).unwrap();
    assert_eq!(config, again);
    // Every option that the reference writes is written back.
    let [ours, theirs] = [config.to_diffusers_json(), text]
        .map(|text| serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&text).unwrap());
    for (key, value) in theirs
        .iter()
        .filter(|(key, _)| !key.starts_with('_') && *key != "addition_embed_type_num_heads")
    {
        let found = &ours[key];
        assert!(
            found == value || found.as_f64().is_some() && found.as_f64() == value.as_f64(),
            "{key}: {found} {value}"
        );
    }
}

#[test]
fn options_without_a_layer_are_refused_with_a_reason() {
    let check = |json: &str, expected: &str| {
        let message = UNet2DConditionConfig::from_diffusers_json(json)
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
    };
    check(
        r#"{"addition_embed_type": "image_hint"}"#,
        "`addition_embed_type` = \"image_hint\" is not supported",
    );
    check(
        r#"{"addition_embed_type": "text_time"}"#,
        "`projection_class_embeddings_input_dim` = null cannot be used",
    );
    check(
        r#"{"attention_type": "gated-sketch"}"#,
        "`attention_type` = \"gated-sketch\" is not supported",
    );
    check(
        r#"{"resnet_time_scale_shift": "scale_shift"}"#,
        "the timestep embedding is only added; it must be \"default\"",
    );
    check(
        r#"{"transformer_layers_per_block": [[1, 2], 3]}"#,
        "`transformer_layers_per_block` = [[1,2],3] is not supported",
    );
    check(
        r#"{"down_block_types": ["AttnDownBlock2D"]}"#,
        "`down_block_types` = [\"AttnDownBlock2D\"] is not supported",
    );
    check(
        r#"{"something_new": 1}"#,
        "`something_new` = 1 is not supported: this option is not known",
    );
    check(
        r#"{"block_out_channels": [320, 100]}"#,
        "`down_block_types` = 4 cannot be used",
    );
    check(
        r#"{"block_out_channels": [320, 640, 1280, 1290]}"#,
        "multiple of norm_num_groups = 32",
    );
    check(
        r#"{"attention_head_dim": 7}"#,
        "number of heads and must divide",
    );
    check(
        r#"{"_class_name": "UNet2DModel"}"#,
        "only UNet2DConditionModel can be read",
    );
}

#[test]
fn keys_of_a_network_are_those_of_its_file_fixture() {
    for name in [
        "unet_sd15",
        "unet_sd2_v",
        "unet_sdxl",
        "unet_gligen",
        "unet_gligen_text_image",
    ] {
        let fixture = Fixture::open(name);
        let unet = fixture.unet(&Device::flex());
        let file = dsl_nets::WeightFile::open(
            &fixture
                .folder
                .join("unet/diffusion_pytorch_model.safetensors"),
        )
        .unwrap();
        let mut ours: Vec<String> = named_parameters(&unet)
            .into_iter()
            .map(|p| p.path)
            .collect();
        ours.sort();
        assert_eq!(ours, file.keys(), "{name}");
        let count: u64 = named_parameters(&unet)
            .iter()
            .map(|p| p.values.len() as u64)
            .sum();
        assert_eq!(Some(count), fixture.meta["parameters"].as_u64(), "{name}");
    }
}
