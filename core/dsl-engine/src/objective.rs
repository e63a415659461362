//! Training objectives: one file per paper, one variant of [`ObjectiveConfig`] each.
//!
//! An objective says which losses the generator and, where there is one, the discriminator minimise.
//! All losses live in one space (see [`LossConfig`]) and are plain functions of tensors, so that they can be
//! compared with reference values without a trainer; `trainer.rs` calls them in the order of updates.

pub mod dsl;
pub mod dsm;
pub mod loss;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use dsl::{
    DiscriminatorBase, DiscriminatorConfig, DiscriminatorTrainable, DslConfig, GeneratorConfig,
    GeneratorHinge, HingeConfig, HingeGranularity, HingeGroup, MarginConfig, MarginSource,
    ShareBase, TimestepStrategy, UpdateConfig, UpdateOrder,
};
pub use dsm::DsmConfig;
pub use loss::{LossConfig, Reduction};

/// What the generator learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "a run has one, and it is not moved about"
)]
pub enum ObjectiveConfig {
    /// Denoising score matching: the generator regresses the noise that was drawn (Ho et al. 2020, eq. 14).
    Dsm(DsmConfig),
    /// Discrepancy-aware score learning: the generator regresses the output of an energy-based discriminator
    /// in noise space (DSL paper, Eq. 2 and 3).
    Dsl(DslConfig),
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self::Dsl(DslConfig::default())
    }
}

impl ObjectiveConfig {
    /// The value of `objective.kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dsm(_) => "dsm",
            Self::Dsl(_) => "dsl",
        }
    }

    /// Values that the schema's ranges cannot rule out, as (key below `objective`, message, what to do).
    pub fn problems(&self) -> Vec<ConfigProblem> {
        match self {
            Self::Dsm(_) => Vec::new(),
            Self::Dsl(config) => config.problems(),
        }
    }
}

/// A value that fits the schema and still makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Dotted key below the section that reported it, for example `margin.value`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl ConfigProblem {
    pub(crate) fn new(key: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            message: message.into(),
            help: help.into(),
        }
    }
}
