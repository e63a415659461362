//! Reading checkpoints: sums first, then contents.

use std::collections::BTreeMap;
use std::fs;

use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::store::ModuleRecord;
use burn::tensor::Bytes;

use super::write::{Saved, io};
use super::{
    Checkpoints, DISCRIMINATOR, DISCRIMINATOR_OPTIMIZER, EMA, FORMAT, GENERATOR,
    GENERATOR_OPTIMIZER, MANIFEST, Manifest, STATE, State, sha256_hex,
};
use crate::error::EngineError;
use crate::objective::ObjectiveConfig;
use crate::trainer::Trainer;

/// The contents of one checkpoint, its sums verified.
#[derive(Debug)]
pub struct Checkpoint {
    pub(super) state: State,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// The newest checkpoint that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// Its contents.
    pub checkpoint: Checkpoint,
    /// Why newer ones were passed over, one message each.
    pub damaged: Vec<String>,
}

impl Checkpoint {
    /// Steps done when it was written.
    pub fn step(&self) -> u64 {
        self.state.step
    }
}

impl Checkpoints {
    /// The newest checkpoint that is what was written.
    ///
    /// # Errors
    /// [`EngineError::NoCheckpoint`] where there is none, with the reasons for those that are damaged.
    pub fn load_latest(&self) -> Result<Loaded, EngineError> {
        let mut damaged = Vec::new();
        for step in self.steps().into_iter().rev() {
            match self.load(step) {
                Ok(checkpoint) => {
                    return Ok(Loaded {
                        checkpoint,
                        damaged,
                    });
                }
                Err(error) => damaged.push(error.to_string()),
            }
        }
        Err(EngineError::NoCheckpoint {
            path: self.folder.clone(),
            damaged,
        })
    }

    /// The checkpoint of `step`.
    ///
    /// # Errors
    /// [`EngineError::DamagedCheckpoint`] where it differs from what was written.
    pub fn load(&self, step: u64) -> Result<Checkpoint, EngineError> {
        let folder = self.path(step);
        let damaged = |message: String| EngineError::DamagedCheckpoint {
            path: folder.clone(),
            message,
        };
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(io("cannot read", &path))
        };
        let manifest: Manifest = serde_json::from_slice(&read(MANIFEST)?)
            .map_err(|e| damaged(format!("`{MANIFEST}` is not readable: {e}")))?;
        let mut files = BTreeMap::new();
        for (name, entry) in manifest.files {
            let bytes = read(&name)?;
            if bytes.len() as u64 != entry.bytes {
                return Err(damaged(format!(
                    "`{name}` has {} bytes, expected {}",
                    bytes.len(),
                    entry.bytes
                )));
            }
            if sha256_hex(&bytes) != entry.sha256 {
                return Err(damaged(format!("`{name}` does not match its SHA-256 sum")));
            }
            files.insert(name, bytes);
        }
        let state = files
            .get(STATE)
            .ok_or_else(|| damaged(format!("`{STATE}` is missing")))?;
        let state: State = serde_json::from_slice(state)
            .map_err(|e| damaged(format!("`{STATE}` is not readable: {e}")))?;
        if state.format != FORMAT {
            return Err(damaged(format!(
                "its format is {}, this version reads {FORMAT}",
                state.format
            )));
        }
        Ok(Checkpoint { state, files })
    }
}

impl Trainer {
    /// Goes back to where `checkpoint` was taken. The trainer must have the settings of that run.
    ///
    /// # Errors
    /// [`EngineError::Mismatch`] where the networks differ from the saved ones; the trainer is left as it was.
    pub fn restore(&mut self, checkpoint: &Checkpoint) -> Result<(), EngineError> {
        let files = Files(&checkpoint.files);
        self.check_frozen(checkpoint.state.frozen_sha256.as_deref())?;
        let (generator, ema, _) = self.checkpoint_parts();
        let trained = Saved::of_trained(generator.module());
        let module = files.module(generator.module(), &trained, GENERATOR)?;
        let optimizer = files.optimizer(generator.optimizer(), GENERATOR_OPTIMIZER)?;
        let average = ema
            .map(|ema| files.module(ema.module(), &trained, EMA))
            .transpose()?;
        let adversary = match (&checkpoint.state.adversary, &self.config().objective) {
            (Some(state), ObjectiveConfig::Dsl(dsl)) => {
                let mut adversary = self.new_adversary(dsl)?;
                let saved = Saved::of_discriminator(generator.module(), adversary.network());
                let module = files.module(adversary.network(), &saved, DISCRIMINATOR)?;
                let optimizer =
                    files.optimizer(adversary.learner.optimizer(), DISCRIMINATOR_OPTIMIZER)?;
                adversary.learner.restore(module.train(), optimizer);
                adversary.margins = state.margins.clone();
                adversary.updates = state.updates;
                Some(adversary)
            }
            (Some(_), _) => {
                return Err(EngineError::Mismatch {
                    message: "it holds a discriminator, and `objective.kind` is not `dsl`"
                        .to_owned(),
                    help: "resume with the configuration of the run".to_owned(),
                });
            }
            (None, _) => None,
        };

        // Everything fits: from here on nothing fails.
        let (generator, ema) = self.checkpoint_parts_mut();
        generator.restore(module.train(), optimizer);
        if let (Some(ema), Some(average)) = (ema, average) {
            ema.restore(average);
        }
        self.set_restored(adversary, checkpoint.state.step);
        Ok(())
    }

    /// What a checkpoint leaves out has to be what it was.
    fn check_frozen(&self, saved: Option<&str>) -> Result<(), EngineError> {
        let mismatch = |message: String| {
            Err(EngineError::Mismatch {
                message,
                help: "resume with the configuration and the base model of the run".to_owned(),
            })
        };
        match (saved, self.frozen_sha256()) {
            (saved, found) if saved == found => Ok(()),
            (Some(saved), Some(found)) => mismatch(format!(
                "it was trained on a frozen base whose weights have the SHA-256 {saved}, and those of the base at hand \
                 have {found}"
            )),
            (Some(_), None) => mismatch(
                "it holds the trained parameters alone, and this run trains all of them".to_owned(),
            ),
            (None, _) => {
                mismatch("it holds all parameters, and this run trains a part of them".to_owned())
            }
        }
    }
}

pub(super) struct Files<'a>(pub(super) &'a BTreeMap<String, Vec<u8>>);

impl Files<'_> {
    fn bytes(&self, name: &str) -> Result<Bytes, EngineError> {
        match self.0.get(name) {
            Some(bytes) => Ok(Bytes::from_bytes_vec(bytes.clone())),
            None => Err(EngineError::Mismatch {
                message: format!("it has no `{name}`"),
                help: "resume with the configuration of the run".to_owned(),
            }),
        }
    }

    /// `module` with the saved weights and parameter ids, off the autodiff graph; the others are left as they are.
    pub(super) fn module<M: Module>(
        &self,
        module: &M,
        saved: &Saved,
        name: &str,
    ) -> Result<M, EngineError> {
        let mismatch = |reason: String| EngineError::Mismatch {
            message: format!("`{name}`: {reason}"),
            help: "resume with the configuration of the run".to_owned(),
        };
        let record = ModuleRecord::from_bytes(self.bytes(name)?)
            .map_err(|source| mismatch(source.to_string()))?;
        let found = record.len();
        if found != saved.len() {
            return Err(mismatch(format!(
                "it has {found} tensors, and this run trains {}",
                saved.len()
            )));
        }
        // None is left over, so that as many as there are to be read are all of them.
        module
            .valid()
            .try_load_record(record.allow_partial(true))
            .map_err(|source| mismatch(source.to_string()))
    }

    pub(super) fn optimizer(
        &self,
        optimizer: &ModuleOptimizer,
        name: &str,
    ) -> Result<ModuleOptimizer, EngineError> {
        optimizer
            .clone()
            .from_bytes(self.bytes(name)?)
            .map_err(|source| EngineError::Record {
                what: name.to_owned(),
                source,
            })
    }
}
