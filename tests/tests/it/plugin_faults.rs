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
        let measured = [
            "images_per_second",
            "data_wait_fraction",
            "peak_memory_bytes",
        ];
        line.retain(|key, _| !measured.contains(&key.as_str()));
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

/// On threads of its own a plugin is in no call, and still named.
#[cfg(unix)]
#[test]
fn a_plugin_that_ends_the_program_on_a_thread_of_its_own_is_named() {
    let place = Place::new();
    Outcome::of(&mut place.start("whole", "none")).ok();
    let whole = lines(&place.out("whole"));
    let own =
        "ended the program on a thread of its own, during the call `batch of dataset `train``";
    for (fault, way) in [
        ("abort-on-own-thread", "SIGABRT"),
        ("exit-on-own-thread", "it called `exit`"),
    ] {
        let said = Outcome::of(&mut place.start(fault, fault));
        assert_ne!(said.code, Some(0), "{fault}: {}", said.stderr);
        for part in ["error: plugin `misbehave` ", own, way, "--resume"] {
            assert!(said.stderr.contains(part), "{fault}: {}", said.stderr);
        }
        goes_on(&place, fault, &whole);
    }
    // Whether or not a call is in progress just then.
    let mut command = place.start("later", "exit-later");
    let said = Outcome::of(command.args(["--set", "train.steps=1000000"]));
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let named = "error: plugin `misbehave` ended the program on a thread of its own";
    assert!(said.stderr.contains(named), "{}", said.stderr);
}

/// A run with the plugin that is made without the SDK.
fn rough(place: &Place, fault: &str) -> Outcome {
    let mut command = dsl_host();
    command
        .args(["run", "--plugin"])
        .arg(plugin("rough"))
        .arg("--config")
        .arg(place.out("run.yaml"))
        .args(["--set", "task={}", "--out"])
        .arg(place.out(fault))
        .env("DSL_ROUGH", fault);
    Outcome::of(&mut command)
}

#[cfg(unix)]
#[test]
fn faults_below_the_sdk_are_named_in_a_run() {
    let place = Place::new();
    config(
        place.0.path(),
        "run.yaml",
        &SETTINGS.replace("task: {after: 12}", ""),
    );
    let batch = "`batch of dataset `train``";
    let release = "`release of a batch of dataset `train``";
    for (fault, parts) in [
        ("no-memory", [batch, "SIGSEGV"]),
        ("wrong-release", [release, "SIGABRT"]),
        ("text-abort", [release, "SIGABRT"]),
        ("panic-in-batch", [batch, "or a panic was not caught"]),
        (
            "exit-at-load",
            ["`loading the library`", "it called `exit`"],
        ),
    ] {
        let said = rough(&place, fault);
        assert_ne!(said.code, Some(0), "{fault}: {}", said.stderr);
        for part in parts.iter().chain(&["ended the program in the call"]) {
            assert!(said.stderr.contains(part), "{fault}: {}", said.stderr);
        }
    }
    rough(&place, "null-pointer").fails(1, &["plugin `rough`, ", "a null pointer to "]);
    rough(&place, "unknown-dtype").fails(1, &["plugin `rough`, ", "data type number 99"]);
    // What is left for the end of the process does not spoil a run that is done.
    for fault in ["abort-at-exit", "hang-at-exit"] {
        rough(&place, fault).ok();
        assert_eq!(lines(&place.out(fault)).len(), 20);
    }
}

#[test]
fn plugins_of_other_interfaces_are_refused_in_a_run() {
    let place = Place::new();
    let run = |path: &Path| {
        let mut command = dsl_host();
        command.args(["run", "--plugin"]).arg(path).arg("--out");
        Outcome::of(command.arg(place.out("out")))
    };
    run(&plugin("other_abi")).fails(
        1,
        &[
            "another version of the plugin interface",
            "hint: build the plugin again",
        ],
    );
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    run(&crate::support::workspace().join("tests/fixtures/plugins/draft-0.1.so")).fails(
        1,
        &[
            "incompatible package versions: expected 1.0.0, found 0.1.0",
            "hint: build the plugin again",
        ],
    );
    assert!(!place.out("out").exists());
}

/// A library of another system version: it asks for a function that is nowhere.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_library_with_a_symbol_that_is_nowhere_is_refused_before_it_is_used() {
    let place = Place::new();
    let mut bytes = fs::read(plugin("mixture")).unwrap();
    let symbol = b"\0pthread_setspecific\0";
    let other = b"\0pthread_satspecific\0";
    let at = (bytes.windows(symbol.len()))
        .position(|part| part == symbol)
        .expect("a function of the C library");
    bytes[at..at + other.len()].copy_from_slice(other);
    let file = place.out("libmissing.so");
    fs::write(&file, bytes).unwrap();
    let mut command = dsl_host();
    command.args(["run", "--dry-run", "--plugin"]).arg(&file);
    Outcome::of(&mut command).fails(
        1,
        &[
            "cannot load plugin ",
            "pthread_satspecific",
            "hint: build the plugin on this system",
        ],
    );
}

#[test]
fn a_run_goes_where_it_was_asked_to_whatever_folder_the_plugin_goes_to() {
    let place = Place::new();
    let mut command = place.start("unused", "changes-folder");
    let out = place.out("work");
    fs::create_dir(&out).unwrap();
    command.current_dir(&out).args(["--set", "train.steps=2"]);
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut command = dsl_host();
    command
        .current_dir(&out)
        .env("DSL_MISBEHAVE", "changes-folder");
    command.args(arguments.iter().map(|argument| {
        if argument == place.out("unused").as_os_str() {
            "here".into()
        } else {
            argument.clone()
        }
    }));
    Outcome::of(&mut command).ok();
    assert!(out.join("here/metrics.jsonl").is_file());
}

/// Reads a child's stderr until a text comes.
fn wait_for(child: &mut std::process::Child, text: &str, limit: Duration) {
    use std::io::{BufRead, BufReader};
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let begun = Instant::now();
    let mut said = String::new();
    while !said.contains(text) {
        let left = limit.saturating_sub(begun.elapsed());
        let line = told.recv_timeout(left);
        let line =
            line.unwrap_or_else(|_| panic!("`{text}` did not come within {limit:?}: {said}"));
        said.push_str(&line);
        said.push('\n');
    }
}

#[cfg(unix)]
fn interrupt_twice(child: &std::process::Child) {
    for _ in 0..2 {
        let signal = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(signal.unwrap().success());
        thread::sleep(Duration::from_millis(300));
    }
}

#[cfg(unix)]
#[test]
fn work_under_a_lock_does_not_stop_a_run() {
    let place = Place::new();
    let mut command = place.start("out", "works-under-lock");
    let mut child = command
        .env("RAYON_NUM_THREADS", "8")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if begun.elapsed() > Duration::from_secs(90) {
            child.kill().unwrap();
            panic!("a deadlock");
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, Some(0));
}

#[cfg(unix)]
#[test]
fn progress_of_a_plugin_is_shown() {
    let place = Place::new();
    let mut child = place
        .start("out", "endless")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "misbehave: waiting for a stop";
    wait_for(&mut child, text, Duration::from_secs(60));
    interrupt_twice(&child);
    child.wait().unwrap();
}

/// The services of the program itself.
#[test]
fn a_plugin_gets_threads_and_a_folder_from_the_program() {
    let place = Place::new();
    let mut command = place.start("out", "tells-services");
    command.arg("-v").env("XDG_CACHE_HOME", place.out("cache"));
    command.env("RAYON_NUM_THREADS", "3");
    let said = Outcome::of(&mut command)
        .fails(1, &["the host answered"])
        .stderr;
    let folder = place.out("cache/dsl/plugins/misbehave");
    for part in [
        "threads 3",
        "squares Ok([0, 1, 4, 9, 16])",
        &format!("cache Ok(\"{} true\")", folder.display()),
    ] {
        assert!(said.contains(part), "`{part}` is not in {said}");
    }
    assert!(folder.join("misbehave.txt").is_file());
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
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // It is named after 30 s.
    let named = "plugin `misbehave` has not come back from `batch of dataset `train`` for 3";
    wait_for(&mut child, named, Duration::from_secs(120));
    assert!(saved(&run).last().is_some_and(|&last| last >= 9));
    interrupt_twice(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    goes_on(&place, "hang", &whole);
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
