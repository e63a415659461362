//! What can go wrong between host and plugin, by who has to act.

use std::path::PathBuf;

use crate::ErrorCode;

/// What can go wrong between host and plugin. The message is what and where; [`LoaderError::help`] is what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LoaderError {
    /// No file of that name: the user names another, or says where it is.
    #[error("no plugin `{name}` found; looked for {}", .looked_for.join(", "))]
    NotFound {
        /// What was asked for.
        name: String,
        /// Everything that was tried, in order: file names, and folders with what was wrong there.
        looked_for: Vec<String>,
    },

    /// The file could not be read.
    #[error("cannot read plugin {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        reason: String,
    },

    /// The file is something else. None of its code ran.
    #[error("{} is not a plugin: {found}", .path.display())]
    NotAPlugin {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: String,
        /// What to do.
        help: String,
    },

    /// The host does not want this file, for instance because it is not as it was when the user allowed it. None of its
    /// code ran.
    #[error("plugin {} is refused: {reason}", .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
        /// What to do; may be empty.
        help: String,
    },

    /// It looks like a plugin, but the operating system cannot load it.
    #[error("cannot load plugin {}: {reason}", .path.display())]
    LoadFailed {
        /// The file.
        path: PathBuf,
        /// What the dynamic linker says.
        reason: String,
    },

    /// It is a plugin, built against another version of the interface.
    #[error("plugin {} was built for another version of the plugin interface: {reason}", .path.display())]
    OtherAbi {
        /// The file.
        path: PathBuf,
        /// The difference, in short.
        reason: String,
        /// The whole report of the layout check; may be empty.
        detail: String,
    },

    /// The plugin returned an error.
    #[error("plugin `{plugin}`, {call}: {message}")]
    Plugin {
        /// Id of the plugin.
        plugin: String,
        /// The call that failed.
        call: String,
        /// Why, as the plugin says.
        code: ErrorCode,
        /// What happened, as the plugin says.
        message: String,
        /// What to do, as the plugin says; may be empty.
        help: Box<str>,
        /// More for developers, such as a backtrace; may be empty.
        detail: Box<str>,
    },

    /// The plugin broke a rule of the interface: its authors have to act.
    #[error("plugin `{plugin}`, {call}: expected {expected}, found {found}")]
    Contract {
        /// Id of the plugin, or its path before the id is known.
        plugin: String,
        /// The call whose result is wrong.
        call: String,
        /// What the interface asks for.
        expected: String,
        /// What came.
        found: String,
    },
}

impl LoaderError {
    /// What to do about it, in one line.
    pub fn help(&self) -> Option<String> {
        let help = match self {
            Self::NotFound { .. } => {
                "give the path of the plugin file, or put its folder into DSL_PLUGIN_PATH"
                    .to_owned()
            }
            Self::Unreadable { .. } => {
                "check that the file exists and that you may read it".to_owned()
            }
            Self::NotAPlugin { help, .. } | Self::Refused { help, .. } => help.clone(),
            Self::Plugin { help, .. } => help.to_string(),
            Self::LoadFailed { .. } => {
                "build the plugin on this system, or install what it links to".to_owned()
            }
            Self::OtherAbi { .. } => {
                "build the plugin again with the SDK of this release".to_owned()
            }
            Self::Contract { plugin, .. } => {
                format!("this is a mistake in the plugin `{plugin}`; tell its authors")
            }
        };
        (!help.is_empty()).then_some(help)
    }

    /// What only a developer wants to read: a backtrace of the plugin, a layout report.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Plugin { detail, .. } => Some(&**detail),
            Self::OtherAbi { detail, .. } => Some(detail.as_str()),
            _ => None,
        }
        .filter(|detail| !detail.is_empty())
    }

    /// Whether the plugin stopped because the host asked it to.
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            Self::Plugin {
                code: ErrorCode::Cancelled,
                ..
            }
        )
    }
}
