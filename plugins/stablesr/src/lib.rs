//! Super-resolution task plugin: pictures four times as wide and as high, from their low-resolution versions (Wang et al. 2023,
//! StableSR).
//!
//! Loaded by the host as `stablesr.so`. It depends on `dsl-sdk` alone and knows no network: it hands out pictures with degraded
//! versions of them, and declares that these condition the network through a feature pyramid.

mod aerial;
mod color_fix;
mod conditions;
mod config;
mod dataset;
mod defaults;
mod degradation;
mod draws;
mod evaluator;
mod filter;
mod picture;
mod raster;
mod samples;
mod task;
#[cfg(test)]
mod tests;

pub use config::{
    ColorFix, Conditioning, DataConfig, Degradation, EvaluationConfig, FirstStage, Fit,
    KernelShares, Layout, PerClass, RealEsrganConfig, ResizeShares, SecondStage, SharpenConfig,
    StableSrConfig,
};
pub use dataset::LowResolutionPairs;
pub use evaluator::Fidelity;
pub use task::StableSr;

dsl_sdk::export_plugin!(StableSr);
