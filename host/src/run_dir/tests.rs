use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use super::*;

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn plugin() -> PluginRecord {
    PluginRecord {
        id: "t2i".into(),
        path: "plugins/t2i.so".into(),
        version: "0.1.0".into(),
        sha256: "ab".repeat(32),
    }
}

/// A run as it is after its first moments.
fn begun(path: &Path) -> RunDir {
    let run = RunDir::create(path).unwrap();
    run.write_config(&serde_json::json!({ "device": "cpu" }))
        .unwrap();
    run.write_record(&RunRecord::begin(plugin(), "cpu", 7))
        .unwrap();
    run
}

#[test]
fn a_new_run_has_its_folders_and_gives_back_what_was_written() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("deep/er/run");
    let run = begun(&path);
    assert!(run.samples_path().is_dir());
    assert!(run.checkpoints_path().is_dir());
    assert!(run.tensorboard_path().is_dir());
    assert_eq!(run.read_config().unwrap()["device"], "cpu");
    let record = run.read_record().unwrap();
    assert_eq!(record, RunRecord::begin(plugin(), "cpu", 7));
    assert_eq!(record.sessions.len(), 1);
}

#[test]
fn a_run_is_not_begun_twice_in_one_folder() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("run");
    drop(begun(&path));
    let error = RunDir::create(&path).unwrap_err();
    assert!(matches!(error, RunDirError::ExistingRun(_)), "{error}");
    assert!(error.to_string().contains("--resume"), "{error}");
}

#[test]
fn a_folder_with_other_files_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("thesis.tex"), "words").unwrap();
    let error = RunDir::create(temp.path()).unwrap_err();
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(names(temp.path()), BTreeSet::from(["thesis.tex".into()]));

    let file = temp.path().join("thesis.tex");
    let error = RunDir::create(&file).unwrap_err();
    assert!(matches!(error, RunDirError::NotAFolder(_)), "{error}");
}

#[test]
fn what_a_process_killed_at_the_start_leaves_is_no_hindrance() {
    let temp = tempfile::tempdir().unwrap();
    drop(RunDir::create(temp.path()).unwrap());
    assert!(names(temp.path()).contains(".lock"));
    fs::write(temp.path().join(".dsl-host-tmp-1"), "{").unwrap();
    drop(RunDir::create(temp.path()).unwrap());
    // A later moment: all but `config.json` is there.
    for name in [
        "run.json",
        "model.json",
        "tensorboard/events.out.tfevents.1.0000",
    ] {
        fs::write(temp.path().join(name), "{}").unwrap();
    }
    fs::write(temp.path().join("metrics.jsonl"), "").unwrap();
    let run = RunDir::create(temp.path()).unwrap();
    assert!(!run.record_path().exists() && !run.metrics_path().exists());
    assert!(names(&run.tensorboard_path()).is_empty());
}

#[test]
fn a_run_that_lost_its_configuration_is_not_taken_for_a_beginning() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("run");
    drop(begun(&path));
    fs::remove_file(path.join("config.json")).unwrap();
    fs::write(path.join("metrics.jsonl"), "{\"step\":1}\n").unwrap();
    let error = RunDir::create(&path).unwrap_err();
    assert!(matches!(error, RunDirError::ExistingRun(_)), "{error}");
    fs::remove_file(path.join("metrics.jsonl")).unwrap();
    fs::create_dir(path.join("checkpoints/step-00000001")).unwrap();
    let error = RunDir::create(&path).unwrap_err();
    assert!(error.to_string().contains("checkpoints"), "{error}");
    assert!(path.join("run.json").exists());
}

#[test]
fn only_a_run_is_opened() {
    let temp = tempfile::tempdir().unwrap();
    let error = RunDir::open(&temp.path().join("nowhere")).unwrap_err();
    assert!(matches!(error, RunDirError::NotFound(_)), "{error}");
    let error = RunDir::open(temp.path()).unwrap_err();
    assert!(error.to_string().contains("config.json"), "{error}");
    assert!(names(temp.path()).is_empty());
}

#[test]
fn one_process_trains_in_a_folder_and_others_may_read() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("run");
    let run = begun(&path);
    let error = RunDir::open(&path).unwrap_err();
    assert!(
        matches!(error, RunDirError::Locked { process: Some(id), .. } if id == std::process::id()),
        "{error}"
    );
    RunDir::open_to_read(&path).unwrap();
    drop(run);
    RunDir::open(&path).unwrap();
}

#[test]
fn a_second_start_in_a_folder_being_set_up_is_locked_out_and_removes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("run");
    let run = RunDir::create(&path).unwrap();
    let error = RunDir::create(&path).unwrap_err();
    assert!(matches!(error, RunDirError::Locked { .. }), "{error}");
    assert!(run.samples_path().is_dir());
}

#[test]
fn resuming_removes_half_written_files_and_notes_itself() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("run");
    let run = begun(&path);
    run.end_session(120, SessionEnd::Interrupted).unwrap();
    drop(run);
    for folder in ["", "samples", "tensorboard", "checkpoints"] {
        fs::write(path.join(folder).join(".dsl-host-tmp-x1"), "half").unwrap();
    }
    let run = RunDir::open(&path).unwrap();
    run.append_session(SessionRecord::begin(100, "cuda:0", &plugin()))
        .unwrap();
    for folder in ["", "samples", "tensorboard", "checkpoints"] {
        assert!(!names(&path.join(folder)).contains(".dsl-host-tmp-x1"));
    }
    let record = run.read_record().unwrap();
    assert_eq!(record.sessions[0].end, Some(SessionEnd::Interrupted));
    assert_eq!(record.sessions[0].to_step, Some(120));
    assert_eq!(record.sessions[1].from_step, 100);
    assert_eq!(record.sessions[1].end, None);
}

#[test]
fn a_resume_says_what_has_changed() {
    let mut record = RunRecord::begin(plugin(), "cpu", 7);
    let mut other = plugin();
    other.sha256 = "cd".repeat(32);
    assert!(
        record
            .differences(&SessionRecord::begin(1, "cpu", &plugin()))
            .is_empty()
    );
    let found = record.differences(&SessionRecord::begin(1, "vulkan:0", &other));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("`cpu`") && found[0].contains("`vulkan:0`"));
    assert!(found[1].contains("t2i"));
    record.sessions.clear();
    assert!(
        record
            .differences(&SessionRecord::begin(1, "cpu", &plugin()))
            .is_empty()
    );
}

#[test]
fn giving_up_removes_what_was_made_and_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    begun(&temp.path().join("runs/a")).discard();
    assert!(names(temp.path()).is_empty());

    // A folder that the user made stays; so does one with something in it.
    let own = temp.path().join("own");
    fs::create_dir(&own).unwrap();
    let run = begun(&own);
    fs::write(run.sample_path(1), "picture").unwrap();
    run.discard();
    assert_eq!(names(&own), BTreeSet::from(["samples".into()]));
}

#[test]
fn automatic_names_say_plugin_and_time_and_are_free() {
    let temp = tempfile::tempdir().unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_792_183);
    let first = automatic_path_at(temp.path(), "t2i", at);
    assert_eq!(first, temp.path().join("t2i-20251122-061623"));
    fs::create_dir(&first).unwrap();
    let second = automatic_path_at(temp.path(), "t2i", at);
    assert_eq!(second, temp.path().join("t2i-20251122-061623-2"));
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("config.json");
    write_atomic(&path, b"old").unwrap();
    let error = write_atomic_with(&path, Some(6_100_000), |file| {
        file.write_all(&[0; 100_000])?;
        Err(io::ErrorKind::StorageFull.into())
    })
    .unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, RunDirError::DiskFull { .. }), "{message}");
    assert!(message.contains("config.json"), "{message}");
    assert!(message.contains("6.1 MB"), "{message}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(temp.path()), BTreeSet::from(["config.json".into()]));
}

/// `/dev/full` is a real full disk as far as `write` is concerned.
#[cfg(target_os = "linux")]
#[test]
fn the_systems_own_full_disk_is_recognised() {
    let mut full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let source = full.write_all(b"x").unwrap_err();
    let error = RunDirError::write(Path::new("metrics.jsonl"), Some(1), source);
    assert!(
        error
            .to_string()
            .starts_with("the disk is full: `metrics.jsonl` needs 1 byte"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn files_get_ordinary_permissions() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let plain = temp.path().join("plain");
    fs::write(&plain, "").unwrap();
    let atomic = temp.path().join("atomic");
    write_atomic(&atomic, b"").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&atomic), mode(&plain));
}

#[test]
fn a_damaged_file_is_named_with_the_place() {
    let temp = tempfile::tempdir().unwrap();
    let run = begun(&temp.path().join("run"));
    fs::write(run.record_path(), "{\n  \"format\": }").unwrap();
    let message = run.read_record().unwrap_err().to_string();
    assert!(message.contains("run.json"), "{message}");
    assert!(message.contains("line 2"), "{message}");
}

#[test]
fn sizes_are_written_for_people() {
    for (bytes, text) in [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (6_100_000, "6.1 MB"),
        (139_000_000_000, "139.0 GB"),
    ] {
        assert_eq!(describe_bytes(bytes), text);
    }
}

#[test]
fn the_version_of_burn_is_the_one_in_the_manifest() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let manifest: toml::Value = toml::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
    let version = &manifest["workspace"]["dependencies"]["burn"]["version"];
    assert_eq!(version.as_str(), Some(format!("={BURN_VERSION}").as_str()));
}
