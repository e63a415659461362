//! GLIGEN's pipelines as diffusers keeps them: the one whose boxes hold phrases, and the one whose boxes may hold pictures.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::Value;

use crate::latents::Bench;
use crate::support::{Outcome, dsl_host, plugin};

const SETTINGS: &[&str] = &[
    "model.base=pipeline",
    "model.latents.cache=cache",
    "model.trainable={kind: task_modules}",
    "task.data.layout_map=false",
    "task.data.max_boxes=3",
    "task.data.resolution=16",
    "task.evaluation.samples=0",
    "train={steps: 1, batch_size: 2, workers: 1, learning_rate: 0.01}",
    "checkpoint.every_steps=1",
    "validation={samples: 2}",
    "sampling={count: 1}",
    "sampling.sampler.num_inference_steps=2",
];

fn learn(bench: &Bench, run: &str, sets: &[&str]) -> Outcome {
    let mut command = dsl_host();
    command
        .current_dir(bench.path(""))
        .args(["run", "--out", run, "--plugin"])
        .arg(plugin("gligen"));
    for set in SETTINGS.iter().chain(sets) {
        command.args(["--set", set]);
    }
    Outcome::of(&mut command)
}

/// Trains, and puts the denoiser that comes of it into the pipeline, which then is of `class`.
fn learn_into(bench: &Bench, run: &str, class: &str, sets: &[&str]) {
    learn(bench, run, sets).ok();
    let out = format!("{run}-exported");
    let export = [
        "export",
        "--run",
        run,
        "--format",
        "diffusers",
        "--out",
        &out,
    ];
    bench.host(&export).ok();
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        let exported = bench.path(&out).join("unet").join(file);
        fs::copy(exported, bench.path("pipeline/unet").join(file)).unwrap();
    }
    let index = bench.path("pipeline/model_index.json");
    let mut fields: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    fields["_class_name"] = class.into();
    fs::write(&index, fields.to_string()).unwrap();
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

fn tensors(unet: &Path) -> Tensors {
    let bytes = fs::read(unet.join("diffusion_pytorch_model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let each = file.tensors().into_iter();
    each.map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
        .collect()
}

/// Makes boxes hold pictures as well: in the place of the layers of phrases two sets of the same, those of pictures fresh.
fn take_pictures(unet: &Path) {
    let mut all = tensors(unet);
    let of_phrases: Vec<String> = (all.keys())
        .filter(|name| name.starts_with("position_net.") && !name.contains("position_feature"))
        .cloned()
        .collect();
    for name in of_phrases {
        let tensor = all.remove(&name).unwrap();
        let [text, image] = ["text", "image"].map(|kind| {
            name.replace("linears", &format!("linears_{kind}"))
                .replace("null_positive_feature", &format!("null_{kind}_feature"))
        });
        all.insert(image, tensor.clone());
        all.insert(text, tensor);
    }
    let views = (all.iter()).map(|(name, (shape, data))| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), data).unwrap(),
        )
    });
    let path = unet.join("diffusion_pytorch_model.safetensors");
    fs::write(path, serialize(views, None).unwrap()).unwrap();
    let path = unet.join("config.json");
    let config = fs::read_to_string(&path).unwrap();
    assert!(config.contains("\"gated\""));
    fs::write(path, config.replace("\"gated\"", "\"gated-text-image\"")).unwrap();
}

fn moved(before: &Tensors, after: &Tensors, name: &str) -> bool {
    before[name].0 == after[name].0 && before[name].1 != after[name].1
}

#[test]
fn gligens_pipelines_are_trained_further() {
    let bench = Bench::new("pipeline_sd");
    let unet = bench.path("pipeline/unet");
    // What opens the gates of a base that has none.
    let dsm = ["objective={kind: dsm}"];
    learn_into(&bench, "opened", "StableDiffusionGLIGENPipeline", &dsm);
    let phrases = tensors(&unet);
    assert!(phrases.contains_key("position_net.null_positive_feature"));

    let dsl = [
        "objective={kind: dsl, warmup_dsm_steps: 0}",
        "train.steps=2",
    ];
    let class = "StableDiffusionGLIGENTextImagePipeline";
    learn_into(&bench, "phrases", class, &dsl);
    let after = tensors(&unet);
    for name in [
        "position_net.linears.0.weight",
        "position_net.null_positive_feature",
        "mid_block.attentions.0.transformer_blocks.0.fuser.alpha_attn",
    ] {
        assert!(moved(&phrases, &after, name), "{name}");
    }

    take_pictures(&unet);
    let before = tensors(&unet);
    learn_into(&bench, "pictures", class, &dsl);
    let after = tensors(&unet);
    assert!(after.keys().eq(before.keys()));
    // No box holds a picture: what stands for one is learned, and so is what reads it.
    for name in [
        "position_net.linears_text.0.weight",
        "position_net.linears_image.0.weight",
        "position_net.null_text_feature",
        "position_net.null_image_feature",
    ] {
        assert!(moved(&before, &after, name), "{name}");
    }
    assert!(!moved(&before, &after, "conv_in.weight"));
    let config = fs::read_to_string(unet.join("config.json")).unwrap();
    assert!(config.contains("\"gated-text-image\""));

    bench.host(&["model", "inspect", "pipeline"]).ok();
    let boxes = "boxes=0.1,0.1,0.5,0.5,tree";
    let sample = [
        "sample",
        "--run",
        "pictures",
        "--input",
        "caption=trees",
        "--input",
        boxes,
        "--out",
        "a.png",
    ];
    bench.host(&sample).ok();

    // Weights of the pipeline without pictures are not enough.
    let path = unet.join("diffusion_pytorch_model.safetensors");
    let of_phrases = bench.path("phrases-exported/unet/diffusion_pytorch_model.safetensors");
    fs::copy(of_phrases, path).unwrap();
    learn(&bench, "refused", &dsl).fails(2, &["position_net.linears_text"]);
}
