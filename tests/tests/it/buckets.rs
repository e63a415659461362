//! Training on pictures of several aspect ratios.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{Outcome, SMALL_T2I, config, dsl_host, files, metrics, plugin, workspace};

/// 5 squares, 4 wide pictures and 2 high ones, with captions.
fn pictures(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (number, (width, height)) in [
        (20, 20),
        (50, 20),
        (20, 20),
        (16, 40),
        (51, 20),
        (20, 20),
        (20, 20),
        (55, 20),
        (18, 40),
        (50, 20),
        (20, 20),
    ]
    .into_iter()
    .enumerate()
    {
        let picture = image::RgbImage::from_fn(width, height, |x, y| {
            let shade = |channel: u32| (23 * number as u32 + 5 * channel * x + 3 * y) as u8;
            image::Rgb([shade(1), shade(2), shade(3)])
        });
        picture
            .save(folder.join(format!("{number:02}.png")))
            .unwrap();
        fs::write(
            folder.join(format!("{number:02}.txt")),
            format!("picture {number}"),
        )
        .unwrap();
    }
}

struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for split in ["train", "test"] {
            pictures(&folder.path().join("data").join(split));
        }
        config(folder.path(), "small.yaml", SMALL_T2I);
        Self(folder)
    }

    fn run(&self, run: &str, sets: &[&str]) -> Outcome {
        let mut command = dsl_host();
        command
            .current_dir(self.0.path())
            .args(["run", "--config", "small.yaml", "--out", run, "--plugin"])
            .arg(plugin("t2i"));
        for set in [
            "task.data.path=data",
            "task.data.resolution=16",
            "task.data.buckets={min: 8, max: 32, step: 8}",
            "logging.every_steps=1",
            "checkpoint={every_steps: 3, keep: 9}",
            "validation={every_steps: 4, samples: 11}",
            "train={steps: 12, batch_size: 4, workers: 2, gradient_accumulation_steps: 1}",
            "objective.margin.max_samples=11",
        ]
        .iter()
        .chain(sets)
        {
            command.args(["--set", set]);
        }
        Outcome::of(&mut command)
    }

    fn numbers(&self, run: &str) -> Vec<Value> {
        let mut lines = metrics(&self.0.path().join(run));
        for line in &mut lines {
            let line = line.as_object_mut().unwrap();
            for clock in [
                "images_per_second",
                "data_wait_fraction",
                "peak_memory_bytes",
            ] {
                line.remove(clock);
            }
        }
        lines
    }

    fn weights(&self, run: &str) -> Vec<u8> {
        let last = self.0.path().join(run).join("checkpoints/step-00000012");
        let all = files(&last).into_iter();
        let weights: Vec<u8> = all
            .filter(|(name, _)| {
                let name = name.to_string_lossy();
                name.ends_with(".bpk") && !name.ends_with("_optimizer.bpk")
            })
            .flat_map(|(_, bytes)| bytes)
            .collect();
        assert!(!weights.is_empty());
        weights
    }
}

#[test]
fn a_run_trains_validates_draws_and_resumes_exactly() {
    let bench = Bench::new();
    let said = bench.run("whole", &[]).ok().stderr;
    // 16 × 16, 24 × 8 and 8 × 24, by pictures.
    assert!(said.contains("16×16: 5, 24×8: 4, 8×24: 2"), "{said}");
    let whole = bench.numbers("whole");
    for line in &whole {
        if let Some(loss) = line.get("loss/generator") {
            assert!(loss.as_f64().unwrap() > 0.0, "{line}");
        }
    }
    // 5 squares are two batches, 4 wide pictures one and 2 high ones one: 4 steps are an epoch.
    let last = whole.last().unwrap();
    assert_eq!(last["epoch"].as_f64(), Some(3.0), "{last}");
    assert!(last["validation/err/generator"].as_f64().unwrap() > 0.0);
    assert!(last["validation/conditioning_gain"].as_f64().unwrap() > 0.0);
    // Grids are of the configured resolution.
    let grid = image::open(bench.0.path().join("whole/samples/step-00000012.png")).unwrap();
    assert!(
        grid.width() >= 2 * 16 && grid.width().is_multiple_of(2),
        "{}",
        grid.width()
    );

    let copied = bench.0.path().join("stopped");
    for (name, bytes) in files(&bench.0.path().join("whole")) {
        let path = copied.join(&name);
        // As it was when a run was killed after its 6th step.
        let later = ["step-00000009", "step-00000012"];
        if later
            .iter()
            .any(|step| name.to_string_lossy().contains(step))
        {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let mut command = dsl_host();
    command
        .current_dir(bench.0.path())
        .args(["run", "--resume", "stopped"]);
    Outcome::of(&mut command).ok();
    assert_eq!(bench.numbers("stopped"), whole);
    assert!(bench.weights("stopped") == bench.weights("whole"));
}

#[test]
fn sides_that_do_not_halve_evenly_are_trained_on_and_a_step_has_to_fit_the_resolution() {
    let bench = Bench::new();
    bench
        .run(
            "odd",
            &[
                "task.data.buckets={min: 5, max: 35, step: 5}",
                "task.data.resolution=15",
            ],
        )
        .ok();
    bench.run("step", &["task.data.buckets.step=64"]).fails(
        2,
        &[
            "`task.data.resolution` is 16",
            "`task.data.buckets.step`, which is 64",
        ],
    );
}

/// Latents of several shapes, and what SDXL is told of sizes: a run on a pipeline goes on exactly, its pictures encoded once.
#[test]
fn a_pipeline_trains_on_latents_of_several_shapes() {
    let bench = Bench::new();
    let root = std::env::var_os("DSL_FIXTURES")
        .map_or_else(|| workspace().join("tests/fixtures"), PathBuf::from);
    for (path, contents) in files(&root.join("pipeline_sdxl/pipeline")) {
        let copy = bench.0.path().join("pipeline").join(path);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::write(copy, contents).unwrap();
    }
    let sets = [
        "model={base: pipeline, denoiser: null, text_encoder: null, trainable: {kind: lora, rank: 2}}",
        "model.latents.cache=cache",
        "train.steps=8",
        "task.data.resize=random_crop",
    ];
    bench.run("whole", &sets).ok();
    let cached = files(&bench.0.path().join("cache"));
    bench.run("again", &sets).ok();
    assert_eq!(bench.numbers("again"), bench.numbers("whole"));
    assert!(files(&bench.0.path().join("cache")) == cached && cached.len() > 11);
    let last = bench.numbers("whole").pop().unwrap();
    assert_eq!(last["epoch"].as_f64(), Some(2.0), "{last}");
    assert!(last["validation/err/generator"].as_f64().unwrap() > 0.0);
}
