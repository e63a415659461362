//! Text-to-image task plugin: captioned pictures from a folder, from WebDataset shards, or from the emoji set inside the plugin.
//!
//! Loaded by the host as `t2i.so`. It depends on `dsl-sdk` alone and knows no network: it hands out pictures and captions, and
//! declares that the caption conditions the network by cross-attention.

mod assets;
mod config;
mod dataset;
mod defaults;
mod emoji;
mod task;
#[cfg(test)]
mod tests;

pub use config::{DataConfig, Format, OnError, T2iConfig, Wanted};
pub use dataset::CaptionedImages;
pub use task::T2i;

dsl_sdk::export_plugin!(T2i);
