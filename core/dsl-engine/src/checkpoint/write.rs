//! Writing a checkpoint.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::{Module, ParamGroup, ParamId};
use burn::optim::ModuleOptimizer;
use dsl_nets::{Denoiser, Model};

use super::{
    AdversaryState, Checkpoints, DISCRIMINATOR, DISCRIMINATOR_OPTIMIZER, EMA, FORMAT, FileEntry,
    GENERATOR, GENERATOR_OPTIMIZER, MANIFEST, Manifest, STATE, State, sha256_hex,
};
use crate::error::EngineError;
use crate::trainable::{frozen_ids, trained_ids};
use crate::trainer::Trainer;

impl Checkpoints {
    /// Writes the trainer's state and removes all but the newest `keep` checkpoints. Returns the new one's folder.
    ///
    /// # Errors
    /// [`EngineError::Io`] (a full disk, for one): nothing of the new checkpoint remains, the older ones are untouched.
    pub fn save(&self, trainer: &Trainer) -> Result<PathBuf, EngineError> {
        self.put(trainer.step_count(), || trainer.checkpoint_files())
    }

    /// Puts the checkpoint of `step` in place, unless it is there and whole.
    pub(super) fn put(
        &self,
        step: u64,
        files: impl FnOnce() -> Result<Vec<(&'static str, Vec<u8>)>, EngineError>,
    ) -> Result<PathBuf, EngineError> {
        let target = self.path(step);
        if target.exists() && self.load(step).is_ok() {
            return Ok(target);
        }
        fs::create_dir_all(&self.folder).map_err(io("cannot create folder", &self.folder))?;
        self.remove_leftovers();
        let partial = tempfile::Builder::new()
            .prefix(".partial-")
            .tempdir_in(&self.folder)
            .map_err(io("cannot create a folder in", &self.folder))?;

        let mut manifest = Manifest {
            files: Default::default(),
        };
        for (name, bytes) in files()? {
            manifest.files.insert(
                name.to_owned(),
                FileEntry {
                    bytes: bytes.len() as u64,
                    sha256: sha256_hex(&bytes),
                },
            );
            write_synced(&partial.path().join(name), &bytes)?;
        }
        let manifest = serde_json::to_vec_pretty(&manifest).map_err(json(MANIFEST))?;
        write_synced(&partial.path().join(MANIFEST), &manifest)?;
        sync_folder(partial.path())?;

        // A damaged checkpoint of the same step makes room for its replacement.
        if target.exists() {
            self.remove(&target)?;
        }
        let partial = partial.keep();
        fs::rename(&partial, &target).map_err(|source| {
            let _ = fs::remove_dir_all(&partial);
            io("cannot put in place", &target)(source)
        })?;
        sync_folder(&self.folder)?;
        self.remove_old(step)?;
        Ok(target)
    }

    /// Finishes what a process that was killed while it saved had yet to remove: parts of checkpoints, and those before the
    /// newest `keep` up to `step`. To be called when a run goes on from the checkpoint of `step`.
    ///
    /// # Errors
    /// [`EngineError::Io`].
    pub fn tidy(&self, step: u64) -> Result<(), EngineError> {
        self.remove_leftovers();
        let kept: Vec<u64> = self
            .steps()
            .into_iter()
            .filter(|found| *found <= step)
            .collect();
        for old in &kept[..kept.len().saturating_sub(self.keep)] {
            self.remove(&self.path(*old))?;
        }
        Ok(())
    }

    /// Removes all but the newest `keep` up to `newest`. Later ones are of a run that could not be resumed from them:
    /// they are damaged, and must not push out those that are not.
    fn remove_old(&self, newest: u64) -> Result<(), EngineError> {
        let (kept, later): (Vec<u64>, Vec<u64>) =
            self.steps().into_iter().partition(|step| *step <= newest);
        let old = &kept[..kept.len().saturating_sub(self.keep)];
        for step in old.iter().chain(&later) {
            self.remove(&self.path(*step))?;
        }
        Ok(())
    }

    /// Takes the final name away first, so that a removal that is cut short leaves no half checkpoint.
    fn remove(&self, path: &Path) -> Result<(), EngineError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let doomed = self.folder.join(format!(".partial-removed-{name}"));
        let _ = remove_any(&doomed);
        fs::rename(path, &doomed).map_err(io("cannot remove", path))?;
        remove_any(&doomed).map_err(io("cannot remove", &doomed))
    }

    /// What a process that was killed while writing or removing left behind.
    fn remove_leftovers(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".partial-") {
                let _ = remove_any(&entry.path());
            }
        }
    }
}

impl Trainer {
    /// Files of a checkpoint and their contents.
    fn checkpoint_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>, EngineError> {
        let (generator, ema, adversary) = self.checkpoint_parts();
        let state = State {
            format: FORMAT,
            step: self.step_count(),
            adversary: adversary.map(|adversary| AdversaryState {
                margins: adversary.margins.clone(),
                updates: adversary.updates,
            }),
            frozen_sha256: self.frozen_sha256().map(str::to_owned),
        };
        let trained = Saved::of_trained(generator.module());
        let mut files = vec![
            state.file()?,
            (GENERATOR, trained.weights(generator.module(), GENERATOR)?),
            (
                GENERATOR_OPTIMIZER,
                moments(generator.optimizer(), GENERATOR_OPTIMIZER)?,
            ),
        ];
        if let Some(ema) = ema {
            files.push((EMA, trained.weights(ema.module(), EMA)?));
        }
        if let Some(adversary) = adversary {
            files.push((
                DISCRIMINATOR,
                Saved::of_discriminator(generator.module(), adversary.network())
                    .weights(adversary.network(), DISCRIMINATOR)?,
            ));
            files.push((
                DISCRIMINATOR_OPTIMIZER,
                moments(adversary.learner.optimizer(), DISCRIMINATOR_OPTIMIZER)?,
            ));
        }
        Ok(files)
    }
}

/// The parameters of a network that are in a checkpoint.
pub(super) struct Saved(Vec<ParamId>);

impl Saved {
    /// Those that train: of the generator and its moving average, for one.
    pub(super) fn of_trained<M: Module>(module: &M) -> Self {
        Self(trained_ids(module))
    }

    /// Of the discriminator: all but those that the generator has frozen.
    pub(super) fn of_discriminator(generator: &Model, discriminator: &Denoiser) -> Self {
        let frozen: HashSet<ParamId> = frozen_ids(generator).into_iter().collect();
        let full = trained_ids(discriminator);
        let trains: HashSet<ParamId> = full.iter().copied().collect();
        let mut ids = full;
        ids.extend(
            frozen_ids(discriminator)
                .into_iter()
                .filter(|id| !frozen.contains(id) && !trains.contains(id)),
        );
        Self(ids)
    }

    /// Number of parameters.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn weights<M: Module>(
        &self,
        module: &M,
        what: &str,
    ) -> Result<Vec<u8>, EngineError> {
        let bytes = module
            .valid()
            .into_record_group(ParamGroup::from_ids(self.0.clone()))
            .into_bytes()
            .map_err(record(what))?;
        Ok(bytes.to_vec())
    }
}

pub(super) fn moments(optimizer: &ModuleOptimizer, what: &str) -> Result<Vec<u8>, EngineError> {
    Ok(optimizer.into_bytes().map_err(record(what))?.to_vec())
}

fn record(what: &str) -> impl FnOnce(burn::store::RecordError) -> EngineError {
    let what = what.to_owned();
    move |source| EngineError::Record { what, source }
}

fn json(what: &'static str) -> impl FnOnce(serde_json::Error) -> EngineError {
    move |source| EngineError::Io {
        action: "cannot encode",
        path: what.into(),
        source: source.into(),
    }
}

impl State {
    /// Its file.
    pub(super) fn file(&self) -> Result<(&'static str, Vec<u8>), EngineError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(json(STATE))?;
        Ok((STATE, bytes))
    }
}

/// A folder with its contents, or a file that has a checkpoint's name.
fn remove_any(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(io("cannot write", path))
}

/// Makes names durable, not only contents.
fn sync_folder(path: &Path) -> Result<(), EngineError> {
    if cfg!(unix) {
        File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(io("cannot flush folder", path))?;
    }
    Ok(())
}

pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    let path = path.to_owned();
    move |source| EngineError::Io {
        action,
        path,
        source,
    }
}
