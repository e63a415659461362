//! What is wrong is said once: what, where, and what to do. Nothing half-written is left behind.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use dsl_test_support::says;

use crate::support::{
    Outcome, SMALL_MIXTURE, SMALL_T2I, config, dsl_host, files, pictures, plugin, run,
};

/// A folder to run in, with configurations for both plugins.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        config(folder.path(), "mixture.yaml", SMALL_MIXTURE);
        config(folder.path(), "t2i.yaml", SMALL_T2I);
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `dsl-host run` of a plugin, to the folder `out`.
    fn start(&self, plugin_name: &str, sets: &[&str]) -> Command {
        let mut command = self.command("run");
        command.arg("--plugin").arg(plugin(plugin_name));
        command.args(["--config", &format!("{plugin_name}.yaml"), "--out", "out"]);
        for set in sets {
            command.args(["--set", set]);
        }
        command
    }

    fn command(&self, first: impl AsRef<OsStr>) -> Command {
        let mut command = dsl_host();
        command.current_dir(self.0.path()).arg(first);
        command
    }

    /// A run that fails before it begins, and leaves nothing.
    #[track_caller]
    fn refused(&self, code: i32, command: &mut Command, parts: &[&str]) {
        let before = files(self.0.path());
        Outcome::of(command).fails(code, parts);
        let after = files(self.0.path());
        assert_eq!(
            before.keys().collect::<Vec<_>>(),
            after.keys().collect::<Vec<_>>()
        );
        assert!(!self.path("out").exists() && !self.path("runs").exists());
    }
}

#[test]
fn an_unknown_plugin_is_told_with_the_places_searched() {
    let place = Place::new();
    let mut command = place.command("run");
    command.args(["--plugin", "nothing.so"]);
    place.refused(
        2,
        &mut command,
        &[
            "no plugin `nothing.so` found",
            "libnothing.so",
            "the current folder",
            "beside the program",
            "DSL_PLUGIN_PATH",
        ],
    );
}

#[test]
fn files_that_are_no_plugins_are_told_for_what_they_are() {
    let place = Place::new();
    fs::write(place.path("notes.so"), "words\n").unwrap();
    fs::create_dir(place.path("folder.so")).unwrap();
    let whole = fs::read(plugin("mixture")).unwrap();
    fs::write(place.path("half.so"), &whole[..whole.len() / 2]).unwrap();
    for (name, found) in [
        ("./notes.so", "text file"),
        ("./folder.so", "folder"),
        ("./half.so", "cut off"),
    ] {
        let mut command = place.command("run");
        command.args(["--plugin", name]);
        place.refused(
            2,
            &mut command,
            &["is not a plugin", &name[2..], found, "hint: "],
        );
    }
}

#[test]
fn a_plugin_of_another_interface_is_told_in_short_and_with_v_in_full() {
    let place = Place::new();
    let with = |verbose: &[&str]| {
        let mut command = place.command("run");
        command
            .arg("--plugin")
            .arg(plugin("other_abi"))
            .args(verbose);
        place.refused(
            1,
            &mut command,
            &[
                "other_abi",
                "was built for another version of the plugin interface",
                "build the plugin again",
            ],
        );
        Outcome::of(&mut command).stderr.lines().count()
    };
    let (short, full) = (with(&[]), with(&["-v"]));
    assert!(short <= 3 && full > short, "{short} {full}");
}

#[test]
fn an_unreadable_picture_is_named() {
    let place = Place::new();
    pictures(&place.path("pictures"));
    fs::write(place.path("pictures/green.png"), "not a picture").unwrap();
    let sets = ["task.data.path=pictures", "train.batch_size=8"];
    place.refused(
        1,
        &mut place.start("t2i", &sets),
        &[
            "cannot read the image",
            "green.png",
            "task.data.on_error",
            "hint: ",
        ],
    );
    let skip = [&sets[..], &["task.data.on_error=skip", "train.steps=1"]].concat();
    let said = Outcome::of(&mut place.start("t2i", &skip)).ok();
    assert!(said.stderr.contains("green.png"), "{}", said.stderr);
}

#[test]
fn a_folder_without_pictures_is_told() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    for (folder, found) in [
        ("empty", "no pictures in `"),
        ("absent", "`task.data.path`: there is no `"),
    ] {
        let set = format!("task.data.path={folder}");
        place.refused(2, &mut place.start("t2i", &[&set]), &[found, "hint: "]);
    }
}

#[test]
fn all_mistakes_in_a_configuration_are_told_at_once() {
    let place = Place::new();
    config(
        place.0.path(),
        "wrong.yaml",
        "train:\n  stepz: 10\n  batch_size: many\nobjective:\n  kind: dsm2\ndevice: gpu\n",
    );
    let mut command = place.command("run");
    command.arg("--plugin").arg(plugin("mixture"));
    command.args([
        "--config",
        "wrong.yaml",
        "--out",
        "out",
        "--set",
        "task.components=0",
    ]);
    let said = Outcome::of(&mut command);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    says(
        &said.stderr,
        &[
            "wrong.yaml:2:3",
            "stepz",
            "did you mean `train.steps`",
            "wrong.yaml:3:15",
            "wrong.yaml:5:9",
            "`dsm`",
            "wrong.yaml:6:9",
            "task.components",
        ],
    );
    assert!(!place.path("out").exists());
    // Values that do not go together, and a file that is not there.
    let uneven = ["train.batch_size=10", "train.gradient_accumulation_steps=4"];
    place.refused(
        2,
        &mut place.start("mixture", &uneven),
        &["cannot be cut into 4", "hint: "],
    );
    let mut command = place.command("run");
    command
        .arg("--plugin")
        .arg(plugin("mixture"))
        .args(["--config", "absent.yaml"]);
    place.refused(2, &mut command, &["absent.yaml"]);
    place.refused(
        2,
        &mut place.start("mixture", &["model.base=absent.safetensors"]),
        &["absent.safetensors"],
    );
}

#[test]
fn a_base_that_is_no_model_is_told() {
    let place = Place::new();
    pictures(&place.path("pictures"));
    fs::write(place.path("model.safetensors"), "not a model").unwrap();
    let sets = ["task.data.path=pictures", "model.base=model.safetensors"];
    place.refused(2, &mut place.start("t2i", &sets), &["model.safetensors"]);
}

#[test]
fn a_device_that_is_not_there_is_told() {
    let place = Place::new();
    let features = ["--features cuda", "cuda:0"];
    place.refused(
        1,
        &mut place.start("mixture", &["device=cuda:0"]),
        &features,
    );
}

#[test]
fn folders_that_are_no_runs_are_told() {
    let place = Place::new();
    fs::create_dir(place.path("other")).unwrap();
    fs::write(place.path("other/thesis.tex"), "words").unwrap();
    for (folder, found) in [
        ("other", "has no `config.json`"),
        ("absent", "does not exist"),
    ] {
        let out = place.path("picture.png");
        let resume = ["run", "--resume", folder];
        let sample = ["sample", "--run", folder, "--out", out.to_str().unwrap()];
        let export = ["export", "--run", folder, "--out", out.to_str().unwrap()];
        for arguments in [&resume[..], &sample, &export] {
            let mut command = place.command(arguments[0]);
            command.args(&arguments[1..]);
            place.refused(2, &mut command, &[folder, found, "hint: "]);
        }
    }
    assert_eq!(files(&place.path("other")).len(), 1);
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let place = Place::new();
    Outcome::of(&mut place.start("mixture", &[])).ok();
    let before = files(&place.path("out"));
    Outcome::of(&mut place.start("mixture", &[]))
        .fails(2, &["already holds a run", "--resume out", "--out"]);
    assert!(before == files(&place.path("out")));

    for (name, found) in [
        ("thesis", "is not empty (it holds `thesis.tex`)"),
        ("file", "is a file"),
    ] {
        match name {
            "file" => fs::write(place.path(name), "words").unwrap(),
            _ => {
                fs::create_dir(place.path(name)).unwrap();
                fs::write(place.path("thesis/thesis.tex"), "words").unwrap();
            }
        }
        let mut command = place.command("run");
        command
            .arg("--plugin")
            .arg(plugin("mixture"))
            .args(["--out", name]);
        Outcome::of(&mut command).fails(2, &[found, "hint: "]);
    }
    assert_eq!(files(&place.path("thesis")).len(), 1);
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    let place = Place::new();
    let sets = [
        "train.learning_rate=1e30",
        "checkpoint.every_steps=1",
        "objective.kind=dsm",
    ];
    let said = Outcome::of(&mut place.start("mixture", &sets)).fails(
        1,
        &[
            "step 2: `loss/generator` is",
            "its last good checkpoint is `out/checkpoints/step-00000001`",
            "hint: lower `train.learning_rate`",
        ],
    );
    assert!(!said.stderr.contains("checkpoint was not written"));
    assert!(!place.path("out/checkpoints/step-00000002").exists());
    let record = fs::read_to_string(place.path("out/run.json")).unwrap();
    assert!(record.contains("\"end\": \"failed\""), "{record}");
}

#[test]
fn mistakes_of_a_plugin_name_the_plugin() {
    let place = Place::new();
    let with = |fault: &str, parts: &[&str]| {
        let set = format!("task.fault={fault}");
        let mut command = place.command("run");
        command
            .arg("--plugin")
            .arg(plugin("misbehave"))
            .args(["--out", fault, "--set", &set]);
        command.args([
            "--set",
            "model.base=none",
            "--set",
            "model.denoiser={kind: mlp, hidden_sizes: [8]}",
        ]);
        Outcome::of(&mut command).fails(1, parts);
    };
    with(
        "panic-in-open",
        &[
            "plugin `misbehave`, open: the plugin panicked at ",
            "hint: ",
        ],
    );
    with(
        "panic-in-batch",
        &["plugin `misbehave`, batch", "told to panic"],
    );
    with(
        "error-in-batch",
        &["shard 7 is gone", "hint: bring it back"],
    );
    for fault in ["panic-in-open", "panic-in-batch", "error-in-batch"] {
        assert!(!place.path(fault).exists(), "{fault}");
    }
    with(
        "wrong-shape",
        &["expected shape", "found shape", "a mistake in the plugin"],
    );
}

/// Fails to write its second checkpoint; what was there before stays whole, and the run goes on once there is room.
#[cfg(target_os = "linux")]
mod full_disk {
    use super::*;

    /// Settings of a run whose checkpoints take about 300 kB, and all else a tenth of it.
    const SETS: [&str; 5] = [
        "objective.kind=dsm",
        "logging.every_steps=1",
        "checkpoint.every_steps=1",
        "checkpoint.keep=9",
        "model.denoiser.hidden_sizes=[128,128]",
    ];

    fn quoted(command: &Command) -> String {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Runs a shell script where it may mount a file system of its own, which nobody else sees.
    fn with_own_mounts(script: &str, folder: &Path) -> Option<Outcome> {
        let unshare = |script: &str| {
            let mut command = Command::new("unshare");
            command
                .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
                .current_dir(folder);
            command.output().ok()
        };
        let allowed = unshare("mount -t tmpfs -o size=64k none .")
            .is_some_and(|output| output.status.success());
        allowed.then(|| unshare(script).unwrap().into())
    }

    #[test]
    fn a_full_disk_stops_the_run_and_leaves_whole_checkpoints() {
        let place = Place::new();
        fs::create_dir(place.path("disk")).unwrap();
        let mut start = place.start("mixture", &SETS);
        start.args(["--out", "disk/run"]);
        let start = quoted(&start).replacen("'--out' 'out' ", "", 1);
        let script = format!(
            "mount -t tmpfs -o size=700k none disk; {start}; code=$?; find disk -name '*artial*' -o -name '*tmp*'; \
             ls disk/run/checkpoints; mount -o remount,size=8m disk; '{}' run --resume disk/run >&2 || exit; exit $code",
            crate::support::program().display()
        );
        let Some(said) = with_own_mounts(&script, place.0.path()) else {
            println!(
                "this system lets nobody mount a file system: the limit of file sizes is tested alone"
            );
            return;
        };
        let said = said.fails(
            1,
            &[
                "the checkpoint was not written",
                "disk/run/checkpoints",
                "No space left on device",
                "hint: free some space",
                "last good checkpoint",
            ],
        );
        let left: Vec<&str> = said
            .stdout
            .lines()
            .take_while(|line| !line.starts_with("disk/run"))
            .collect();
        assert!(
            !left.is_empty() && left.iter().all(|name| name.starts_with("step-")),
            "{}",
            said.stdout
        );
        assert!(
            said.stderr.contains("resuming `disk/run` after step"),
            "{}",
            said.stderr
        );
    }

    #[test]
    fn a_full_disk_at_the_start_leaves_no_run() {
        let place = Place::new();
        fs::create_dir(place.path("disk")).unwrap();
        let mut start = place.start("mixture", &SETS);
        start.args(["--out", "disk/run"]);
        let start = quoted(&start).replacen("'--out' 'out' ", "", 1);
        let script = format!(
            "mount -t tmpfs -o size=32k none disk; head -c 24k /dev/zero >disk/other; {start}; code=$?; ls -A disk; exit $code"
        );
        if let Some(said) = with_own_mounts(&script, place.0.path()) {
            let said = said.fails(
                1,
                &["the disk is full", "disk/run", "hint: free some space"],
            );
            assert_eq!(said.stdout, "other\n");
        }
    }

    #[test]
    fn a_file_that_may_not_grow_stops_the_run_and_leaves_no_part_of_it() {
        let place = Place::new();
        // In blocks of 512 bytes. The shell ignores the signal, and so does the program that takes its place.
        let script = format!(
            "trap '' XFSZ; ulimit -f 50; exec {}",
            quoted(&place.start("mixture", &SETS))
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(place.0.path());
        Outcome::of(&mut command).fails(
            1,
            &[
                "the checkpoint was not written",
                "generator",
                "File too large",
                "hint: free some space",
            ],
        );
        let left = files(&place.path("out"));
        assert!(
            left.keys()
                .all(|name| !name.to_string_lossy().contains("partial")),
            "{:?}",
            left.keys()
        );
        run(["run", "--resume", place.path("out").to_str().unwrap()]).ok();
    }
}
