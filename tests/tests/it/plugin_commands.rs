//! `dsl-host plugin`, as an author uses it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use dsl_test_support::says;
use serde_json::Value;

use crate::support::{Outcome, SMALL_MIXTURE, config, dsl_host, plugin, program, run, workspace};

fn json(outcome: &Outcome) -> Value {
    serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", outcome.stdout))
}

#[test]
fn check_answers_with_text_json_and_exit_code() {
    let path = plugin("mixture");
    let path = path.to_str().unwrap();
    let told = run(["plugin", "check", path, "--filter", "batch"])
        .ok()
        .stdout;
    says(
        &told,
        &[
            "passed   batch-is-concatenation",
            "conforms; ",
            "0 failed, 0 crashed",
        ],
    );
    let report = json(&run(["plugin", "check", path, "--json", "--filter", "manifest"]).ok());
    assert_eq!(report["conforms"], true);
    assert!(
        report["cases"]
            .as_array()
            .unwrap()
            .iter()
            .all(|case| case["status"] == "passed")
    );
    assert_eq!(report["sha256"].as_str().unwrap().len(), 64);

    let broken = plugin("misbehave");
    let outcome = Outcome::of(
        dsl_host()
            .args(["plugin", "check", "--json", "--filter", "columns-agree"])
            .arg(broken)
            .env("DSL_MISBEHAVE", "abort-in-batch"),
    );
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(1), ""));
    let report = json(&outcome);
    assert_eq!(report["counts"]["crashed"], 1);
    let case = &report["cases"][0];
    assert_eq!(case["status"], "crashed");
    assert!(
        case["message"]
            .as_str()
            .unwrap()
            .contains("`misbehave` ended the program"),
        "{case}"
    );

    let list = run(["plugin", "check", "--list"]).ok().stdout;
    assert!(list.lines().count() >= 30, "{list}");
    run(["plugin", "check", path, "--filter", "no such case"])
        .fails(2, &["no case has `no such case`"]);
    run(["plugin", "check", "nothing.so"]).fails(2, &["no plugin `nothing.so` found"]);
    run(["plugin", "check", path, "--set", "task.components"]).fails(2, &["has no `=`"]);
}

/// Ctrl-C ends a check with all that the plugin has started.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_check_leaves_no_process_behind() {
    let seconds = format!("61.{}", std::process::id());
    let is_there = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        (processes)
            .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
            .any(|line| line == format!("sleep\0{seconds}\0").as_bytes())
    };
    let wait_until = |wanted: bool| {
        let begun = Instant::now();
        while is_there() != wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "{wanted}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    let mut command = dsl_host();
    command
        .args([
            "plugin",
            "check",
            "misbehave",
            "--filter",
            "default-config-opens",
        ])
        .env("DSL_MISBEHAVE", "leaves-process")
        .env("DSL_MISBEHAVE_SLEEP", &seconds);
    let mut child = command.spawn().unwrap();
    wait_until(true);
    let signal = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(signal.unwrap().success());
    assert!(!child.wait().unwrap().success());
    wait_until(false);
}

#[test]
fn inspect_tells_what_a_plugin_is_also_when_it_crashes() {
    let told = run(["plugin", "inspect", "t2i"]).ok().stdout;
    says(
        &told,
        &[
            "Split `train`",
            "cross_attention from `caption`",
            "licence",
            "data.resolution = ",
        ],
    );
    let found = json(
        &run([
            "plugin",
            "inspect",
            "mixture",
            "--json",
            "--set",
            "task.test_points=7",
        ])
        .ok(),
    );
    assert_eq!(found["manifest"]["id"], "mixture");
    assert_eq!(found["splits"][1]["samples"], 7);
    assert_eq!(
        found["evaluator"]["metrics"][0]["direction"],
        "lower_is_better"
    );

    let outcome = Outcome::of(
        dsl_host()
            .args(["plugin", "inspect", "misbehave"])
            .env("DSL_MISBEHAVE", "abort-in-open"),
    );
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    says(
        &outcome.stdout,
        &[
            "misbehave 0.1.0",
            "Problem: the plugin `misbehave` ended the program in the call `open`",
        ],
    );
}

#[test]
fn inspect_tells_json_of_a_plugin_that_crashes_or_hangs() {
    let inspect = |fault: &str| {
        let mut command = dsl_host();
        command.args([
            "plugin",
            "inspect",
            "misbehave",
            "--json",
            "--time-limit",
            "3",
        ]);
        let outcome = Outcome::of(command.env("DSL_MISBEHAVE", fault));
        assert_eq!(outcome.code, Some(1), "{fault}: {}", outcome.stderr);
        json(&outcome)
    };
    let found = inspect("abort-in-open");
    assert_eq!(found["manifest"]["id"], "misbehave");
    assert!(
        found["problem"]
            .as_str()
            .unwrap()
            .contains("in the call `open`")
    );
    assert!(found["help"].is_string() && found["splits"] == Value::Array(vec![]));
    let found = inspect("hang-in-open");
    let problem = found["problem"].as_str().unwrap();
    assert!(
        problem.contains("the call `open` did not come back within 3 s"),
        "{problem}"
    );
    assert_eq!(found["manifest"]["id"], "misbehave");
}

#[test]
fn list_shows_what_a_bare_name_finds() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(plugin("mixture"), folder.path().join("libmixture.so")).unwrap();
    fs::write(folder.path().join("notes.so"), "words").unwrap();
    let list = |arguments: &[&str]| {
        let mut command = dsl_host();
        command.args(["plugin", "list"]).args(arguments);
        Outcome::of(command.env("DSL_PLUGIN_PATH", folder.path())).ok()
    };
    let found = json(&list(&["--json"]));
    assert_eq!(found["format"], 1);
    let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["format", "plugins"]);
    let found = found["plugins"].as_array().unwrap();
    let keys: Vec<&String> = found[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "path",
            "place",
            "shadowed",
            "id",
            "version",
            "description",
            "problem"
        ]
    );
    assert_eq!(found[0]["id"], "mixture");
    assert_eq!(
        (&found[0]["place"], &found[0]["shadowed"]),
        (&"DSL_PLUGIN_PATH".into(), &false.into())
    );
    let beside: Vec<_> = found
        .iter()
        .filter(|entry| entry["id"] == "mixture")
        .collect();
    assert_eq!((beside.len(), &beside[1]["shadowed"]), (2, &true.into()));
    let other = found
        .iter()
        .find(|entry| entry["path"].as_str().unwrap().contains("other_abi"));
    assert!(
        other.unwrap()["problem"]
            .as_str()
            .unwrap()
            .contains("another version")
    );
    assert!(list(&[]).stdout.contains("shadowed"));
}

/// A folder and a file with names that are no text.
#[cfg(unix)]
#[test]
fn any_path_will_do() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("my plugins äß");
    fs::create_dir(&odd).unwrap();
    let file = odd.join(OsStr::from_bytes(b"libodd \xff.so"));
    fs::copy(plugin("mixture"), &file).unwrap();
    let mut command = dsl_host();
    command
        .args(["plugin", "list"])
        .env("DSL_PLUGIN_PATH", &odd);
    let told = Outcome::of(&mut command).ok().stdout;
    assert!(
        told.lines().next().unwrap().starts_with("mixture  "),
        "{told}"
    );
    let plain = odd.join("libplain task.so");
    fs::copy(&file, &plain).unwrap();
    for arguments in [
        &["plugin", "inspect"][..],
        &["plugin", "check", "--filter", "loads"],
        &["run", "--dry-run", "--plugin"],
    ] {
        Outcome::of(dsl_host().args(arguments).arg(&plain)).ok();
    }
}

#[test]
fn settings_of_a_question_are_the_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let inspect = |arguments: &[&str]| {
        let mut command = dsl_host();
        command
            .args(["plugin", "inspect", "mixture", "--json"])
            .args(arguments);
        Outcome::of(&mut command)
    };
    let hint = "below `task`";
    inspect(&["--set", "nope.x=1"]).fails(2, &["`--set nope.x=1` is not about the task", hint]);
    inspect(&["--set", "test_points=7"]).fails(2, &["is not about the task", hint]);
    let file = config(folder.path(), "odd.yaml", "test_points: 7\n");
    inspect(&["--config", file.to_str().unwrap()]).fails(2, &["unknown key `test_points`", hint]);
    // The file of a run will do.
    let file = config(
        folder.path(),
        "run.yaml",
        "task: {test_points: 7}\ntrain: {steps: 3}\n",
    );
    let found = json(&inspect(&["--config", file.to_str().unwrap()]).ok());
    assert_eq!(found["splits"][1]["samples"], 7);
    // Null is a value, which this key does not take.
    let outcome = inspect(&["--set", "task.test_points=null"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stdout);
    assert!(
        json(&outcome)["problem"]
            .as_str()
            .unwrap()
            .contains("test_points")
    );
    for arguments in [["--time-limit", "0"], ["--memory-limit", "0"]] {
        let mut command = dsl_host();
        command.args(["plugin", "check", "mixture"]).args(arguments);
        Outcome::of(&mut command).fails(2, &["is not in "]);
    }
}

/// A folder with a lock file and plugins of its own.
struct Locked(tempfile::TempDir);

impl Locked {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(plugin("mixture"), folder.path().join("libmixture.so")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = dsl_host();
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(arguments))
    }

    /// A byte more changes nothing but the hash.
    fn change(&self, name: &str) {
        let path = self.path(name);
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(0);
        fs::write(path, bytes).unwrap();
    }
}

const DRY: [&str; 4] = ["run", "--dry-run", "--plugin", "mixture.so"];

#[test]
fn a_lock_file_refuses_what_has_changed() {
    let here = Locked::new();
    here.run(&DRY).ok();
    let told = here.run(&["plugin", "lock", "mixture.so"]).ok().stdout;
    assert!(told.trim_end().ends_with("/libmixture.so"), "{told}");
    here.run(&DRY).ok();
    let t2i = plugin("t2i");
    here.run(&["run", "--dry-run", "--plugin", t2i.to_str().unwrap()])
        .fails(2, &["is refused", "does not name it", "plugin lock"]);
    config(here.0.path(), "run.yaml", SMALL_MIXTURE);
    here.run(&[
        "run",
        "--plugin",
        "mixture.so",
        "--config",
        "run.yaml",
        "--out",
        "out",
    ])
    .ok();
    here.change("libmixture.so");
    for arguments in [
        &DRY[..],
        &["plugin", "inspect", "mixture.so"],
        &["plugin", "check", "mixture.so"],
        &["schema", "--plugin", "mixture.so"],
        &["run", "--resume", "out"],
    ] {
        here.run(arguments).fails(
            2,
            &[
                "mixture.so is refused",
                "it has changed since it was locked",
                "hint: ",
            ],
        );
    }
    // A run draws its samples by itself.
    here.run(&[
        "sample", "--run", "out", "--count", "2", "--out", "grid.png",
    ])
    .ok();
    let mut list = here.command(&["plugin", "list", "--json"]);
    let list = json(&Outcome::of(list.env("DSL_PLUGIN_PATH", here.0.path())).ok());
    let problem = list["plugins"][0]["problem"].as_str().unwrap().to_owned();
    assert!(problem.contains("has changed"), "{problem}");
    here.run(&["plugin", "lock", "mixture.so"]).ok();
    here.run(&DRY).ok();
    fs::write(here.path("dsl-plugins.lock"), "plugins = 7").unwrap();
    for arguments in [
        &DRY[..],
        &["plugin", "list"],
        &["plugin", "inspect", "mixture.so"],
    ] {
        here.run(arguments).fails(2, &["is no lock file", "hint: "]);
    }
}

#[test]
fn the_lock_file_in_force_is_the_one_that_is_written() {
    let here = Locked::new();
    let with = |arguments: &[&str], lock: &str| {
        Outcome::of(here.command(arguments).env("DSL_PLUGIN_LOCK", lock))
    };
    for arguments in [
        &DRY[..],
        &["schema", "--plugin", "mixture.so"],
        &["plugin", "list"],
    ] {
        with(arguments, "nope.lock").fails(2, &["cannot read the lock file nope.lock", "hint: "]);
    }
    with(&["plugin", "lock", "mixture.so"], "my.lock").ok();
    assert!(here.path("my.lock").is_file() && !here.path("dsl-plugins.lock").exists());
    with(&DRY, "my.lock").ok();
    here.change("libmixture.so");
    with(&DRY, "my.lock").fails(2, &["plugin lock --file my.lock /"]);
    here.run(&["plugin", "lock", "--file", "third.lock", "mixture.so"])
        .ok();
    with(&DRY, "third.lock").ok();
}

/// What is locked is a content, wherever it lies and whatever it is called.
#[cfg(unix)]
#[test]
fn links_and_files_of_one_name_are_locked_as_what_they_are() {
    let here = Locked::new();
    std::os::unix::fs::symlink("libmixture.so", here.path("current.so")).unwrap();
    here.run(&["plugin", "lock", "./current.so"]).ok();
    for name in ["current.so", "mixture.so"] {
        here.run(&["run", "--dry-run", "--plugin", name]).ok();
        here.run(&["plugin", "inspect", name]).ok();
    }
    fs::create_dir(here.path("other folder")).unwrap();
    fs::copy(plugin("misbehave"), here.path("other folder/mixture.so")).unwrap();
    let other = "other folder/mixture.so";
    here.run(&["plugin", "inspect", other])
        .fails(2, &["does not name it", "plugin lock '/"]);
    here.run(&["plugin", "lock", "mixture.so", other]).ok();
    here.run(&["plugin", "inspect", other]).ok();
    here.run(&DRY).ok();
}

#[test]
fn new_refuses_names_and_folders_that_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("file"), "").unwrap();
    let new = |arguments: &[&str]| {
        let mut command = dsl_host();
        Outcome::of(
            command
                .current_dir(folder.path())
                .args(["plugin", "new"])
                .args(arguments),
        )
    };
    new(&["My-Task"]).fails(2, &["`My-Task` cannot be the name of a plugin", "hint: "]);
    new(&["match"]).fails(2, &["has a meaning already"]);
    new(&["taken"]).fails(2, &["not an empty folder"]);
    new(&["task", "--sdk", "nowhere"]).fails(2, &["there is no SDK in nowhere", "hint: "]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Builds a crate outside the workspace, with what the workspace has locked and downloaded.
fn build(folder: &Path, arguments: &[&str]) {
    let lock = folder.join("Cargo.lock");
    if !lock.exists() {
        fs::copy(workspace().join("Cargo.lock"), lock).unwrap();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(arguments).current_dir(folder);
    // One folder for all crates of this kind, which stays: the SDK is built once.
    cargo.env("CARGO_TARGET_DIR", target());
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn target() -> PathBuf {
    let profile = program().parent().unwrap().to_owned();
    profile.parent().unwrap().join("out-of-tree")
}

/// What an author does, in a fresh folder. The name is one that the SDK has, too.
#[test]
fn a_new_plugin_builds_conforms_and_trains() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = dsl_host();
    command
        .current_dir(folder.path())
        .args(["plugin", "new", "task"]);
    let told = Outcome::of(&mut command).ok().stdout;
    assert!(
        told.contains("dsl-host plugin check target/release/libtask.so"),
        "{told}"
    );
    let crate_folder = folder.path().join("task");
    build(&crate_folder, &["build", "--offline"]);
    let library = target().join("debug/libtask.so");
    let library = library.to_str().unwrap();

    let report = json(&run(["plugin", "check", "--json", library]).ok());
    assert_eq!(report["conforms"], true);
    for count in ["failed", "crashed", "warning"] {
        assert_eq!(report["counts"][count], 0, "{report:#}");
    }
    // What a task need not offer: inputs of a user's own, pictures, new words, buckets.
    for case in report["cases"].as_array().unwrap() {
        let name = case["case"].as_str().unwrap();
        let optional = [
            "conditions-",
            "picture-",
            "learned-tokens-",
            "buckets-",
            "mixed-buckets-",
        ];
        let may_skip = optional.iter().any(|start| name.starts_with(start));
        assert!(may_skip || case["status"] == "passed", "{case:#}");
    }
    let out = folder.path().join("run");
    run([
        "run",
        "--plugin",
        library,
        "--out",
        out.to_str().unwrap(),
        "--set",
        "train.steps=2",
        "--set",
        "train.batch_size=4",
        "--set",
        "validation.samples=4",
        "--set",
        "sampling.count=2",
        "--set",
        "sampling.sampler.num_inference_steps=2",
    ])
    .ok();
    let lines = crate::support::metrics(&out);
    assert!(
        lines.last().unwrap()["noise_error/low_noise"]
            .as_f64()
            .unwrap()
            .is_finite()
    );
    let table = fs::read_to_string(out.join("evaluation/step-00000002/noise-error.csv")).unwrap();
    assert!(table.starts_with("metric,value\nnoise_error/"), "{table}");
}

/// The example of a third party, with its own configuration and its own tests.
#[test]
fn the_example_out_of_tree_conforms_and_trains_on_a_file() {
    let example = workspace().join("examples/04-out-of-tree");
    build(&example, &["build", "--locked"]);
    let library = target().join("debug/libtable.so");
    let library = library.to_str().unwrap();
    let report = json(&run(["plugin", "check", "--json", library]).ok());
    assert_eq!(report["conforms"], true, "{report:#}");

    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<String> = (0..60)
        .map(|row| format!("{row},{},{}\n", (row * row) % 17, row % 7))
        .collect();
    let data = config(
        folder.path(),
        "data.csv",
        &format!("a,b,c\n{}", rows.concat()),
    );
    let file = config(
        folder.path(),
        "run.yaml",
        &format!(
            "task: {{path: {}, columns: [a, c]}}\n\
             model: {{denoiser: {{kind: mlp, features: 2, hidden_sizes: [16], time_embedding_dim: 8}}}}\n\
             train: {{steps: 4, batch_size: 8}}\nsampling: {{count: 4}}\nvalidation: {{samples: 4}}\n",
            data.display()
        ),
    );
    let out = folder.path().join("run");
    let mut command = dsl_host();
    command
        .args(["run", "--plugin", library, "--config"])
        .arg(&file)
        .arg("--out")
        .arg(&out);
    Outcome::of(&mut command).ok();
    assert!(
        out.join("evaluation/step-00000004/noise-error.csv")
            .is_file()
    );
    fs::write(&data, "a,b,c\n1,2,three\n").unwrap();
    let mut command = dsl_host();
    command
        .args(["run", "--plugin", library, "--config"])
        .arg(&file);
    command.arg("--out").arg(folder.path().join("second"));
    Outcome::of(&mut command).fails(2, &["column `c` is `three` in line 2", "hint: "]);
}

/// The run record names the file that was loaded.
#[test]
fn a_run_records_the_hash_of_its_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "run.yaml", SMALL_MIXTURE);
    let out = folder.path().join("run");
    let mut command = dsl_host();
    command
        .args(["run", "--plugin"])
        .arg(plugin("mixture"))
        .arg("--config")
        .arg(file);
    Outcome::of(command.arg("--out").arg(&out)).ok();
    let record: Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    let found = json(&run(["plugin", "inspect", "mixture", "--json"]).ok());
    assert_eq!(record["plugin"]["sha256"], found["sha256"]);
    assert_eq!(record["sessions"][0]["plugin_sha256"], found["sha256"]);
}
