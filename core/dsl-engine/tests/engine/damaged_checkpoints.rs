//! Checkpoints that something happened to, and writes that fail.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dsl_engine::{Checkpoints, EngineError, Trainer};

use crate::support::{BATCH, Points, dsl, mlp, train, trainer, weights};

/// A run with checkpoints at steps 1 and 2.
struct Run {
    folder: tempfile::TempDir,
    trainer: Trainer,
    first: Vec<(String, Vec<f32>)>,
}

impl Run {
    fn new() -> Self {
        let (set, folder) = (Points::new(BATCH), tempfile::tempdir().unwrap());
        let mut config = dsl(|_| ());
        config.train.ema.decay = Some(0.9);
        let mut trainer = trainer(config);
        let checkpoints = Checkpoints::new(folder.path(), 2);
        train(&mut trainer, &set, 1);
        let first = weights(trainer.generator());
        checkpoints.save(&trainer).unwrap();
        train(&mut trainer, &set, 1);
        checkpoints.save(&trainer).unwrap();
        Self {
            folder,
            trainer,
            first,
        }
    }

    fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.folder.path(), 2)
    }

    fn newest(&self) -> PathBuf {
        self.checkpoints().path(2)
    }

    /// The newest checkpoint is passed over with a message that names it and `culprit`.
    #[track_caller]
    fn check_falls_back(&self, culprit: &str) {
        let loaded = self.checkpoints().load_latest().unwrap();
        assert_eq!(loaded.checkpoint.step(), 1, "{culprit}");
        let [message] = loaded.damaged.as_slice() else {
            panic!("{:?}", loaded.damaged)
        };
        assert!(
            message.contains("step-00000002") && message.contains(culprit),
            "{message}"
        );
        let mut resumed =
            Trainer::new(self.trainer.config().clone(), mlp(8), &Device::flex()).unwrap();
        resumed.restore(&loaded.checkpoint).unwrap();
        assert_eq!(weights(resumed.generator()), self.first);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_changed_byte_anywhere_is_noticed() {
    let run = Run::new();
    let files = names(&run.newest());
    assert_eq!(files.len(), 7, "{files:?}");
    for file in files {
        let path = run.newest().join(&file);
        let whole = fs::read(&path).unwrap();
        // The middle, the ends, and places in between.
        for i in [0, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[i] ^= 0x10;
            fs::write(&path, bytes).unwrap();
            let loaded = run.checkpoints().load_latest().unwrap();
            assert_eq!(loaded.checkpoint.step(), 1, "{file}, byte {i}");
            assert!(
                loaded.damaged[0].contains("step-00000002"),
                "{:?}",
                loaded.damaged
            );
        }
        // A record's own sum would do for its contents; ours says which file it is.
        if file != "manifest.json" {
            run.check_falls_back(&file);
        }
        fs::write(&path, whole).unwrap();
        assert_eq!(
            run.checkpoints().load_latest().unwrap().checkpoint.step(),
            2
        );
    }
}

#[test]
fn a_cut_or_missing_file_is_noticed() {
    let run = Run::new();
    for file in names(&run.newest()) {
        let path = run.newest().join(&file);
        let whole = fs::read(&path).unwrap();
        for length in [0, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            run.check_falls_back(&file);
        }
        fs::remove_file(&path).unwrap();
        run.check_falls_back(&file);
        fs::write(&path, whole).unwrap();
    }
}

#[test]
fn with_nothing_left_all_reasons_are_told() {
    let run = Run::new();
    for step in [1, 2] {
        fs::write(run.checkpoints().path(step).join("generator.bpk"), "x").unwrap();
    }
    let error = run.checkpoints().load_latest().unwrap_err();
    assert!(
        matches!(&error, EngineError::NoCheckpoint { damaged, .. } if damaged.len() == 2),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("step-00000001") && message.contains("step-00000002"),
        "{message}"
    );

    let empty = tempfile::tempdir().unwrap();
    for folder in [empty.path().to_owned(), empty.path().join("absent")] {
        let message = Checkpoints::new(&folder, 2)
            .load_latest()
            .unwrap_err()
            .to_string();
        assert!(message.contains(&folder.display().to_string()), "{message}");
    }
}

/// What a process that was killed while it wrote or removed leaves behind.
#[test]
fn leftovers_are_ignored_and_cleared() {
    let run = Run::new();
    let checkpoints = run.checkpoints();
    fs::remove_dir_all(checkpoints.path(1)).unwrap();
    for leftover in [".partial-a1b2", ".partial-removed-step-00000001"] {
        let leftover = run.folder.path().join(leftover);
        fs::create_dir(&leftover).unwrap();
        fs::copy(
            run.newest().join("generator.bpk"),
            leftover.join("generator.bpk"),
        )
        .unwrap();
    }
    fs::write(run.folder.path().join("notes.txt"), "mine").unwrap();
    assert_eq!(checkpoints.steps(), [2]);
    assert!(checkpoints.load_latest().unwrap().damaged.is_empty());
    let mut trainer = run.trainer;
    train(&mut trainer, &Points::new(BATCH), 1);
    checkpoints.save(&trainer).unwrap();
    assert_eq!(
        names(run.folder.path()),
        ["notes.txt", "step-00000002", "step-00000003"]
    );
}

#[test]
fn a_damaged_checkpoint_gives_way_to_a_good_one_of_the_same_step() {
    let run = Run::new();
    fs::write(run.newest().join("state.json"), "{").unwrap();
    run.checkpoints().save(&run.trainer).unwrap();
    assert_eq!(
        run.checkpoints().load_latest().unwrap().checkpoint.step(),
        2
    );

    // Whatever has its name: here a file.
    fs::remove_dir_all(run.newest()).unwrap();
    fs::write(run.newest(), "in the way").unwrap();
    run.check_falls_back("step-00000002");
    run.checkpoints().save(&run.trainer).unwrap();
    assert_eq!(
        run.checkpoints().load_latest().unwrap().checkpoint.step(),
        2
    );
    assert_eq!(names(run.folder.path()), ["step-00000001", "step-00000002"]);
}

/// A run that went back to step 1 and is stopped before step 2: the damaged one must not push the new one out.
#[test]
fn a_damaged_newer_checkpoint_does_not_outlive_good_ones() {
    let set = Points::new(BATCH);
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 2);
    let mut first = trainer(dsl(|_| ()));
    train(&mut first, &set, 2);
    checkpoints.save(&first).unwrap();
    train(&mut first, &set, 4);
    checkpoints.save(&first).unwrap();
    fs::write(checkpoints.path(6).join("generator.bpk"), "x").unwrap();

    let loaded = checkpoints.load_latest().unwrap();
    assert_eq!((loaded.checkpoint.step(), loaded.damaged.len()), (2, 1));
    let mut resumed = trainer(dsl(|_| ()));
    resumed.restore(&loaded.checkpoint).unwrap();
    let one = Checkpoints::new(folder.path(), 1);
    for step in [3, 4] {
        train(&mut resumed, &set, 1);
        one.save(&resumed).unwrap();
        assert_eq!(one.steps(), [step]);
        assert_eq!(one.load_latest().unwrap().checkpoint.step(), step);
    }
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let run = Run::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("checkpoints");
    fs::write(&file, "a file where the folder should be").unwrap();
    for folder in [file.clone(), file.join("below")] {
        let error = Checkpoints::new(&folder, 2).save(&run.trainer).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(&folder.display().to_string()), "{message}");
        assert!(matches!(error, EngineError::Io { .. }));
    }
    assert_eq!(names(elsewhere.path()), ["checkpoints"]);
    assert_eq!(
        fs::read(&file).unwrap(),
        b"a file where the folder should be"
    );
}
