//! Checkpoints with the original names: what they hold is what diffusers' folders hold.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use dsl_nets::{
    Generation, ParameterInit, Pretrained, WeightDType, load_single_file, named_parameters,
};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A network's parameters as a file holds them, under whatever names `rename` gives.
fn add<M: Module>(all: &mut Tensors, module: &M, rename: impl Fn(&str) -> String) {
    for parameter in named_parameters(module) {
        let shape = parameter.file_shape();
        let mut values = parameter.values;
        if parameter.is_transposed {
            let [rows, columns] = [parameter.shape[0], parameter.shape[1]];
            values = (0..columns)
                .flat_map(|c| (0..rows).map(move |r| r * columns + c))
                .map(|i| values[i])
                .collect();
        }
        all.insert(rename(&parameter.path), (shape, values));
    }
}

fn write(path: &Path, all: &Tensors) {
    let bytes: BTreeMap<&String, Vec<u8>> = all
        .iter()
        .map(|(key, (_, values))| (key, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = all.iter().map(|(key, (shape, _))| {
        (
            key,
            TensorView::new(Dtype::F32, shape.clone(), &bytes[key]).unwrap(),
        )
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}

fn build<T: Pretrained>(config: &str, seed: u64) -> T {
    let config = T::parse_config(config).unwrap();
    T::build(&config, &ParameterInit::new(seed, &Device::flex())).unwrap()
}

const UNET: &str = r#"{"block_out_channels": [32, 64], "layers_per_block": 1, "cross_attention_dim": 24,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]"#;
const VAE: &str = r#"{"block_out_channels": [32, 64], "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"]}"#;

/// The original names of these small networks, written down by hand. An upsampler comes after attention, where there is any.
fn original_unet(path: &str) -> String {
    original_unet_with(path, "output_blocks.1.1.conv.")
}

fn original_unet_with(path: &str, upsampler: &str) -> String {
    let mut name = path.to_owned();
    for (ours, original) in [
        ("conv_in.", "input_blocks.0.0."),
        ("time_embedding.linear_1.", "time_embed.0."),
        ("time_embedding.linear_2.", "time_embed.2."),
        ("add_embedding.linear_1.", "label_emb.0.0."),
        ("add_embedding.linear_2.", "label_emb.0.2."),
        ("down_blocks.0.resnets.0.", "input_blocks.1.0."),
        ("down_blocks.0.attentions.0.", "input_blocks.1.1."),
        ("down_blocks.0.downsamplers.0.conv.", "input_blocks.2.0.op."),
        ("down_blocks.1.resnets.0.", "input_blocks.3.0."),
        ("down_blocks.1.attentions.0.", "input_blocks.3.1."),
        ("mid_block.resnets.0.", "middle_block.0."),
        ("mid_block.attentions.0.", "middle_block.1."),
        ("mid_block.resnets.1.", "middle_block.2."),
        ("up_blocks.0.resnets.0.", "output_blocks.0.0."),
        ("up_blocks.0.resnets.1.", "output_blocks.1.0."),
        ("up_blocks.0.attentions.0.", "output_blocks.0.1."),
        ("up_blocks.0.attentions.1.", "output_blocks.1.1."),
        ("up_blocks.1.resnets.0.", "output_blocks.2.0."),
        ("up_blocks.1.resnets.1.", "output_blocks.3.0."),
        ("up_blocks.1.attentions.0.", "output_blocks.2.1."),
        ("up_blocks.1.attentions.1.", "output_blocks.3.1."),
        ("up_blocks.0.upsamplers.0.conv.", upsampler),
        ("conv_norm_out.", "out.0."),
        ("conv_out.", "out.2."),
    ] {
        if let Some(rest) = name.strip_prefix(ours) {
            name = format!("{original}{rest}");
            break;
        }
    }
    if !name.contains("_blocks.") && !name.contains("middle_block") {
        return format!("model.diffusion_model.{name}");
    }
    for (ours, original) in [
        (".norm1.", ".in_layers.0."),
        (".conv1.", ".in_layers.2."),
        (".time_emb_proj.", ".emb_layers.1."),
        (".norm2.", ".out_layers.0."),
        (".conv2.", ".out_layers.3."),
        (".conv_shortcut.", ".skip_connection."),
    ] {
        if !name.contains("transformer_blocks") {
            name = name.replace(ours, original);
        }
    }
    format!("model.diffusion_model.{name}")
}

fn original_vae(path: &str) -> String {
    let mut name = path.to_owned();
    for (ours, original) in [
        ("decoder.up_blocks.0.", "decoder.up.1."),
        ("decoder.up_blocks.1.", "decoder.up.0."),
        ("encoder.down_blocks.", "encoder.down."),
        ("resnets.", "block."),
        ("mid_block.block.0.", "mid.block_1."),
        ("mid_block.block.1.", "mid.block_2."),
        ("mid_block.attentions.0.", "mid.attn_1."),
        ("group_norm", "norm"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("to_out.0", "proj_out"),
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
        ("downsamplers.0.conv", "downsample.conv"),
        ("upsamplers.0.conv", "upsample.conv"),
    ] {
        name = name.replace(ours, original);
    }
    format!("first_stage_model.{name}")
}

/// transformers' text encoder as OpenCLIP's: queries, keys and values in one matrix, the projection turned.
fn add_open_clip<M: Module>(all: &mut Tensors, module: &M, prefix: &str) {
    let mut own = Tensors::new();
    add(&mut own, module, str::to_owned);
    let layers = own.keys().filter(|k| k.ends_with("mlp.fc1.bias")).count();
    for layer in 0..layers {
        let at = |name: &str| format!("text_model.encoder.layers.{layer}.{name}");
        let block = format!("{prefix}transformer.resblocks.{layer}.");
        for kind in ["weight", "bias"] {
            let parts =
                ["q", "k", "v"].map(|p| own[&at(&format!("self_attn.{p}_proj.{kind}"))].clone());
            let mut shape = parts[0].0.clone();
            shape[0] *= 3;
            let values = parts.into_iter().flat_map(|(_, values)| values).collect();
            all.insert(format!("{block}attn.in_proj_{kind}"), (shape, values));
            for (ours, original) in [
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ] {
                let tensor = own[&at(&format!("{ours}.{kind}"))].clone();
                all.insert(format!("{block}{original}.{kind}"), tensor);
            }
        }
    }
    for (ours, original) in [
        (
            "text_model.embeddings.token_embedding.weight",
            "token_embedding.weight",
        ),
        (
            "text_model.embeddings.position_embedding.weight",
            "positional_embedding",
        ),
        ("text_model.final_layer_norm.weight", "ln_final.weight"),
        ("text_model.final_layer_norm.bias", "ln_final.bias"),
    ] {
        all.insert(format!("{prefix}{original}"), own[ours].clone());
    }
    if let Some((shape, values)) = own.get("text_projection.weight") {
        let [rows, columns] = [shape[0], shape[1]];
        let turned = (0..columns)
            .flat_map(|c| (0..rows).map(move |r| r * columns + c))
            .map(|i| values[i]);
        all.insert(
            format!("{prefix}text_projection"),
            (vec![columns, rows], turned.collect()),
        );
    }
    all.insert(format!("{prefix}logit_scale"), (Vec::new(), vec![4.6]));
}

fn same<M: Module>(a: &M, b: &M) {
    let (a, b) = (named_parameters(a), named_parameters(b));
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(&b) {
        assert_eq!((&a.path, &a.shape), (&b.path, &b.shape));
        assert!(a.values == b.values, "{}", a.path);
    }
}

fn text(hidden: usize, layers: usize, projected: bool, act: &str) -> String {
    let class = if projected {
        "CLIPTextModelWithProjection"
    } else {
        "CLIPTextModel"
    };
    format!(
        r#"{{"architectures": ["{class}"], "vocab_size": 40, "hidden_size": {hidden}, "intermediate_size": 32,
        "num_hidden_layers": {layers}, "num_attention_heads": 1, "max_position_embeddings": 8,
        "projection_dim": {hidden}, "hidden_act": "{act}"}}"#
    )
}

#[test]
fn stable_diffusion_1_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sd1.safetensors");
    let unet: dsl_nets::UNet2DCondition = build(&format!("{UNET}}}"), 1);
    let vae: dsl_nets::AutoencoderKL = build(VAE, 2);
    let encoder: dsl_nets::ClipTextModel = build(&text(24, 2, false, "quick_gelu"), 3);
    let mut all = Tensors::new();
    add(&mut all, &unet, original_unet);
    add(&mut all, &vae, original_vae);
    add(&mut all, &encoder, |key| {
        format!("cond_stage_model.transformer.{key}")
    });
    all.insert("betas".to_owned(), (vec![2], vec![0.0, 1.0]));
    write(&path, &all);
    let file = load_single_file(&path, WeightDType::F32, &Device::flex()).unwrap();
    assert_eq!(file.generation, Generation::Sd1);
    same(&file.unet.1, &unet);
    same(&file.vae, &vae);
    same(&file.text_encoder, &encoder);
    assert_eq!(dsl_nets::inspect(&path).unwrap().parts.len(), 3);

    all.remove("model.diffusion_model.middle_block.1.norm.bias");
    write(&path, &all);
    let error = load_single_file(&path, WeightDType::F32, &Device::flex()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("mid_block.attentions.0.norm.bias"),
        "{error}"
    );
}

#[test]
fn stable_diffusion_2_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sd2.safetensors");
    let config =
        format!(r#"{UNET}, "use_linear_projection": true, "attention_head_dim": [1, 1]}}"#);
    let unet: dsl_nets::UNet2DCondition = build(&config, 1);
    let vae: dsl_nets::AutoencoderKL = build(VAE, 2);
    // The last of three layers is left out by the reader.
    let encoder: dsl_nets::ClipTextModel = build(&text(24, 3, false, "gelu"), 3);
    let mut all = Tensors::new();
    add(&mut all, &unet, original_unet);
    add(&mut all, &vae, original_vae);
    add_open_clip(&mut all, &encoder, "cond_stage_model.model.");
    write(&path, &all);
    let file = load_single_file(&path, WeightDType::F32, &Device::flex()).unwrap();
    assert_eq!(file.generation, Generation::Sd2);
    same(&file.unet.1, &unet);
    let shorter: dsl_nets::ClipTextModel = build(&text(24, 2, false, "gelu"), 3);
    same(&file.text_encoder, &shorter);
}

#[test]
fn stable_diffusion_xl_in_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sdxl.safetensors");
    let config = r#"{"block_out_channels": [32, 64], "layers_per_block": 1, "cross_attention_dim": 40,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "use_linear_projection": true, "attention_head_dim": [1, 1], "transformer_layers_per_block": [1, 2],
        "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 1552}"#;
    let unet: dsl_nets::UNet2DCondition = build(config, 1);
    let vae: dsl_nets::AutoencoderKL = build(VAE, 2);
    let first: dsl_nets::ClipTextModel = build(&text(24, 2, false, "quick_gelu"), 3);
    let second: dsl_nets::ClipTextModel = build(&text(16, 2, true, "gelu"), 4);
    let mut all = Tensors::new();
    let after_attention = |path: &str| original_unet_with(path, "output_blocks.1.2.conv.");
    add(&mut all, &unet, after_attention);
    add(&mut all, &vae, original_vae);
    add(&mut all, &first, |key| {
        format!("conditioner.embedders.0.transformer.{key}")
    });
    add_open_clip(&mut all, &second, "conditioner.embedders.1.model.");
    write(&path, &all);
    let file = load_single_file(&path, WeightDType::F32, &Device::flex()).unwrap();
    assert_eq!(file.generation, Generation::Sdxl);
    same(&file.unet.1, &unet);
    same(&file.vae, &vae);
    same(&file.text_encoder, &first);
    same(&file.text_encoder_2.unwrap(), &second);
}

#[test]
fn other_files_are_not_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let mut all = Tensors::new();
    all.insert("a".to_owned(), (vec![1], vec![0.0]));
    write(&path, &all);
    let error = load_single_file(&path, WeightDType::F32, &Device::flex()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no text encoder of Stable Diffusion"),
        "{error}"
    );
}
