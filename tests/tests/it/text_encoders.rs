//! Text encoders of pipelines that learn: new words, and adapters of their own.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::latents::{Bench, same};
use crate::support::{Outcome, dsl_host, metrics, plugin};
use crate::tasks::tensors;

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

    // Killed as soon as a first checkpoint is there, and gone on with.
    let mut child = learn(&bench, "killed", "pipeline", &[])
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

    // Drawn with the word, and the word as other programs take it.
    let draw = |run: &str, prompt: &str, out: &str| {
        let input = format!("prompt={prompt}");
        let draw = ["sample", "--run", run, "--input", &input, "--out", out];
        bench.host(&draw).ok();
        fs::read(bench.path(out)).unwrap()
    };
    let with_word = draw("whole", "a photo of a <concept-chair>", "a.png");
    assert!(with_word != draw("whole", "a photo of a chair", "b.png"));
    let export = |more: &[&str]| {
        bench
            .host(&[&["export", "--run", "whole"], more].concat())
            .ok()
    };
    export(&["--format", "embedding", "--out", "word"]);
    let (shapes, values) = tensors(&bench.path("word/learned_embeds.safetensors"));
    let expected = rows
        .iter()
        .map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
    assert_eq!(shapes, expected.collect::<Vec<_>>());
    assert!(values.iter().all(|value| value.is_finite()));

    // A base that has learned a word knows it: as a run, and as a file.
    export(&["--out", "taught.safetensors"]);
    let other = "task.data={concept: bear, num_vectors: 1, resolution: 16}";
    let stay = ["train.steps=1", "train.learning_rate=1e-12", other];
    for (run, base) in [("further", "whole"), ("from_file", "taught.safetensors")] {
        Outcome::of(&mut learn(&bench, run, base, &stay)).ok();
        let card = fs::read(bench.path(run).join("model.json")).unwrap();
        let card: Value = serde_json::from_slice(&card).unwrap();
        let known = serde_json::json!(["<concept-chair>", "<concept-chair>_1"]);
        assert_eq!(card["known_words"], known);
        let out = format!("{run}.png");
        assert!(
            draw(run, "a photo of a <concept-chair>", &out) == with_word,
            "{run}"
        );
    }
    let again = learn(&bench, "again", "whole", &[]).output().unwrap();
    let said = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(2), "{said}");
    assert!(
        said.contains("the word `<concept-chair>` already"),
        "{said}"
    );
}

#[test]
fn a_stable_diffusion_pipeline_learns_a_word() {
    a_word_is_learned("pipeline_sd", &[("<concept-chair>", [2, 12])]);
}

#[test]
fn an_sdxl_pipeline_learns_a_word_in_both_encoders() {
    a_word_is_learned("pipeline_sdxl", &[("clip_g", [2, 16]), ("clip_l", [2, 12])]);
}
