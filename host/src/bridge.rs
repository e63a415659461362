//! Where the plugin's side and the training side meet: each thing crosses here once, and is plain afterwards.

pub mod adapter_metadata;
pub mod data;
pub mod evaluate;
pub mod feature_cache;
pub mod feed;
pub mod latents;
pub mod learned_tokens;
pub mod model;
pub mod model_card;
pub mod pipeline;
pub mod plugin;
pub mod prefetch;
pub mod subjects;
pub mod task_modules;
pub mod text;
pub mod wrapping;
