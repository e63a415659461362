//! What the author of a task plugin depends on: safe Rust traits, one macro, and helpers for images and captions.
//!
//! Used by plugins. It must never depend on anything that trains (a plugin is data, conditioning and evaluation; the
//! host owns the networks), and its API names no type of the binary boundary.
//!
//! A plugin is a library crate of type `cdylib` that depends on this crate alone:
//!
//! ```
//! use dsl_sdk::{
//!     Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Host, PluginError, Task,
//!     TaskDescription,
//!     schemars::JsonSchema,
//!     serde::{Deserialize, Serialize},
//! };
//!
//! /// Points on a circle.
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! #[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
//! #[schemars(crate = "dsl_sdk::schemars")]
//! struct CircleConfig {
//!     /// Radius of the circle.
//!     radius: f32,
//! }
//!
//! impl Default for CircleConfig {
//!     fn default() -> Self {
//!         Self { radius: 1.0 }
//!     }
//! }
//!
//! struct Circle {
//!     radius: f32,
//! }
//!
//! impl Task for Circle {
//!     const ID: &'static str = "circle";
//!     const NAME: &'static str = "Circle";
//!     const DESCRIPTION: &'static str = "Points on a circle around the origin";
//!     type Config = CircleConfig;
//!
//!     fn open(config: CircleConfig, _host: Host) -> Result<Self, PluginError> {
//!         if config.radius <= 0.0 {
//!             return Err(PluginError::config(format!("`radius` is {}, expected more than 0", config.radius)));
//!         }
//!         Ok(Self { radius: config.radius })
//!     }
//!
//!     fn describe(&self) -> TaskDescription {
//!         TaskDescription { target: "point".into(), injections: vec![], sample_prompts: vec![] }
//!     }
//!
//!     fn splits(&self) -> Vec<String> {
//!         vec!["train".into()]
//!     }
//!
//!     fn dataset(&self, _split: &str) -> Result<Box<dyn Dataset>, PluginError> {
//!         Ok(Box::new(Points { radius: self.radius }))
//!     }
//! }
//!
//! struct Points {
//!     radius: f32,
//! }
//!
//! impl Dataset for Points {
//!     fn len(&self) -> u64 {
//!         360
//!     }
//!
//!     fn columns(&self) -> Vec<ColumnSpec> {
//!         vec![ColumnSpec { name: "point".into(), dtype: DType::F32, shape: vec![Some(2)], role: ColumnRole::Vector }]
//!     }
//!
//!     fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
//!         let values = request.indices.iter().flat_map(|&degree| {
//!             let (sin, cos) = (degree as f32).to_radians().sin_cos();
//!             [self.radius * cos, self.radius * sin]
//!         });
//!         let data = ColumnData::F32 { shape: vec![request.indices.len() as u64, 2], values: values.collect() };
//!         Ok(Batch { columns: vec![Column { name: "point".into(), data }] })
//!     }
//! }
//!
//! dsl_sdk::export_plugin!(Circle);
//! # fn main() {}
//! ```
//!
//! # Rules
//! - A sample depends on its index and its seed alone, on any thread and in any process.
//! - Errors say what, where and what to do; see [`PluginError`]. A panic is caught and reported to the host as a mistake
//!   of the plugin.
//! - Log with [`tracing`]: events go to the host's log, under the plugin's name.

mod artefacts;
mod batch;
pub mod captions;
mod error;
mod export;
mod guard;
mod host;
pub mod image;
pub mod image_folder;
mod log;
mod task;
pub mod webdataset;

#[cfg(test)]
mod tests;

pub use artefacts::Artefacts;
pub use batch::{Batch, Column, ColumnData};
pub use dsl_abi::declare::{
    ColumnRole, ColumnSpec, DType, Direction, ErrorCode, FeatureInfo, FeatureKind, Injection,
    Manifest, MetricValue, Requirements, TaskDescription,
};
pub use error::PluginError;
pub use host::{Features, Host};
pub use task::{Asset, BatchRequest, Dataset, Evaluator, Task};

pub use {schemars, serde, serde_json, tracing};

/// What [`export_plugin!`] expands to. Not for direct use, and not covered by any promise.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{Exported, Package};
    pub use dsl_abi::{abi_stable::library::LibHeader, root::header};
}
