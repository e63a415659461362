//! What a user can set below `task:`.

use std::path::PathBuf;

use dsl_sdk::PluginError;
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};

/// Settings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct TableConfig {
    /// CSV file with a header line. `null` takes states of the Lorenz system: columns `x`, `y`, `z`.
    pub path: Option<PathBuf>,
    /// Columns to train on, by their names in the header; `null` takes all. `model.denoiser.features` is their number.
    pub columns: Option<Vec<String>>,
    /// Share of the rows that is held out to measure on, 0.01..0.5.
    #[schemars(range(min = 0.01, max = 0.5))]
    pub held_out: f64,
    /// Standard deviation of the noise that each training row gets anew, in standard deviations of its column, 0..1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: f32,
}

impl Default for TableConfig {
    fn default() -> Self {
        Self {
            path: None,
            columns: None,
            held_out: 0.1,
            jitter: 0.0,
        }
    }
}

impl TableConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// The first that cannot be, by its key.
    pub fn check(&self) -> Result<(), PluginError> {
        if !(0.01..=0.5).contains(&self.held_out) {
            return Err(wrong("held_out", self.held_out, "0.01 to 0.5"));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(wrong("jitter", self.jitter, "0 to 1"));
        }
        if self.columns.as_ref().is_some_and(Vec::is_empty) {
            return Err(wrong(
                "columns",
                "an empty list",
                "at least one name, or null",
            ));
        }
        Ok(())
    }
}

fn wrong(key: &str, found: impl std::fmt::Display, expected: &str) -> PluginError {
    PluginError::config(format!("`task.{key}` is {found}, expected {expected}"))
}
