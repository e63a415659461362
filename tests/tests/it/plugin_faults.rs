//! Plugins that go wrong in the middle of a run: it ends with a message that names plugin and call, and everything up to
//! the last checkpoint is as it would have been.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use dsl_test_support::says;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Outcome, config, dsl_host, metrics, plugin};

/// Settings with which a step takes a millisecond. The plugin is right for the first 12 batches: 9 steps at least are
/// then saved, since two batches are read ahead and one is being trained on.
const SETTINGS: &str = "
task: {after: 12}
model:
  base: none
  denoiser: {kind: mlp, features: 2, hidden_sizes: [16, 16], time_embedding_dim: 8}
objective: {kind: dsm}
train: {steps: 20, batch_size: 4}
checkpoint: {every_steps: 1, keep: 2}
logging: {every_steps: 1}
validation: {every_steps: null, samples: 4}
sampling: {every_steps: null, count: 4, sampler: {num_inference_steps: 2}}
";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        config(folder.path(), "run.yaml", SETTINGS);
        Self(folder)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A run with a fault, which comes from the environment: resumed without it, the run is a right one.
    fn start(&self, name: &str, fault: &str) -> Command {
        let mut command = dsl_host();
        command
            .args(["run", "--plugin"])
            .arg(plugin("misbehave"))
            .arg("--config")
            .arg(self.out("run.yaml"))
            .arg("--out")
            .arg(self.out(name))
            .env("DSL_MISBEHAVE", fault);
        command
    }
}

/// The lines of a run's metrics, without those that measure time and memory.
fn lines(run: &Path) -> Vec<Value> {
    let mut lines = metrics(run);
    for line in &mut lines {
        let line = line.as_object_mut().unwrap();
        line.retain(|key, _| !["images_per_second", "peak_memory_bytes"].contains(&key.as_str()));
    }
    lines
}

/// Steps that are saved.
fn saved(run: &Path) -> Vec<u64> {
    let mut steps: Vec<u64> = fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .filter_map(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_str()?
                .strip_prefix("step-")?
                .parse()
                .ok()
        })
        .collect();
    steps.sort_unstable();
    steps
}

/// Resumes a run that a plugin has ended, without the fault: nothing differs from a run without faults.
fn goes_on(place: &Place, name: &str, whole: &[Value]) {
    let run = place.out(name);
    let steps = saved(&run);
    assert!(
        steps.last().is_some_and(|&step| step >= 9),
        "{name}: {steps:?}"
    );
    let mut command = dsl_host();
    let said = Outcome::of(command.args(["run", "--resume"]).arg(&run))
        .ok()
        .stderr;
    assert!(!said.contains("damaged"), "{name}: {said}");
    assert_eq!(lines(&run), whole, "{name}");
}

#[test]
fn a_run_survives_its_plugin_up_to_the_last_checkpoint() {
    let place = Place::new();
    Outcome::of(&mut place.start("whole", "none")).ok();
    let whole = lines(&place.out("whole"));
    assert_eq!(whole.len(), 20);
    // The host survives and says what happened.
    for (fault, parts) in [
        (
            "panic-in-batch",
            &["the plugin panicked at ", "told to panic at sample"][..],
        ),
        (
            "panic-in-parallel",
            &["the plugin panicked at ", "told to panic in piece 5"],
        ),
        (
            "error-in-batch",
            &["shard 7 is gone", "hint: bring it back"],
        ),
        (
            "wrong-shape",
            &["column `point`: expected shape [4, 2], found shape [4, 3]"],
        ),
        ("wrong-dtype", &["column `point`: expected f32, found i64"]),
        ("missing-column", &["column `point`", "a batch without it"]),
    ] {
        let said = Outcome::of(&mut place.start(fault, fault));
        let said = said.fails(
            1,
            &[
                "plugin `misbehave`, batch of dataset `train`",
                "last good checkpoint",
            ],
        );
        says(&said.stderr, parts);
        goes_on(&place, fault, &whole);
    }
}

#[cfg(unix)]
#[test]
fn a_plugin_that_ends_the_program_is_named() {
    let place = Place::new();
    Outcome::of(&mut place.start("whole", "none")).ok();
    let whole = lines(&place.out("whole"));
    for (fault, way) in [
        ("abort-in-batch", "SIGABRT"),
        ("abort-in-parallel", "SIGABRT"),
        ("exit-in-batch", "it called `exit`"),
        ("stack-overflow", "SIGSEGV"),
        ("huge-allocation", "SIGABRT"),
    ] {
        let said = Outcome::of(&mut place.start(fault, fault));
        assert_ne!(said.code, Some(0), "{fault}: {}", said.stderr);
        let message =
            "error: plugin `misbehave` ended the program in the call `batch of dataset `train``";
        says(&said.stderr, &[message, way, "hint: ", "--resume"]);
        goes_on(&place, fault, &whole);
    }
}

#[cfg(unix)]
#[test]
fn a_plugin_that_hangs_can_be_stopped_and_the_run_goes_on() {
    let place = Place::new();
    Outcome::of(&mut place.start("whole", "none")).ok();
    let whole = lines(&place.out("whole"));
    let run = place.out("hang");
    let mut child = place
        .start("hang", "hang-in-batch")
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !saved_at_least(&run, 10) {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "{:?}",
            child.try_wait()
        );
        thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..2 {
        let signal = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(signal.unwrap().success());
        thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    goes_on(&place, "hang", &whole);
}

fn saved_at_least(run: &Path, step: u64) -> bool {
    run.join("checkpoints").is_dir() && saved(run).last().is_some_and(|&last| last >= step)
}

#[test]
fn faults_before_the_first_step_name_the_call_and_leave_nothing() {
    let place = Place::new();
    for (fault, parts) in [
        (
            "panic-in-schema",
            ["plugin `misbehave`, config_schema", "told to panic"],
        ),
        (
            "panic-in-host-defaults",
            ["plugin `misbehave`, host_defaults", "told to panic"],
        ),
        (
            "panic-in-open",
            ["plugin `misbehave`, open", "told to panic"],
        ),
        (
            "panic-in-columns",
            ["plugin `misbehave`, dataset `train`", "told to panic"],
        ),
        (
            "panic-in-requirements",
            [
                "plugin `misbehave`, requirements of the evaluator",
                "told to panic",
            ],
        ),
        (
            "no-target",
            [
                "plugin `misbehave`, columns of dataset `train`",
                "`nowhere`",
            ],
        ),
        ("empty", ["the split `train`", "is empty"]),
    ] {
        let said = Outcome::of(&mut place.start("out", fault));
        said.fails(1, &parts);
        assert!(!place.out("out").exists(), "{fault}");
    }
}
