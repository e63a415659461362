//! A part of a base model is trained, the rest stays where it is: runs, checkpoints, samples, exports.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::support::{Outcome, SMALL_T2I, config, dsl_host, pictures, plugin};

/// A folder with captioned pictures and a base model that was trained on them for two steps.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        pictures(&folder.path().join("pictures"));
        config(folder.path(), "run.yaml", SMALL_T2I);
        let bench = Self { folder };
        bench.base("base.safetensors", 0);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Trains and exports a base model.
    fn base(&self, name: &str, seed: u64) {
        let run = format!("run-of-{name}");
        let seed = format!("train.seed={seed}");
        self.train(&run, &["train.steps=2", &seed]).ok();
        self.host(&["export", "--run", &run, "--out", name]).ok();
    }

    /// A run of `SMALL_T2I` with further settings; paths are relative to the folder.
    fn train(&self, run: &str, sets: &[&str]) -> Outcome {
        let mut command = dsl_host();
        command
            .current_dir(self.folder.path())
            .args(["run", "--config", "run.yaml", "--out", run])
            .args(["--set", "task.data.path=pictures", "--plugin"])
            .arg(plugin("t2i"));
        for set in sets {
            command.args(["--set", set]);
        }
        Outcome::of(&mut command)
    }

    fn host(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(dsl_host().current_dir(self.folder.path()).args(arguments))
    }
}

/// Keys and bytes of a safetensors file.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect()
}

const LORA: &[&str] = &[
    "model.base=base.safetensors",
    "model.trainable.kind=lora",
    "model.trainable.rank=2",
    "train.learning_rate=1e-2",
];

#[test]
fn adapters_over_a_base_are_sampled_merged_and_gone_on_with() {
    let bench = Bench::new();
    let said = bench.train("run", LORA).ok().stderr;
    assert!(said.contains("of them trained"), "{said}");
    let checkpoint = bench.path("run/checkpoints/step-00000004");
    let generator = fs::metadata(checkpoint.join("generator.bpk"))
        .unwrap()
        .len();
    let base = fs::metadata(bench.path("base.safetensors")).unwrap().len();
    assert!(
        4 * generator < base,
        "{generator} bytes of adapters, {base} of base"
    );
    let state: Value =
        serde_json::from_slice(&fs::read(checkpoint.join("state.json")).unwrap()).unwrap();
    let sha256 = state["frozen_sha256"].as_str().unwrap().to_owned();

    bench
        .host(&[
            "sample",
            "--run",
            "run",
            "--count",
            "2",
            "--out",
            "adapters.png",
        ])
        .ok();
    bench
        .host(&["export", "--run", "run", "--out", "merged.safetensors"])
        .ok();
    // The merged file is a base like any other: other weights in the adapted layers, and nowhere else.
    let (before, after) = (
        tensors(&bench.path("base.safetensors")),
        tensors(&bench.path("merged.safetensors")),
    );
    assert!(before.keys().eq(after.keys()));
    for (key, values) in &before {
        let adapted = [".to_q.", ".to_k.", ".to_v.", ".to_out.0.weight"];
        let is_adapted =
            key.starts_with("denoiser") && adapted.iter().any(|part| key.contains(part));
        assert_eq!(values != &after[key], is_adapted, "{key}");
    }
    bench
        .train(
            "further",
            &["model.base=merged.safetensors", "train.steps=1"],
        )
        .ok();

    // From another folder, where the base's name as given leads nowhere.
    let run = bench.path("run");
    let elsewhere = tempfile::tempdir().unwrap();
    let resume = || {
        Outcome::of(
            dsl_host()
                .current_dir(elsewhere.path())
                .args(["run", "--resume"])
                .arg(&run),
        )
    };
    resume().ok();

    bench.base("other.safetensors", 1);
    fs::copy(
        bench.path("other.safetensors"),
        bench.path("base.safetensors"),
    )
    .unwrap();
    let parts = ["frozen base", &sha256, "the base model of the run"];
    resume().fails(1, &parts);
    for command in ["sample", "export"] {
        bench
            .host(&[command, "--run", "run", "--out", "none"])
            .fails(1, &parts);
    }
    fs::remove_file(bench.path("base.safetensors")).unwrap();
    resume().fails(2, &["base.safetensors", "cannot be read"]);
}

#[test]
fn parts_of_a_base_are_trained_by_kind_and_by_name() {
    let bench = Bench::new();
    for (run, sets) in [
        (
            "norms",
            ["model.trainable={kind: bias_norm}", "train.steps=2"],
        ),
        (
            "named",
            [
                "model.trainable={kind: named, parameters: ['attn2', '^text_encoder']}",
                "train.ema.decay=0.9",
            ],
        ),
    ] {
        let sets = [&["model.base=base.safetensors"][..], &sets].concat();
        bench.train(run, &sets).ok();
        bench.host(&["sample", "--run", run, "--out", "a.png"]).ok();
        bench
            .host(&["export", "--run", run, "--out", "a.safetensors"])
            .ok();
        let (before, after) = (
            tensors(&bench.path("base.safetensors")),
            tensors(&bench.path("a.safetensors")),
        );
        for (key, values) in &before {
            let is_trained = match run {
                "norms" => {
                    key.starts_with("denoiser") && (key.contains("norm") || key.ends_with("bias"))
                }
                _ => key.contains("attn2") || key.starts_with("text_encoder"),
            };
            assert!(is_trained || values == &after[key], "{run}: {key}");
        }
        assert!(before != after, "{run}");
    }
}

#[test]
fn what_cannot_be_trained_is_said_before_anything_starts() {
    let bench = Bench::new();
    let refused = |set: &str, parts: &[&str]| {
        bench.train("never", &[set]).fails(2, parts);
        assert!(!bench.path("never").exists());
    };
    refused(
        "model.trainable={kind: lora, targets: ['(']}",
        &["not a regular expression", "targets: ['(']", "hint"],
    );
    refused(
        "model.trainable={kind: lora, rank: 0}",
        &["`rank` cannot be 0", "rank: 0"],
    );
    refused("model.trainable={kind: ia3}", &["ia3", "bias_norm"]);
}
