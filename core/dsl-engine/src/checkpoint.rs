//! Checkpoints: everything the next step reads, written whole or not at all.
//!
//! A checkpoint is a folder `step-NNNNNNNN` of burnpack records and a `manifest.json` with their SHA-256 sums. It is
//! written under a temporary name, flushed to disk and renamed, so that a folder of the final name is complete; the
//! sums find what happens to it later. Weights are kept with their parameter ids, to which optimiser moments belong.
//! Random streams and schedules need no state: they are functions of the step.
//!
//! Parameters that the generator does not train are left out, of both networks: they come from the base, and their SHA-256
//! is kept, so that a base that has changed is refused.

mod read;
mod wrapping;
mod write;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use read::{Checkpoint, Loaded};

use crate::objective::dsl::Margins;

/// When checkpoints are written, and how many are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Steps between two checkpoints. One more is written when the run ends or is interrupted.
    #[schemars(range(min = 1))]
    pub every_steps: u64,
    /// Number of checkpoints kept, the newest ones. With 2 or more, damage to the newest costs only the steps since
    /// the one before.
    #[schemars(range(min = 1))]
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every_steps: 500,
            keep: 2,
        }
    }
}

/// The checkpoints of one run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// Checkpoints in `folder`, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>, keep: usize) -> Self {
        Self {
            folder: folder.into(),
            keep: keep.max(1),
        }
    }

    /// The folder that holds them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Steps that a checkpoint exists for, oldest first; unread, so some may be damaged.
    pub fn steps(&self) -> Vec<u64> {
        let mut steps: Vec<u64> = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                entry
                    .ok()?
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

    /// Where the checkpoint of `step` lies.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:08}"))
    }
}

/// What is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Version of this layout.
    pub format: u32,
    /// Steps done.
    pub step: u64,
    /// The discriminator's part, once it exists.
    pub adversary: Option<AdversaryState>,
    /// SHA-256 of the generator's frozen parameters, where it has some: those that are not in the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_sha256: Option<String>,
}

/// The discriminator's part of [`State`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdversaryState {
    pub margins: Margins,
    pub updates: u64,
}

/// Names and sums of a checkpoint's files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub files: std::collections::BTreeMap<String, FileEntry>,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub bytes: u64,
    pub sha256: String,
}

pub(crate) const FORMAT: u32 = 1;
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const STATE: &str = "state.json";
pub(crate) const GENERATOR: &str = "generator.bpk";
pub(crate) const GENERATOR_OPTIMIZER: &str = "generator_optimizer.bpk";
pub(crate) const EMA: &str = "generator_ema.bpk";
pub(crate) const DISCRIMINATOR: &str = "discriminator.bpk";
pub(crate) const DISCRIMINATOR_OPTIMIZER: &str = "discriminator_optimizer.bpk";
pub(crate) const WRAPPING: &str = "wrapping.bpk";
pub(crate) const WRAPPING_OPTIMIZER: &str = "wrapping_optimizer.bpk";

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
