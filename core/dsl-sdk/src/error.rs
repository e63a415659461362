//! The error of a plugin.

use std::{fmt, io, path::Path};

use dsl_abi::AbiError;

use crate::ErrorCode;

/// Why a call failed, for the user to read. One line each, no full stop; the host adds plugin and call.
///
/// ```
/// # use dsl_sdk::PluginError;
/// let error = PluginError::config("`data.path` is an empty folder: photos/").with_help("put images into it");
/// assert_eq!(error.to_string(), "`data.path` is an empty folder: photos/\nhelp: put images into it");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// Who has to act.
    pub code: ErrorCode,
    /// What happened, and where.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
    /// Anything longer, for developers; may be empty.
    pub detail: String,
}

impl PluginError {
    /// An error of any code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: String::new(),
            detail: String::new(),
        }
    }

    /// The configuration asks for something that cannot be. Name the key.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Config, message)
    }

    /// A file or folder could not be read. Name it; see [`PluginError::io_at`].
    pub fn io(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Io, message)
    }

    /// An error of the operating system at a path: `cannot read photos/a.png: permission denied`.
    pub fn io_at(action: &str, path: impl AsRef<Path>, error: &io::Error) -> Self {
        Self::io(format!(
            "cannot {action} {}: {error}",
            path.as_ref().display()
        ))
    }

    /// The host asked for a stop, and the call stopped.
    pub fn cancelled() -> Self {
        Self::new(ErrorCode::Cancelled, "stopped, as the host asked")
    }

    /// The plugin does not offer what was asked for.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unsupported, message)
    }

    /// A rule of the boundary is broken: a mistake in the plugin or the host, never of the user.
    pub fn contract(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Contract, message)
    }

    /// None of the others.
    pub fn other(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Other, message)
    }

    /// Says what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Adds what only a developer wants to read.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "\nhelp: {}", self.help)?;
        }
        Ok(())
    }
}

impl std::error::Error for PluginError {}

impl From<PluginError> for AbiError {
    fn from(error: PluginError) -> Self {
        Self {
            code: error.code.raw(),
            message: error.message.into(),
            help: error.help.into(),
            detail: error.detail.into(),
        }
    }
}

impl From<AbiError> for PluginError {
    fn from(error: AbiError) -> Self {
        Self {
            code: ErrorCode::from_raw(error.code),
            message: error.message.into(),
            help: error.help.into(),
            detail: error.detail.into(),
        }
    }
}
