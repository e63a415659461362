//! Why a check could not be made at all.

use std::{io, path::PathBuf};

/// Why a check could not be made at all. What a plugin does wrong is never one of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestkitError {
    /// The plugin's file cannot be read.
    #[error("cannot read the plugin {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No case is chosen.
    #[error("no case has `{filter}` in its name; `--list` names them all")]
    NoCase {
        /// What was looked for.
        filter: String,
    },
    /// A child process, or a file for its answer, cannot be made.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl TestkitError {
    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
