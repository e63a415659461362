//! The folder of one run: what is in it, who may write to it, and how its files are written.
//!
//! ```text
//! runs/quickstart/
//!   config.json          the configuration as resolved, every default spelled out
//!   run.json             versions, plugin and its hash, device, seed; one entry per start and resume
//!   base.safetensors     the generator that the run began with, where that is another run's
//!   model.json           shape and meaning of the generator; tokenizer.json beside it where it reads text
//!   metrics.jsonl        one JSON object per logged step
//!   samples/             pictures, and prompts.json with what they show
//!   evaluation/          files that the plugin's evaluator made, one folder for each step that it measured
//!   checkpoints/
//!   tensorboard/         event files
//!   .lock                held while a process trains here
//! ```
//!
//! Whole files are replaced, never edited ([`write_atomic`]): a reader, or a process killed at any
//! moment, sees the old file or the new one.

mod atomic;
mod error;
mod lock;
mod record;

#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use atomic::{describe_bytes, write_atomic, write_atomic_with};
pub use error::RunDirError;
pub use record::{BURN_VERSION, HostRecord, PluginRecord, RunRecord, SessionEnd, SessionRecord};

use lock::RunLock;

const CONFIG: &str = "config.json";
const RECORD: &str = "run.json";
/// Shape and meaning of the generator.
pub(crate) const MODEL_CARD: &str = "model.json";
/// Of generators that read text.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// The generator that a run began with, where that is another run's.
pub(crate) const BASE: &str = "base.safetensors";
const METRICS: &str = "metrics.jsonl";
const SAMPLES: &str = "samples";
const EVALUATION: &str = "evaluation";
const CHECKPOINTS: &str = "checkpoints";
const TENSORBOARD: &str = "tensorboard";

/// The folder of one run.
///
/// Made by [`create`](RunDir::create) or [`open`](RunDir::open) it holds the run's lock until it is
/// dropped, so that two processes never train in one folder; made by
/// [`open_to_read`](RunDir::open_to_read) it holds none.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// What `create` itself made, outermost first, for [`RunDir::discard`].
    made: Vec<PathBuf>,
    _lock: Option<RunLock>,
}

impl RunDir {
    /// `<parent>/<plugin>-<date>-<time>` (UTC) for a run that was given no name, with `-2`, `-3`, …
    /// after it when that is taken.
    pub fn automatic_path(parent: &Path, plugin_id: &str) -> PathBuf {
        automatic_path_at(parent, plugin_id, SystemTime::now())
    }

    /// Makes the folder of a new run, its parents included, and locks it. An empty folder may be
    /// there already.
    ///
    /// # Errors
    /// [`RunDirError::ExistingRun`] and [`RunDirError::NotEmpty`] when something is there that this
    /// run would mix with; [`RunDirError::Locked`]; anything the file system says.
    pub fn create(path: &Path) -> Result<Self, RunDirError> {
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => return Err(RunDirError::NotAFolder(path.into())),
            Ok(_) => check_usable(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(RunDirError::io("look at", path, source)),
        }
        let begun_before = path.join(lock::LOCK).exists();

        let mut made = Vec::new();
        let begun = Self::make_folders(path, &mut made).and_then(|()| RunLock::take(path));
        match begun {
            Ok(lock) => {
                // Another process may have begun a run here between the first look and the lock.
                if let Err(error) = check_usable(path) {
                    drop(lock);
                    return Err(error);
                }
                if begun_before {
                    remove_beginning(path);
                }
                Ok(Self {
                    path: path.into(),
                    made,
                    _lock: Some(lock),
                })
            }
            Err(error) => {
                if !matches!(error, RunDirError::Locked { .. }) {
                    remove_made(path, &made);
                }
                Err(error)
            }
        }
    }

    fn make_folders(path: &Path, made: &mut Vec<PathBuf>) -> Result<(), RunDirError> {
        let mut missing: Vec<&Path> = path
            .ancestors()
            .filter(|at| !at.as_os_str().is_empty())
            .take_while(|at| !at.exists())
            .collect();
        missing.reverse();
        for folder in missing {
            make_folder(folder, made)?;
        }
        for name in [SAMPLES, CHECKPOINTS, TENSORBOARD] {
            make_folder(&path.join(name), made)?;
        }
        Ok(())
    }

    /// Opens an existing run to go on with it: locks it and removes what a killed process left
    /// half-written.
    ///
    /// # Errors
    /// [`RunDirError::NotFound`], [`RunDirError::NotARun`], [`RunDirError::Locked`].
    pub fn open(path: &Path) -> Result<Self, RunDirError> {
        check_is_run(path)?;
        let lock = RunLock::take(path)?;
        for folder in [
            path.to_path_buf(),
            path.join(SAMPLES),
            path.join(CHECKPOINTS),
            path.join(TENSORBOARD),
        ] {
            match fs::create_dir_all(&folder) {
                Ok(()) => atomic::remove_stale(&folder)?,
                Err(source) => return Err(RunDirError::io("make the folder", &folder, source)),
            }
        }
        Ok(Self {
            path: path.into(),
            made: Vec::new(),
            _lock: Some(lock),
        })
    }

    /// Opens an existing run to read from it; a process may be training in it meanwhile.
    ///
    /// # Errors
    /// [`RunDirError::NotFound`], [`RunDirError::NotARun`].
    pub fn open_to_read(path: &Path) -> Result<Self, RunDirError> {
        check_is_run(path)?;
        Ok(Self {
            path: path.into(),
            made: Vec::new(),
            _lock: None,
        })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config.json`.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// `run.json`.
    pub fn record_path(&self) -> PathBuf {
        self.path.join(RECORD)
    }

    /// `metrics.jsonl`.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// `samples/`.
    pub fn samples_path(&self) -> PathBuf {
        self.path.join(SAMPLES)
    }

    /// `samples/step-00001500.png`.
    pub fn sample_path(&self, step: u64) -> PathBuf {
        self.samples_path().join(crate::report::sample_name(step))
    }

    /// Where files of the plugin's evaluator go; made with the first of them.
    pub fn evaluation_path(&self) -> PathBuf {
        self.path.join(EVALUATION)
    }

    /// `checkpoints/`.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.path.join(CHECKPOINTS)
    }

    /// `tensorboard/`.
    pub fn tensorboard_path(&self) -> PathBuf {
        self.path.join(TENSORBOARD)
    }

    /// Writes the resolved configuration to `config.json`.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`]; the file is then as it was before.
    pub fn write_config(&self, config: &serde_json::Value) -> Result<(), RunDirError> {
        atomic::write_json(&self.config_path(), config)
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`RunDirError::Io`], or [`RunDirError::Damaged`] when it is not JSON.
    pub fn read_config(&self) -> Result<serde_json::Value, RunDirError> {
        atomic::read_json(&self.config_path())
    }

    /// Writes `run.json`.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`]; the file is then as it was before.
    pub fn write_record(&self, record: &RunRecord) -> Result<(), RunDirError> {
        atomic::write_json(&self.record_path(), record)
    }

    /// Reads `run.json`.
    ///
    /// # Errors
    /// [`RunDirError::Io`], or [`RunDirError::Damaged`] when it is no record of a run.
    pub fn read_record(&self) -> Result<RunRecord, RunDirError> {
        atomic::read_json(&self.record_path())
    }

    /// Adds one start to `run.json`: what a resumed run was resumed with.
    ///
    /// # Errors
    /// As [`read_record`](RunDir::read_record) and [`write_record`](RunDir::write_record).
    pub fn append_session(&self, session: SessionRecord) -> Result<(), RunDirError> {
        let mut record = self.read_record()?;
        record.sessions.push(session);
        self.write_record(&record)
    }

    /// Notes in `run.json` how the current session ended, at which step. A session without an end
    /// was killed, or still runs.
    ///
    /// # Errors
    /// As [`read_record`](RunDir::read_record) and [`write_record`](RunDir::write_record).
    pub fn end_session(&self, step: u64, end: SessionEnd) -> Result<(), RunDirError> {
        let mut record = self.read_record()?;
        if let Some(session) = record.sessions.last_mut() {
            session.ended = Some(record::now());
            session.end = Some(end);
            session.to_step = Some(step);
        }
        self.write_record(&record)
    }

    /// Whether there is anything of a step in it: a line of metrics, or a checkpoint.
    pub fn has_results(&self) -> bool {
        let is_empty = |metrics: fs::Metadata| metrics.len() == 0;
        let checkpoints = fs::read_dir(self.checkpoints_path()).into_iter().flatten();
        !fs::metadata(self.metrics_path()).map_or(true, is_empty)
            || checkpoints
                .flatten()
                .any(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
    }

    /// Gives up a run that never began: removes the files of its beginning and the folders that
    /// [`create`](RunDir::create) made, as far as nothing else lies in them. What it did not make
    /// stays.
    pub fn discard(self) {
        let _ = fs::remove_file(self.config_path());
        remove_beginning(&self.path);
        remove_made(&self.path, &self.made);
    }
}

fn make_folder(folder: &Path, made: &mut Vec<PathBuf>) -> Result<(), RunDirError> {
    match fs::create_dir(folder) {
        Ok(()) => {
            made.push(folder.into());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(source) => Err(RunDirError::io("make the folder", folder, source)),
    }
}

/// Removes the lock file of `path` and, innermost first, those folders of `made` that are empty.
fn remove_made(path: &Path, made: &[PathBuf]) {
    let _ = fs::remove_file(path.join(lock::LOCK));
    for folder in made.iter().rev() {
        // Fails where something else lies in the folder: then it stays.
        let _ = fs::remove_dir(folder);
    }
}

/// Removes what a run writes before `config.json`, which makes it a run. Only for the holder of the lock, and where
/// [`check_usable`] found no more than this.
fn remove_beginning(path: &Path) {
    for name in BEGINNING {
        let _ = fs::remove_file(path.join(name));
    }
    let _ = fs::remove_file(path.join(SAMPLES).join(crate::report::PROMPTS));
    let events = fs::read_dir(path.join(TENSORBOARD));
    for entry in events.into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    let _ = atomic::remove_stale(path);
}

/// What a run writes before `config.json`, beside event files.
const BEGINNING: [&str; 5] = [RECORD, BASE, MODEL_CARD, TOKENIZER, METRICS];

/// Whether a new run may begin in this existing folder: it is empty, or holds no more than what a
/// process killed before its run had begun leaves: a lock, and files without a step in them.
fn check_usable(path: &Path) -> Result<(), RunDirError> {
    let is_beginning = path.join(lock::LOCK).exists()
        && !path.join(CONFIG).exists()
        && fs::metadata(path.join(METRICS)).map_or(true, |metrics| metrics.len() == 0);
    if path.join(CONFIG).exists() || !is_beginning && path.join(RECORD).exists() {
        return Err(RunDirError::ExistingRun(path.into()));
    }
    let entries = fs::read_dir(path).map_err(|source| RunDirError::io("list", path, source))?;
    for entry in entries {
        let entry = entry.map_err(|source| RunDirError::io("list", path, source))?;
        let name = entry.file_name();
        let ours = name == lock::LOCK
            || atomic::is_temporary(&name)
            || is_beginning && (name == TENSORBOARD || BEGINNING.iter().any(|file| name == *file))
            || [SAMPLES, CHECKPOINTS, TENSORBOARD]
                .iter()
                .any(|folder| name == *folder)
                && fs::read_dir(entry.path()).is_ok_and(|mut inside| inside.next().is_none());
        if !ours {
            return Err(RunDirError::NotEmpty {
                path: path.into(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn check_is_run(path: &Path) -> Result<(), RunDirError> {
    if !path.exists() {
        return Err(RunDirError::NotFound(path.into()));
    }
    for name in [CONFIG, RECORD] {
        if !path.join(name).is_file() {
            return Err(RunDirError::NotARun {
                path: path.into(),
                missing: name,
            });
        }
    }
    Ok(())
}

fn automatic_path_at(parent: &Path, plugin_id: &str, now: SystemTime) -> PathBuf {
    // 2025-11-22T06:16:23Z -> 20251122-061623
    let stamp: String = humantime::format_rfc3339_seconds(now)
        .to_string()
        .chars()
        .filter_map(|c| match c {
            'T' => Some('-'),
            '0'..='9' => Some(c),
            _ => None,
        })
        .collect();
    let first = parent.join(format!("{plugin_id}-{stamp}"));
    let mut path = first.clone();
    let mut number = 2u32;
    while path.exists() {
        let mut name = first.clone().into_os_string();
        name.push(format!("-{number}"));
        path = name.into();
        number += 1;
    }
    path
}
