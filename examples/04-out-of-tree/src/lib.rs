//! Rows of numbers from a CSV file, as a task for dsl-host.

mod config;
mod dataset;
mod evaluator;
mod lorenz;
mod rows;
mod task;

pub use config::TableConfig;
pub use task::Table;

dsl_sdk::export_plugin!(Table);
