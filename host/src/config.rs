//! Configuration of a run: YAML, TOML or JSON and `--set`, checked against one JSON Schema.
//!
//! A run's configuration is made of layers, each above the one before: the host's defaults, the values that the plugin
//! recommends, the file, `--set` arguments. The merged whole is checked against one schema, the host's part with the
//! plugin's own embedded at `task`; everything that is wrong is reported at once, where the user wrote it.

mod document;
mod error;
mod export;
mod json;
mod layers;
mod overrides;
mod resolve;
mod run_config;
mod schema;
mod suggest;
mod toml;
mod validate;
mod view;
mod yaml;

#[cfg(test)]
mod tests;

pub use document::{Document, Format, NodeSpan, Source};
pub use error::{ConfigError, ConfigErrors, Place};
pub use export::export;
pub use layers::Origin;
pub use overrides::task_part;
pub use resolve::{Configuration, Problem, Resolved, resolve_config, resolve_over};
pub use run_config::{
    BaseModel, LoggingConfig, ModelSection, RunConfig, SamplingConfig, StartFrom, TaskModuleSizes,
    resolve, schema, schema_text,
};
pub use schema::{PluginParts, compose};
