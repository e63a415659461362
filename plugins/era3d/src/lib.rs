//! Multi-view task plugin: one view at an unknown camera, and six of colour and normals (Era3D, Li et al. 2024).
//!
//! Loaded by the host as `era3d.so`. It depends on `dsl-sdk`, `dsl-render` and `dsl-views` alone and knows no network: it
//! draws views and normal maps of meshes, or reads rendered ones, and declares that views attend to each other row by row, in
//! two domains, while the camera of the input is estimated.

mod config;
mod dataset;
mod defaults;
mod evaluator;
mod sheet;
mod task;
#[cfg(test)]
mod tests;

pub use config::{Background, DataConfig, Dropout, ElevationPer, Era3dConfig, Evaluation, Format};
pub use dataset::ObjectViews;
pub use evaluator::ViewScores;
pub use task::Era3d;

dsl_sdk::export_plugin!(Era3d);
