//! Grounded layout task plugin: captions, and boxes with phrases, from a folder, from shards, from COCO, or the set inside the plugin.
//!
//! Loaded by the host as `gligen.so`. It depends on `dsl-sdk` alone and knows no network: it hands out pictures, captions, boxes and
//! phrases, and declares that the caption conditions the network by cross-attention and the boxes by grounding tokens (Li et al.
//! 2023, GLIGEN).

mod aerial;
mod conditions;
mod config;
mod dataset;
mod drawing;
mod evaluator;
mod regions;
mod task;
#[cfg(test)]
mod tests;

pub use config::{DataConfig, EvaluationConfig, Format, GligenConfig};
pub use dataset::LayoutImages;
pub use evaluator::LayoutScores;
pub use task::Gligen;

dsl_sdk::export_plugin!(Gligen);
