//! Pipelines as diffusers keeps them are fine-tuned: pictures and captions go through their frozen encoders once.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Outcome, dsl_host, files, metrics, plugin, workspace};

/// Adapters on a tiny pipeline, on the emoji inside the plugin.
const SETTINGS: &[&str] = &[
    "model.trainable={kind: lora, rank: 2}",
    "model.latents.cache=cache",
    "task.data.resolution=16",
    "task.data.flip=0.5",
    "train.steps=4",
    "train.batch_size=2",
    "train.workers=1",
    "train.learning_rate=1e-3",
    "train.ema.decay=0.9",
    "objective.margin.max_samples=4",
    "logging.every_steps=1",
    "checkpoint.every_steps=1",
    "validation={every_steps: 2, samples: 3}",
    "sampling={every_steps: 2, count: 2, prompts: [red apple, a fox], guidance_scale: 3}",
    "sampling.sampler.num_inference_steps=3",
];

pub struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// With a copy of a pipeline.
    pub fn new(fixture: &str) -> Self {
        let root = std::env::var_os("DSL_FIXTURES")
            .map_or_else(|| workspace().join("tests/fixtures"), PathBuf::from);
        let folder = tempfile::tempdir().unwrap();
        for (path, contents) in files(&root.join(fixture).join("pipeline")) {
            let copy = folder.path().join("pipeline").join(path);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::write(copy, contents).unwrap();
        }
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, run: &str, base: &str, sets: &[&str]) -> std::process::Command {
        let mut command = dsl_host();
        command
            .current_dir(self.folder.path())
            .args(["run", "--out", run, "--plugin"])
            .arg(plugin("t2i"))
            .args(["--set", &format!("model.base={base}")]);
        // What is trained is of one kind: the keys of two would be mixed.
        let is_kind = |set: &&&str| set.starts_with("model.trainable=");
        let kept =
            (SETTINGS.iter()).filter(|set| !is_kind(set) || !sets.iter().any(|s| is_kind(&s)));
        for set in kept.chain(sets) {
            command.args(["--set", set]);
        }
        command
    }

    pub fn train(&self, run: &str, sets: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(run, "pipeline", sets))
    }

    pub fn host(&self, arguments: &[&str]) -> Outcome {
        let mut command = dsl_host();
        Outcome::of(command.current_dir(self.folder.path()).args(arguments))
    }

    /// Entries of the cache.
    fn cached(&self) -> Vec<PathBuf> {
        let cache = self.path("cache");
        files(&cache)
            .into_keys()
            .map(|path| cache.join(path))
            .collect()
    }
}

/// Metrics without what the clock and the machine have in them.
fn numbers(run: &Path) -> Vec<Value> {
    let mut lines = metrics(run);
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.remove("images_per_second");
        line.remove("data_wait_fraction");
        line.remove("peak_memory_bytes");
    }
    lines
}

/// What a safetensors file says of itself.
fn header(path: &Path) -> Value {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    header["__metadata__"].clone()
}

fn weights(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let all = files(&run.join("checkpoints")).into_iter();
    all.filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.ends_with(".bpk") && !name.ends_with("_optimizer.bpk")
    })
    .collect()
}

pub fn same(a: &Path, b: &Path) {
    assert_eq!(numbers(a), numbers(b));
    assert!(weights(a) == weights(b) && !weights(a).is_empty());
    let pictures = |run: &Path| files(&run.join("samples"));
    assert!(pictures(a) == pictures(b));
}

fn pipeline_is_fine_tuned(fixture: &str) {
    let bench = Bench::new(fixture);
    bench.train("whole", &[]).ok();
    let config: Value =
        serde_json::from_slice(&fs::read(bench.path("whole/config.json")).unwrap()).unwrap();
    let model = &config["model"];
    // The plugin recommends `v_prediction` and a cosine; the pipeline's scheduler goes before it.
    assert_eq!(model["prediction_type"], "epsilon");
    assert_eq!(model["noise_schedule"]["beta_schedule"], "scaled_linear");
    assert_eq!(config["sampling"]["sampler"]["timestep_spacing"], "leading");
    let card: Value =
        serde_json::from_slice(&fs::read(bench.path("whole/model.json")).unwrap()).unwrap();
    assert_eq!(card["sample_shape"], serde_json::json!([4, 8, 8]));
    let last = numbers(&bench.path("whole")).pop().unwrap();
    for key in [
        "loss/generator",
        "err/discriminator",
        "validation/err/generator",
    ] {
        assert!(last[key].as_f64().unwrap() > 0.0, "{last}");
    }
    let grid = image::open(bench.path("whole/samples/step-00000004.png")).unwrap();
    assert!(grid.width() >= 32, "{}", grid.width());

    // All is in the cache: nothing is encoded again, and the numbers are the same.
    let cached = bench.cached();
    assert!(cached.len() > 8, "{}", cached.len());
    bench.train("again", &[]).ok();
    assert_eq!(bench.cached(), cached);
    same(&bench.path("whole"), &bench.path("again"));

    // So they are where the encoders work while training, in a cache that has lost an entry and has a damaged one.
    fs::remove_file(&cached[0]).unwrap();
    let damaged = fs::read(&cached[1]).unwrap();
    fs::write(&cached[1], &damaged[..damaged.len() - 5]).unwrap();
    let said = bench
        .train("damaged", &["model.latents.encode=when_read"])
        .ok()
        .stderr;
    assert!(said.contains("is damaged and is made anew"), "{said}");
    assert_eq!(fs::read(&cached[1]).unwrap(), damaged);
    same(&bench.path("whole"), &bench.path("damaged"));

    // Killed as soon as a first checkpoint is there, and gone on with.
    let mut child = bench
        .command("killed", "pipeline", &[])
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

    // Samples and the merged file, which knows its pipeline.
    bench
        .host(&[
            "sample", "--run", "whole", "--prompt", "a fox", "--count", "2", "--out", "a.png",
        ])
        .ok();
    let picture = image::open(bench.path("a.png")).unwrap();
    assert!(picture.width() >= 32);
    bench
        .host(&["export", "--run", "whole", "--out", "merged.safetensors"])
        .ok();
    Outcome::of(&mut bench.command("further", "merged.safetensors", &["train.steps=1"])).ok();

    // The adapter for other programs says what it belongs to.
    bench
        .host(&[
            "export", "--run", "whole", "--format", "kohya", "--out", "adapter",
        ])
        .ok();
    let said = header(&bench.path("adapter/lora.safetensors"));
    let is_xl = fixture.contains("sdxl");
    for (key, value) in [
        ("ss_network_module", "networks.lora"),
        ("ss_network_dim", "2"),
        ("ss_network_alpha", "8"),
        (
            "ss_base_model_version",
            if is_xl { "sdxl_base_v1-0" } else { "sd_v1" },
        ),
        ("ss_v2", "False"),
        ("ss_output_name", "whole"),
        ("ss_steps", "4"),
        ("modelspec.sai_model_spec", "1.0.1"),
        ("modelspec.title", "whole"),
        ("modelspec.resolution", "16x16"),
        ("modelspec.prediction_type", "epsilon"),
        (
            "modelspec.architecture",
            if is_xl {
                "stable-diffusion-xl-v1-base/lora"
            } else {
                "stable-diffusion-v1/lora"
            },
        ),
    ] {
        assert_eq!(said[key], value, "{key}");
    }
    let inspected = bench
        .host(&["model", "inspect", "adapter/lora.safetensors"])
        .ok()
        .stdout;
    assert!(inspected.contains("low-rank adapter of"), "{inspected}");

    // Another base is not the one that the adapters belong to.
    let unet = bench.path("pipeline/unet/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&unet).unwrap();
    let end = bytes.len() - 3;
    bytes[end] ^= 1;
    fs::write(&unet, bytes).unwrap();
    bench
        .host(&["sample", "--run", "whole", "--out", "b.png"])
        .fails(1, &["frozen base", "the base model of the run"]);
}

#[test]
fn a_stable_diffusion_pipeline_is_fine_tuned() {
    pipeline_is_fine_tuned("pipeline_sd");
}

#[test]
fn an_sdxl_pipeline_is_fine_tuned() {
    pipeline_is_fine_tuned("pipeline_sdxl");
}

#[test]
fn what_a_pipeline_was_trained_with_can_be_set_otherwise() {
    let bench = Bench::new("pipeline_sd");
    bench
        .train(
            "run",
            &["model.prediction_type=v_prediction", "train.steps=1"],
        )
        .ok();
    let config: Value =
        serde_json::from_slice(&fs::read(bench.path("run/config.json")).unwrap()).unwrap();
    assert_eq!(config["model"]["prediction_type"], "v_prediction");
}

#[test]
fn pipelines_that_cannot_be_trained_say_why() {
    let bench = Bench::new("pipeline_sd");
    bench
        .train("run", &["task.data.resolution=15"])
        .fails(2, &["3×15×15", "multiples of 2", "task.data.resolution"]);
    let index = bench.path("pipeline/model_index.json");
    let text = fs::read_to_string(&index).unwrap();
    let other = text.replace("StableDiffusionPipeline", "FluxPipeline");
    fs::write(&index, other).unwrap();
    bench
        .train("run", &[])
        .fails(2, &["FluxPipeline", "StableDiffusionXLPipeline"]);
    fs::write(&index, text).unwrap();
    fs::remove_file(bench.path("pipeline/vae/config.json")).unwrap();
    bench.train("run", &[]).fails(2, &["vae", "config.json"]);
    assert!(!bench.path("run").exists());
}
