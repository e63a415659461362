//! Multi-view task plugin: one view of an object, and sixteen around it (SyncDreamer, Liu et al. 2023).
//!
//! Loaded by the host as `syncdreamer.so`. It depends on `dsl-sdk`, `dsl-render` and `dsl-views` alone and knows no network:
//! it draws views of meshes, or reads rendered ones, and declares that they condition the network as further channels, by
//! poses, and by a volume made of all views.

mod config;
mod dataset;
mod defaults;
mod evaluator;
mod sheet;
mod task;
#[cfg(test)]
mod tests;

pub use config::{DataConfig, Dropout, Evaluation, Format, SyncDreamerConfig};
pub use dataset::ObjectViews;
pub use evaluator::ViewScores;
pub use task::SyncDreamer;

dsl_sdk::export_plugin!(SyncDreamer);
