//! What can go wrong while training.

use std::path::PathBuf;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A loss or gradient norm stopped being a number.
    #[error(
        "step {step}: `{name}` is {value}; the weights were not updated\n  hint: lower `train.learning_rate`, or set `train.max_grad_norm`"
    )]
    NonFinite {
        /// Step, counted from 1.
        step: u64,
        /// The quantity, named as in `metrics.jsonl`.
        name: String,
        /// What it became.
        value: f64,
    },
    /// A setting that the engine cannot work with.
    #[error("{key}: {message}\n  hint: {help}")]
    Config {
        /// Dotted configuration key.
        key: String,
        /// What is wrong.
        message: String,
        /// What to write instead.
        help: String,
    },
    /// A batch that does not fit the networks.
    #[error("batch of step {step}: {message}")]
    Batch {
        /// Step, counted from 1.
        step: u64,
        /// What is wrong: expected and found.
        message: String,
    },
    /// A file of a checkpoint could not be read or written.
    #[error("{action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A checkpoint is not what was written.
    #[error("checkpoint `{}` is damaged: {message}", path.display())]
    DamagedCheckpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What differs.
        message: String,
    },
    /// No checkpoint of a run can be used.
    #[error("no usable checkpoint in `{}`{}", path.display(), damaged.iter().map(|d| format!("\n  {d}")).collect::<String>())]
    NoCheckpoint {
        /// The folder searched.
        path: PathBuf,
        /// Damaged ones, each with its reason.
        damaged: Vec<String>,
    },
    /// A checkpoint belongs to a run with other settings.
    #[error("checkpoint does not fit this run: {message}\n  hint: {help}")]
    Mismatch {
        /// Expected and found.
        message: String,
        /// What to do.
        help: String,
    },
    /// Weights and optimiser state could not be encoded or decoded.
    #[error("{what}: {source}")]
    Record {
        /// Which part of the state.
        what: String,
        /// burn's reason.
        source: burn::store::RecordError,
    },
    /// A schedule, sampler or loss setting cannot be used.
    #[error(transparent)]
    Setting(#[from] crate::setting_error::SettingError),
    /// A network could not be built or called.
    #[error(transparent)]
    Nets(#[from] dsl_nets::NetsError),
    /// The source of training samples failed.
    #[error(transparent)]
    Data(Box<dyn std::error::Error + Send + Sync>),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}
