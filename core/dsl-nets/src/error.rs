//! The one error type of this crate.

use std::path::PathBuf;

/// What can go wrong while a network is described, built, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetsError {
    /// A field of a network's configuration has a value that the network cannot have.
    #[error("`{field}` = {found} cannot be used: {reason}")]
    InvalidConfig {
        /// Name of the field, as written in `config.json`.
        field: String,
        /// The value that was given, as JSON.
        found: String,
        /// Why it cannot be used, and what can.
        reason: String,
    },

    /// A field of a diffusers `config.json` that this implementation has no layer for.
    #[error("`{field}` = {found} is not supported: {reason}")]
    UnsupportedOption {
        /// Name of the field, as written in `config.json`.
        field: String,
        /// The value that was given, as JSON.
        found: String,
        /// What is missing, and which values work.
        reason: String,
    },

    /// A network was called without something that it was built to read.
    #[error("the conditioning has no `{part}`: {reason}")]
    MissingConditioning {
        /// Field of [`Conditioning`](crate::Conditioning).
        part: &'static str,
        /// Why the network reads it.
        reason: &'static str,
    },

    /// A text that should be JSON of a certain form is not.
    #[error("{what} is not valid: {source}")]
    Json {
        /// What was being read.
        what: String,
        /// What the JSON reader found.
        source: serde_json::Error,
    },

    /// Something is wrong in a file.
    #[error("{path}: {source}")]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<NetsError>,
    },

    /// A pattern in a list of adapter targets is not a regular expression.
    #[error("the adapter target `{pattern}` is not a regular expression: {source}")]
    TargetPattern {
        /// The pattern as given.
        pattern: String,
        /// What the parser found.
        source: regex::Error,
    },

    /// No layer of the network matches any of the adapter's targets.
    #[error(
        "no linear layer matches the adapter targets {targets:?}; layers are named like `{example}`"
    )]
    NoTargets {
        /// The patterns as given.
        targets: Vec<String>,
        /// Path of one layer that could be adapted.
        example: String,
    },

    /// The adapter does not belong to the network.
    #[error("{path}: {reason}")]
    Adapter {
        /// The adapter's file or folder.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },

    /// A file could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// "read" or "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },

    /// A weight file is damaged or is not in the safetensors format.
    #[error("{path} is not a readable safetensors file: {reason}")]
    WeightFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A model's folder has no weights that can be read.
    #[error("{folder}: {reason}")]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// What was looked for, and what there is instead.
        reason: String,
    },

    /// A weight file does not hold what the network needs.
    #[error("{path} does not fit the network: {report}")]
    WeightsDoNotFit {
        /// The file.
        path: PathBuf,
        /// What is missing, left over, or of another shape.
        report: Box<crate::weights::LoadReport>,
    },

    /// A base lacks something that the network has beside the modules of its task.
    #[error(
        "{path} is no base for this network, which has more than it and its task's modules: {report}"
    )]
    BaseLacks {
        /// The base's file.
        path: PathBuf,
        /// What is missing or of another shape.
        report: Box<crate::weights::LoadReport>,
    },

    /// The tokenizer could not be trained, read or applied.
    #[error("tokenizer: {action} failed: {reason}")]
    Tokenizer {
        /// What was being done.
        action: &'static str,
        /// The reason.
        reason: String,
    },
}

impl NetsError {
    pub(crate) fn config(
        field: impl Into<String>,
        found: impl serde::Serialize,
        reason: impl Into<String>,
    ) -> Self {
        Self::InvalidConfig {
            field: field.into(),
            found: json_text(&found),
            reason: reason.into(),
        }
    }

    pub(crate) fn read(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            action: "read",
            path: path.into(),
            source,
        }
    }

    pub(crate) fn write(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            action: "write",
            path: path.into(),
            source,
        }
    }
}

/// The value as JSON, for messages.
pub(crate) fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "(unprintable)".to_owned())
}
