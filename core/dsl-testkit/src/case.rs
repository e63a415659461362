//! What a case is, and how it may end.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{cases, context::Context};

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Passed,
    /// The plugin breaks a rule.
    Failed,
    /// The plugin ended the process.
    Crashed,
    /// The case does not apply to this plugin or to this system.
    Skipped,
    /// Allowed, and likely not what the author wants.
    Warning,
}

impl Status {
    /// Whether the plugin is to be refused for it.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Failed | Self::Crashed)
    }

    /// Name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Crashed => "CRASHED",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How a case ended, as the case itself says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) status: Status,
    pub(crate) message: String,
    /// What to do, or more for developers.
    pub(crate) help: String,
    pub(crate) detail: String,
}

impl Verdict {
    fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            help: String::new(),
            detail: String::new(),
        }
    }

    pub(crate) fn passed(message: impl Into<String>) -> Self {
        Self::new(Status::Passed, message)
    }

    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Self::new(Status::Warning, message)
    }

    pub(crate) fn skipped(message: impl Into<String>) -> Self {
        Self::new(Status::Skipped, message)
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Status::Failed, message)
    }

    pub(crate) fn crashed(message: impl Into<String>) -> Self {
        Self::new(Status::Crashed, message)
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// A call that has to work did not: the case fails with what the loader says.
impl From<dsl_loader::LoaderError> for Verdict {
    fn from(error: dsl_loader::LoaderError) -> Self {
        Self::failed(error.to_string())
            .with_help(error.help().unwrap_or_default())
            .with_detail(error.detail().unwrap_or_default())
    }
}

/// Either way it is a verdict; the error side lets `?` end a case.
pub(crate) type Outcome = Result<Verdict, Verdict>;

/// One question to a plugin.
#[derive(Clone, Copy)]
pub struct Case {
    /// Unique name in kebab-case.
    pub name: &'static str,
    /// The rule that it checks, as a sentence.
    pub rule: &'static str,
    /// How long it may take, in seconds, where the caller sets no limit.
    pub time_limit_secs: u64,
    pub(crate) run: fn(&Context) -> Outcome,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All cases, in the order in which they are run: from the file to its memory.
pub fn all_cases() -> Vec<Case> {
    cases::all()
}
