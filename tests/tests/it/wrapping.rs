//! The second stage of super-resolution: a run on the latents of a tiny pipeline, what wraps its decoder, and pictures with it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Outcome, dsl_host, files, metrics, plugin, workspace};

const SETTINGS: &[&str] = &[
    "model.base=pipeline",
    "model.latents.cache=cache",
    "model.trainable={kind: task_modules}",
    "task.data.size=32",
    "task.evaluation.samples=2",
    "objective={kind: dsl, warmup_dsm_steps: 1}",
    "train={steps: 2, batch_size: 2, workers: 1}",
    "validation={every_steps: 2, samples: 2}",
    "sampling={every_steps: 2, count: 2, sampler: {num_inference_steps: 2}}",
];

/// A stage of few and short steps, whose discriminator begins with the third.
const STAGE: &[&str] = &[
    "--samples",
    "3",
    "--batch-size",
    "2",
    "--gan-start",
    "3",
    "--learning-rate",
    "1e-3",
    "--num-inference-steps",
    "2",
];

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A pipeline whose autoencoder has a size between its smallest and its largest: what is wrapped.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixtures = workspace().join("tests/fixtures");
        let copy = |from: PathBuf| {
            for (path, contents) in files(&from) {
                let copy = folder.path().join("pipeline").join(path);
                fs::create_dir_all(copy.parent().unwrap()).unwrap();
                fs::write(copy, contents).unwrap();
            }
        };
        copy(fixtures.join("pipeline_sd/pipeline"));
        copy(fixtures.join("vae_three_sizes"));
        let low = image::RgbImage::from_fn(16, 12, |x, y| {
            image::Rgb([(16 * x) as u8, (21 * y) as u8, (9 * (x + y)) as u8])
        });
        low.save(folder.path().join("low.png")).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn host(&self, arguments: &[&str]) -> Outcome {
        let mut command = dsl_host();
        Outcome::of(command.current_dir(self.folder.path()).args(arguments))
    }

    fn train(&self, run: &str, sets: &[&str]) -> Outcome {
        let mut command = dsl_host();
        command
            .current_dir(self.folder.path())
            .args(["run", "--out", run, "--plugin"])
            .arg(plugin("stablesr"));
        for set in SETTINGS.iter().chain(sets) {
            command.args(["--set", set]);
        }
        Outcome::of(&mut command)
    }

    fn wrap(&self, run: &str, more: &[&str]) -> Outcome {
        self.host(&[&["wrap", "--run", run], STAGE, more].concat())
    }

    /// The picture that a run makes of the low-resolution one.
    fn enlarged(&self, run: &str, more: &[&str]) -> image::RgbImage {
        let arguments = ["sample", "--run", run, "--input", "image=low.png"];
        self.host(&[&arguments, more, &["--out", "out.png"]].concat())
            .ok();
        image::open(self.path("out.png")).unwrap().to_rgb8()
    }
}

fn is_finite(line: &Value, key: &str) -> bool {
    line[key].as_f64().is_some_and(f64::is_finite)
}

fn wrapping(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("wrapping.safetensors")).unwrap()
}

#[test]
fn a_decoder_is_wrapped_goes_on_after_a_stop_and_is_used() {
    let bench = Bench::new();
    bench.train("sr", &[]).ok();
    let plain = bench.enlarged("sr", &[]);
    bench
        .host(&[
            "sample",
            "--run",
            "sr",
            "--wrapping-weight",
            "0.5",
            "--out",
            "x.png",
        ])
        .fails(2, &["wrapping.safetensors", "dsl-host wrap --run"]);

    let told = bench.wrap("sr", &["--steps", "4"]).ok();
    assert!(told.stdout.contains("wrapping.safetensors"), "{told:?}");
    let lines = metrics(&bench.path("sr/wrapping"));
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| is_finite(line, "loss/l1")));
    let adversarial: Vec<bool> = (lines.iter())
        .map(|line| is_finite(line, "loss/patch_discriminator"))
        .collect();
    assert_eq!(adversarial, [false, false, true, true]);

    // Stopped after two steps, and gone on with.
    bench.wrap("sr", &["--steps", "2", "--out", "again"]).ok();
    let half = wrapping(&bench.path("again"));
    bench.wrap("sr", &["--steps", "4", "--out", "again"]).ok();
    let whole = wrapping(&bench.path("again"));
    assert!(half != whole);
    assert!(whole == wrapping(&bench.path("sr/wrapping")));
    assert_eq!(metrics(&bench.path("again")), lines);

    // 0 is the decoder alone, and one half what is used where nothing is said.
    assert!(bench.enlarged("sr", &["--wrapping-weight", "0"]) == plain);
    let used = bench.enlarged("sr", &[]);
    assert!(used != plain);
    assert!(bench.enlarged("sr", &["--wrapping-weight", "0.5"]) == used);
    assert!(bench.enlarged("sr", &["--wrapping-weight", "1"]) != used);
}

#[test]
fn a_wrapped_decoder_works_in_tiles() {
    let bench = Bench::new();
    bench.train("sr", &["model.latents.vae_tiling=true"]).ok();
    bench.wrap("sr", &["--steps", "1"]).ok();
    // 64 × 48 pixels, in tiles of 32.
    let [plain, wrapped] = ["0", "1"].map(|w| bench.enlarged("sr", &["--wrapping-weight", w]));
    assert_eq!(plain.dimensions(), wrapped.dimensions());
    assert!(plain != wrapped);
}

#[test]
fn an_autoencoder_of_two_sizes_has_nothing_to_wrap() {
    let bench = Bench::new();
    let vae = workspace().join("tests/fixtures/pipeline_sd/pipeline/vae");
    for (path, contents) in files(&vae) {
        fs::write(bench.path("pipeline/vae").join(path), contents).unwrap();
    }
    bench.train("sr", &[]).ok();
    bench
        .wrap("sr", &["--steps", "1"])
        .fails(1, &["block_out_channels", "between its first and its last"]);
}
