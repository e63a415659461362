//! Names and shapes of full-size models, against the lists of their published files. Nothing is allocated.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use dsl_nets::{
    AutoencoderKL, ClipTextModel, ClipVisionModel, ParameterInit, Pretrained, UNet2DCondition,
    parameters::parameter_infos,
};

/// A list has one line per tensor: key, tab, shape.
fn list(name: &str) -> BTreeMap<String, Vec<usize>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/keys/{name}.tsv"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            let (key, shape) = line.split_once('\t').unwrap();
            (key.to_owned(), serde_json::from_str(shape).unwrap())
        })
        .collect()
}

#[track_caller]
fn check<T: Pretrained>(name: &str, config: &str, parameters: u64) {
    let config = T::parse_config(config).unwrap();
    let module = T::build(&config, &ParameterInit::deferred(0, &Device::flex())).unwrap();
    let ours = shapes(&module);
    let theirs = list(name);
    assert_eq!(theirs.len(), ours.len(), "{name}");
    for (key, shape) in &theirs {
        assert_eq!(ours.get(key), Some(shape), "{name}: {key}");
    }
    let count: u64 = ours
        .values()
        .map(|s| s.iter().product::<usize>() as u64)
        .sum();
    assert_eq!(count, parameters, "{name}");
}

fn shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
    parameter_infos(module)
        .into_iter()
        .map(|p| (p.path.clone(), p.file_shape()))
        .collect()
}

#[test]
fn unets_have_the_published_keys() {
    let check = check::<UNet2DCondition>;
    check("unet_sd15", r#"{"cross_attention_dim": 768}"#, 859_520_964);
    let sd2 = r#""cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": true"#;
    check("unet_sd21", &format!("{{{sd2}}}"), 865_910_724);
    let unclip =
        r#""class_embed_type": "projection", "projection_class_embeddings_input_dim": 2048"#;
    check(
        "unet_sd21_unclip",
        &format!("{{{sd2}, {unclip}}}"),
        870_173_124,
    );
    check(
        "unet_gligen_sd14",
        r#"{"cross_attention_dim": 768, "attention_type": "gated"}"#,
        1_068_623_204,
    );
    let sdxl = r#"{"block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": true, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}"#;
    check("unet_sdxl", sdxl, 2_567_463_684);
}

#[test]
fn autoencoders_have_the_published_keys() {
    let config = r#"{"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;
    check::<AutoencoderKL>("vae_kl_f8", config, 83_653_863);
}

#[test]
fn clip_towers_have_the_published_keys() {
    let text = |architecture: &str, [d, layers, heads, projection]: [usize; 4]| {
        format!(
            r#"{{"architectures": ["{architecture}"], "hidden_size": {d}, "intermediate_size": {}, "num_hidden_layers": {layers},
            "num_attention_heads": {heads}, "projection_dim": {projection}}}"#,
            4 * d
        )
    };
    let plain = "CLIPTextModel";
    check::<ClipTextModel>(
        "text_encoder_clip_l",
        &text(plain, [768, 12, 12, 768]),
        123_060_480,
    );
    let h = text(plain, [1024, 23, 16, 1024]);
    check::<ClipTextModel>("text_encoder_openclip_h_sd21", &h, 340_387_840);
    let g = text("CLIPTextModelWithProjection", [1280, 32, 20, 1280]);
    check::<ClipTextModel>("text_encoder_2_openclip_bigg_sdxl", &g, 694_659_840);

    let vision = |[d, layers, heads, patch, projection]: [usize; 5]| {
        let inner = if d == 1280 { 5120 } else { 4 * d };
        format!(
            r#"{{"architectures": ["CLIPVisionModelWithProjection"], "hidden_size": {d}, "intermediate_size": {inner},
            "num_hidden_layers": {layers}, "num_attention_heads": {heads}, "patch_size": {patch}, "projection_dim": {projection}}}"#
        )
    };
    let check = check::<ClipVisionModel>;
    check(
        "vision_clip_l14",
        &vision([1024, 24, 16, 14, 768]),
        303_966_208,
    );
    check(
        "vision_openclip_h14",
        &vision([1280, 32, 16, 14, 1024]),
        632_076_800,
    );
    check(
        "vision_clip_b32",
        &vision([768, 12, 12, 32, 512]),
        87_849_216,
    );
}
