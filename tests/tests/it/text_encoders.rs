//! Text encoders of pipelines that learn: new words, and adapters of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::latents::{Bench, same};
use crate::support::{Outcome, dsl_host, files, metrics, plugin};
use crate::tasks::{base_run, tensors};

const WORD: &[&str] = &[
    "model.latents.cache=cache",
    "task.data.resolution=16",
    "task.data.num_vectors=2",
    "task.evaluation.samples=2",
    "objective={kind: dsl, warmup_dsm_steps: 2}",
    "train={steps: 4, batch_size: 2, workers: 1, learning_rate: 0.1}",
    "logging.every_steps=1",
    "checkpoint.every_steps=1",
    "validation={every_steps: 2, samples: 3}",
    "sampling={every_steps: 4, count: 2, guidance_scale: 3}",
    "sampling.sampler.num_inference_steps=2",
];

fn learn(bench: &Bench, run: &str, base: &str, sets: &[&str]) -> std::process::Command {
    let mut command = dsl_host();
    command
        .current_dir(bench.path(""))
        .args(["run", "--out", run, "--plugin"])
        .arg(plugin("textual_inversion"))
        .args(["--set", &format!("model.base={base}")]);
    for set in WORD.iter().chain(sets) {
        command.args(["--set", set]);
    }
    command
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

/// A run `killed` as soon as a first checkpoint is there, and gone on with, ends as `whole` did.
fn goes_on_exactly(bench: &Bench, mut killed: std::process::Command) {
    let mut child = killed
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !bench.path("killed/checkpoints/step-00000001").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    bench.host(&["run", "--resume", "killed"]).ok();
    same(&bench.path("whole"), &bench.path("killed"));
}

fn a_word_is_learned(fixture: &str, rows: &[(&str, [usize; 2])]) {
    let bench = Bench::new(fixture);
    let said = Outcome::of(&mut learn(&bench, "whole", "pipeline", &[]))
        .ok()
        .stderr;
    let trained: usize = rows
        .iter()
        .map(|(_, [count, features])| count * features)
        .sum();
    assert!(
        said.contains(&format!("{trained} of them trained")),
        "{said}"
    );
    let lines = metrics(&bench.path("whole"));
    for line in &lines[1..] {
        assert!(line["grad_norm/generator"].as_f64() > Some(0.0), "{line}");
    }
    assert!(lines[3]["validation/conditioning_gain"].as_f64().is_some());
    assert_ne!(lines[3]["validation/conditioning_gain"].as_f64(), Some(1.0));
    // The word alone is in a checkpoint.
    let saved = bench.path("whole/checkpoints/step-00000004/generator.bpk");
    assert!(size(&saved) < 4096, "{}", size(&saved));

    goes_on_exactly(&bench, learn(&bench, "killed", "pipeline", &[]));
    // Gradients reach the word through blocks that are computed again.
    let again = ["train.gradient_checkpointing=true"];
    Outcome::of(&mut learn(&bench, "checkpointed", "pipeline", &again)).ok();
    let norm = |line: &Value| line["grad_norm/generator"].as_f64().unwrap();
    for (line, again) in lines.iter().zip(metrics(&bench.path("checkpointed"))) {
        let (found, expected) = (norm(&again), norm(line));
        let error = (found - expected).abs() / expected;
        // Sums of SDXL's two ways from the word to the network are taken in another order.
        assert!(error < 1e-4, "{found}, not {expected}");
    }

    // Drawn with the word, and the word as other programs take it.
    let with_word = draw(&bench, "whole", WITH_WORD, "a.png");
    assert!(with_word != draw(&bench, "whole", "a photo of a chair", "b.png"));
    let long = format!("prompt={} <concept-chair>", "a photo ".repeat(40));
    let draw_long = [
        "sample", "--run", "whole", "--input", &long, "--out", "c.png",
    ];
    let said = bench.host(&draw_long).ok().stderr;
    assert!(
        said.contains("the learned word `<concept-chair>` is lost"),
        "{said}"
    );
    let export = [
        "export",
        "--run",
        "whole",
        "--format",
        "embedding",
        "--out",
        "word",
    ];
    bench.host(&export).ok();
    let (mut shapes, values) = tensors(&bench.path("word/learned_embeds.safetensors"));
    shapes.sort();
    let expected = rows
        .iter()
        .map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
    assert_eq!(shapes, expected.collect::<Vec<_>>());
    assert!(values.iter().all(|value| value.is_finite()));
    is_known_by_further_runs(&bench, 16);
}

/// The first word alone stands for both.
const WITH_WORD: &str = "a photo of a <concept-chair>";

/// What a run draws: the lower half of the sheet, below the pictures that it learned from.
fn draw(bench: &Bench, run: &str, prompt: &str, out: &str) -> Vec<u8> {
    let input = format!("prompt={prompt}");
    let draw = ["sample", "--run", run, "--input", &input, "--out", out];
    bench.host(&draw).ok();
    let sheet = image::open(bench.path(out)).unwrap();
    let half = sheet.height() / 2;
    let drawn = sheet.crop_imm(0, half, sheet.width(), half).to_rgb8();
    drawn.into_raw()
}

/// Runs that begin with the run `whole`, or with its file, draw what it draws, and learn another word.
fn is_known_by_further_runs(bench: &Bench, resolution: u32) {
    let with_word = draw(bench, "whole", WITH_WORD, "word.png");
    let export = ["export", "--run", "whole", "--out", "taught.safetensors"];
    bench.host(&export).ok();
    let other = format!("task.data={{concept: bear, num_vectors: 1, resolution: {resolution}}}");
    let stay = ["train.steps=1", "train.learning_rate=1e-12", &other];
    for (run, base) in [("further", "whole"), ("from_file", "taught.safetensors")] {
        Outcome::of(&mut learn(bench, run, base, &stay)).ok();
        let card = fs::read(bench.path(run).join("model.json")).unwrap();
        let card: Value = serde_json::from_slice(&card).unwrap();
        let known = serde_json::json!(["<concept-chair>", "<concept-chair>_1"]);
        assert_eq!(card["known_words"], known);
        let drawn = draw(bench, run, WITH_WORD, &format!("{run}.png"));
        assert!(drawn == with_word, "{run}");
    }
    let again = format!("task.data.resolution={resolution}");
    Outcome::of(&mut learn(bench, "again", "whole", &[&again]))
        .fails(2, &["the word `<concept-chair>` already"]);
}

#[test]
fn a_base_with_an_own_text_encoder_goes_on_knowing_its_words() {
    let bench = Bench::new("pipeline_sd");
    let base = base_run(&bench.path(""));
    let base = base.to_str().unwrap();
    Outcome::of(&mut learn(
        &bench,
        "whole",
        base,
        &["task.data.resolution=8"],
    ))
    .ok();
    is_known_by_further_runs(&bench, 8);
}

#[test]
fn a_stable_diffusion_pipeline_learns_a_word() {
    a_word_is_learned("pipeline_sd", &[("<concept-chair>", [2, 12])]);
}

#[test]
fn an_sdxl_pipeline_learns_a_word_in_both_encoders() {
    a_word_is_learned("pipeline_sdxl", &[("clip_g", [2, 16]), ("clip_l", [2, 12])]);
}

const ADAPTED: &str =
    "model.trainable={kind: lora, rank: 2, text_encoder: {rank: 3, alpha: 6, targets: []}}";

/// `layers` of each text encoder have four attention projections each.
fn text_encoders_are_adapted(fixture: &str, kohya: &[(&str, usize)]) {
    let bench = Bench::new(fixture);
    Outcome::of(&mut bench.command("whole", "pipeline", &[ADAPTED])).ok();
    goes_on_exactly(&bench, bench.command("killed", "pipeline", &[ADAPTED]));

    let export = |run: &str, format: &str, out: &str| {
        let export = ["export", "--run", run, "--format", format, "--out", out];
        bench.host(&export).ok();
        bench.path(out)
    };
    let keys =
        |path: &Path| -> Vec<String> { tensors(path).0.into_iter().map(|(key, _)| key).collect() };
    let count =
        |keys: &[String], prefix: &str| keys.iter().filter(|key| key.starts_with(prefix)).count();
    // Two matrices a layer; kohya's have an alpha beside them.
    let diffusers = export("whole", "diffusers", "diffusers");
    let (shapes, values) = tensors(&diffusers.join("pytorch_lora_weights.safetensors"));
    assert!(values.iter().all(|value| value.is_finite()));
    let dotted: Vec<String> = shapes.iter().map(|(key, _)| key.clone()).collect();
    assert!(count(&dotted, "unet.") > 0);
    let b = "text_encoder.text_model.encoder.layers.1.self_attn.out_proj.lora_B.weight";
    let shape = shapes.iter().find(|(key, _)| key == b).unwrap();
    assert_eq!(shape.1, [12, 3]);
    let flat = keys(&export("whole", "kohya", "kohya").join("lora.safetensors"));
    let peft = export("whole", "peft", "peft");
    let prefixes = ["text_encoder", "text_encoder_2"];
    for ((prefix, layers), name) in kohya.iter().zip(prefixes) {
        assert_eq!(count(&dotted, &format!("{name}.")), layers * 4 * 2);
        assert_eq!(count(&flat, prefix), layers * 4 * 3, "{flat:?}");
        let of_text = keys(&peft.join(name).join("adapter_model.safetensors"));
        // Without `text_model`, newer versions of transformers have the layers of the first encoder.
        let bare = if name == "text_encoder" {
            layers * 4 * 2
        } else {
            0
        };
        assert_eq!(of_text.len(), layers * 4 * 2 + bare);
        assert_eq!(count(&of_text, "base_model.model.encoder."), bare);
        assert_eq!(
            count(&of_text, "base_model.model.text_model."),
            layers * 4 * 2
        );
        let config = fs::read(peft.join(name).join("adapter_config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(
            (&config["r"], &config["lora_alpha"]),
            (&3.into(), &6.0.into())
        );
    }
    assert!(peft.join("unet/adapter_config.json").is_file());

    // They have learned something: B is no longer zero. SDXL takes nothing from the last layer of its first encoder.
    let (shapes, values) = tensors(&peft.join("text_encoder/adapter_model.safetensors"));
    let mut at = 0;
    for (key, shape) in shapes {
        let size = shape.iter().product::<usize>();
        let moved = values[at..at + size].iter().any(|value| *value != 0.0);
        assert!(moved || key.contains("layers.1."), "{key}");
        at += size;
    }

    // The merged file draws what the run draws.
    let draw = |run: &str, out: &str| {
        let draw = [
            "sample", "--run", run, "--prompt", "a fox", "--seed", "3", "--out", out,
        ];
        bench.host(&draw).ok();
        image::open(bench.path(out)).unwrap().to_rgb8()
    };
    bench
        .host(&["export", "--run", "whole", "--out", "merged.safetensors"])
        .ok();
    let stay = ["train.steps=1", "train.learning_rate=1e-12"];
    Outcome::of(&mut bench.command("further", "merged.safetensors", &stay)).ok();
    let (whole, further) = (draw("whole", "a.png"), draw("further", "b.png"));
    let apart = |(a, b): (&u8, &u8)| a.abs_diff(*b);
    let largest = whole.iter().zip(further.iter()).map(apart).max();
    // Rounding of a merged weight is not that of its two parts.
    assert!(largest <= Some(1), "{largest:?}");
}

#[test]
fn the_text_encoder_of_stable_diffusion_is_adapted() {
    text_encoders_are_adapted("pipeline_sd", &[("lora_te_", 2)]);
}

#[test]
fn both_text_encoders_of_sdxl_are_adapted() {
    text_encoders_are_adapted("pipeline_sdxl", &[("lora_te1_", 2), ("lora_te2_", 3)]);
}

/// Parameters by name of denoiser and text encoders, and what diffusers gets of them: folders that stand in the pipeline.
#[test]
fn parameters_of_text_encoders_are_trained_by_name() {
    let bench = Bench::new("pipeline_sdxl");
    let named = "model.trainable={kind: named, parameters: [attn2], text_encoder: ['mlp.fc2', final_layer_norm]}";
    Outcome::of(&mut bench.command("whole", "pipeline", &[named])).ok();
    goes_on_exactly(&bench, bench.command("killed", "pipeline", &[named]));

    let parts = ["unet", "text_encoder", "text_encoder_2"];
    let name = |part: &str| match part {
        "unet" => "diffusion_pytorch_model.safetensors",
        _ => "model.safetensors",
    };
    let export = [
        "export",
        "--run",
        "whole",
        "--format",
        "diffusers",
        "--out",
        "exported",
    ];
    bench.host(&export).ok();
    for part in parts {
        let exported = bench.path("exported").join(part);
        let of_pipeline = bench.path("pipeline").join(part);
        let before = by_name(&of_pipeline.join(name(part)));
        let after = by_name(&exported.join(name(part)));
        assert!(after.keys().eq(before.keys()), "{part}");
        for (key, values) in &before {
            let is_named = |names: &[&str]| names.iter().any(|name| key.contains(name));
            let trains = match part {
                "unet" => is_named(&["attn2"]),
                _ => is_named(&["mlp.fc2", "final_layer_norm"]),
            };
            assert_eq!(&after[key] != values, trains, "{part}: {key}");
        }
        for (file, contents) in files(&exported) {
            fs::write(of_pipeline.join(file), contents).unwrap();
        }
    }

    // The pipeline then draws what the run draws.
    let stay = ["train.steps=1", "train.learning_rate=1e-12"];
    Outcome::of(&mut bench.command("further", "pipeline", &stay)).ok();
    let draw = |run: &str, out: &str| {
        let draw = [
            "sample", "--run", run, "--prompt", "a fox", "--seed", "3", "--out", out,
        ];
        bench.host(&draw).ok();
        image::open(bench.path(out)).unwrap().to_rgb8()
    };
    let (whole, further) = (draw("whole", "a.png"), draw("further", "b.png"));
    let apart = |(a, b): (&u8, &u8)| a.abs_diff(*b);
    let largest = whole.iter().zip(further.iter()).map(apart).max();
    assert!(largest <= Some(1), "{largest:?}");
}

/// Values of a file; names are those of newer versions of transformers.
fn by_name(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let (shapes, values) = tensors(path);
    let mut values = values.into_iter();
    let each = shapes.into_iter().map(|(key, shape)| {
        let values = values.by_ref().take(shape.iter().product()).collect();
        let key = key.strip_prefix("text_model.").unwrap_or(&key).to_owned();
        (key, values)
    });
    each.collect()
}

#[test]
fn an_own_text_encoder_is_no_pipelines() {
    let bench = Bench::new("pipeline_sd");
    let named = "model.trainable={kind: named, parameters: [attn2], text_encoder: [mlp]}";
    for trainable in [ADAPTED, named] {
        Outcome::of(&mut bench.command("run", "bundled", &[trainable]))
            .fails(2, &["`model.trainable.text_encoder`", "`model.base`"]);
    }
}
