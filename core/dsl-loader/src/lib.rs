//! Finds, loads, checks and calls task plugins, from the host's side.
//!
//! Used by the host and by tests of plugins. It must never depend on anything that computes: batches leave it as plain
//! columns, whose numbers still lie in the plugin's memory.
//!
//! ```no_run
//! use std::sync::Arc;
//! use dsl_loader::{Plugin, Quiet};
//!
//! # fn main() -> Result<(), dsl_loader::LoaderError> {
//! let plugin = Plugin::open(&Plugin::find("t2i.so")?, Arc::new(Quiet))?;
//! let task = plugin.open_task(&plugin.default_config()?)?;
//! let train = task.dataset("train")?;
//! let batch = train.batch(&[0, 1, 2], &[7, 8, 9], true)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Trust
//! A plugin is native code with the rights of the user: opening it runs it. What is checked before it runs (file type,
//! machine, entry symbol) and after (layouts, shapes, types, texts) protects against mistakes, not against malice.
//!
//! A plugin stays loaded until the process ends: thread-local values of a library make unloading it unsound.

mod arrived;
mod call;
mod columns;
mod dataset;
mod error;
mod evaluator;
mod features;
mod file;
mod find;
mod host;
mod in_call;
mod lend;
mod open;
mod picture;
mod plugin;
mod relog;
mod self_test;
mod task;

pub use columns::{HostArtefact, HostColumn, HostColumnData, HostTensor, InputColumn, InputData};
pub use dataset::{Buckets, DatasetHandle};
pub use dsl_abi::declare::{
    ColumnRole, ColumnSpec, DType, Direction, ErrorCode, FeatureInfo, FeatureKind, Injection,
    Manifest, MetricValue, MultiViewAttention, Requirements, TaskDescription,
};
pub use error::LoaderError;
pub use evaluator::EvaluatorHandle;
pub use features::{Pictures, known_features, missing_features};
pub use find::{Found, all_plugins};
pub use host::{HostCallbacks, HostError, Quiet};
pub use in_call::{CallInProgress, calls_in_progress, end_process, explain_crashes, kill_group};
pub use picture::RgbPicture;
pub use plugin::Plugin;
pub use self_test::SelfTest;
pub use task::TaskHandle;
