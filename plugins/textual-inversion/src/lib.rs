//! Personalization task plugin: a few pictures of one thing, and a new word for it (Gal et al. 2022, Textual Inversion).
//!
//! Loaded by the host as `textual-inversion.so`. It depends on `dsl-sdk` alone and knows no network: it hands out pictures with
//! captions that hold the new word, and declares that the word is what is learned.

mod concept;
mod config;
mod dataset;
mod evaluator;
mod looks;
mod task;
mod templates;
#[cfg(test)]
mod tests;

pub use config::{
    BundledConcept, DataConfig, EvaluationConfig, LearnableProperty, TextualInversionConfig,
};
pub use dataset::ConceptViews;
pub use evaluator::ConceptScores;
pub use task::TextualInversion;

dsl_sdk::export_plugin!(TextualInversion);
