//! Two-dimensional Gaussian mixtures with closed-form scores: the yardstick for objectives.
//!
//! Loaded by the host as `mixture.so`. What a network learns on it can be compared with the truth at every noise level, so that an
//! objective is judged by its error and not by its own loss.

mod config;
mod dataset;
mod defaults;
mod evaluator;
mod gaussian_mixture;
mod task;

pub use config::{MixtureConfig, Transform};
pub use dataset::MixturePoints;
pub use evaluator::ScoreError;
pub use gaussian_mixture::GaussianMixture;
pub use task::Mixture;

dsl_sdk::export_plugin!(Mixture);
