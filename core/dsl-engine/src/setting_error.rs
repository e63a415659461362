//! What is wrong with a schedule, sampler or guidance setting: found before any work starts.

use std::fmt::Display;

/// A setting that cannot be used. The user corrects the configuration; nothing has run yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// One value lies outside what its key allows.
    #[error("`{key}` is {found}\n  expected: {expected}")]
    OutOfRange {
        /// Key of the setting, as in the configuration file.
        key: &'static str,
        /// The value that was given.
        found: String,
        /// The values that are allowed, in words.
        expected: String,
    },
    /// Values that are fine alone exclude one another.
    #[error("`{key}` cannot be combined with `{other}`: {why}\nhint: {help}")]
    Conflict {
        /// Key of the setting that has to give way.
        key: &'static str,
        /// The setting it clashes with.
        other: String,
        /// What would go wrong.
        why: String,
        /// What to change.
        help: String,
    },
}

impl SettingError {
    pub(crate) fn out_of_range(
        key: &'static str,
        found: impl Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::OutOfRange {
            key,
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    pub(crate) fn conflict(
        key: &'static str,
        other: impl Into<String>,
        why: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self::Conflict {
            key,
            other: other.into(),
            why: why.into(),
            help: help.into(),
        }
    }
}
