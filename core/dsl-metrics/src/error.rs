//! The one error type of this crate.

/// Why a metric cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// Numbers do not fill their shape, or two inputs differ in theirs.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which input.
        what: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// There are too few samples for the metric to be defined.
    #[error("{metric} wants {least} {of} at least, found {found}")]
    TooFew {
        /// The metric.
        metric: &'static str,
        /// What is counted.
        of: &'static str,
        /// How many it takes.
        least: usize,
        /// How many there are.
        found: usize,
    },
    /// An input holds a value that is not finite.
    #[error("{what} holds the value {value}, which is not finite")]
    NotFinite {
        /// Which input.
        what: &'static str,
        /// The first such value.
        value: f64,
    },
    /// A setting has a value that it cannot have.
    #[error("`{field}` = {found} cannot be used: {reason}")]
    Setting {
        /// The setting.
        field: &'static str,
        /// Its value.
        found: f64,
        /// Why not.
        reason: &'static str,
    },
}

impl MetricsError {
    pub(crate) fn shape(what: &'static str, expected: impl ToString, found: impl ToString) -> Self {
        Self::Shape {
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

/// All of `values` are finite.
pub(crate) fn finite(what: &'static str, values: &[f64]) -> Result<(), MetricsError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(&value) => Err(MetricsError::NotFinite { what, value }),
        None => Ok(()),
    }
}
