//! Settings of the training loop that hold for every objective.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::objective::ConfigProblem;

/// The training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps of the whole run.
    #[schemars(range(min = 1))]
    pub steps: u64,
    /// Samples per optimiser step, over all micro-batches.
    #[schemars(range(min = 1))]
    pub batch_size: usize,
    /// Micro-batches per optimiser step; must divide `batch_size`. More take less memory and, with DSL, one
    /// generator forward more.
    #[schemars(range(min = 1))]
    pub gradient_accumulation_steps: usize,
    /// Threads of a CPU step, each with its own part of a micro-batch. Small networks leave cores idle otherwise. Part of
    /// the numbers: sums are taken part by part, so another count rounds differently.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: usize,
    /// Peak learning rate of the generator.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
    /// How the learning rate moves over the run.
    pub lr_schedule: LrScheduleConfig,
    /// AdamW of the generator.
    pub optimizer: AdamWConfig,
    /// Largest global gradient norm of the generator; null switches clipping off.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub max_grad_norm: Option<f64>,
    /// Moving average of the generator's weights, used for samples and validation.
    pub ema: EmaConfig,
    /// Number format of the networks' computations; weights that train, losses and optimiser state stay in float32.
    pub precision: Precision,
    /// Whether the blocks of a UNet are computed once more in the backward pass, instead of keeping what they compute in
    /// the forward pass: less memory, one forward pass more, the same numbers (bit for bit in
    /// float32 on the CPU, up to the order of a sum where SDXL's text encoders learn).
    pub gradient_checkpointing: bool,
    /// Seed of everything random: initial weights, order, timesteps, noise, dropped conditions, augmentation.
    pub seed: u64,
    /// Steps that count as one epoch. Absent: one pass over the data set. Needed for endless data sets.
    #[schemars(range(min = 1))]
    pub steps_per_epoch: Option<u64>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1_000,
            batch_size: 16,
            gradient_accumulation_steps: 1,
            workers: 1,
            learning_rate: 1e-4,
            lr_schedule: LrScheduleConfig::default(),
            optimizer: AdamWConfig::default(),
            max_grad_norm: Some(1.0),
            ema: EmaConfig::default(),
            precision: Precision::F32,
            gradient_checkpointing: false,
            seed: 0,
            steps_per_epoch: None,
        }
    }
}

impl TrainConfig {
    /// Combinations that the schema cannot rule out.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut found = Vec::new();
        if !self
            .batch_size
            .is_multiple_of(self.gradient_accumulation_steps * self.workers)
        {
            found.push(ConfigProblem::new(
                "batch_size",
                format!(
                    "a batch of {} cannot be cut into {} micro-batches of {} equal parts",
                    self.batch_size, self.gradient_accumulation_steps, self.workers
                ),
                "choose a multiple of `train.gradient_accumulation_steps` times `train.workers`",
            ));
        }
        found
    }
}

/// AdamW (Loshchilov and Hutter 2019), with the defaults of PyTorch's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the mean of gradients.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub beta_1: f64,
    /// Decay of the mean of squared gradients.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub beta_2: f64,
    /// Added to the root of the mean squared gradient.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub adam_epsilon: f64,
    /// Decoupled weight decay.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.999,
            adam_epsilon: 1e-8,
            weight_decay: 1e-2,
        }
    }
}

/// How the learning rate moves over the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LrScheduleConfig {
    /// Shape after the warm-up.
    pub kind: LrScheduleKind,
    /// Steps of linear rise from 0 to the peak.
    pub warmup_steps: u64,
}

impl Default for LrScheduleConfig {
    fn default() -> Self {
        Self {
            kind: LrScheduleKind::Constant,
            warmup_steps: 0,
        }
    }
}

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LrScheduleKind {
    /// Stays at the peak.
    #[default]
    Constant,
    /// Falls to 0 at the last step along half a cosine.
    Cosine,
    /// Falls to 0 at the last step on a straight line.
    Linear,
}

/// Exponential moving average of the generator's weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EmaConfig {
    /// Share of the old average kept at each step, such as 0.999; null (the default) keeps no average. At the start the
    /// share is 0, then rises as `(1 + s) / (10 + s)` after `s` steps more, as in diffusers' `EMAModel`.
    #[schemars(extend("exclusiveMinimum" = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub decay: Option<f64>,
}

/// Number format of the networks' computations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    F32,
    /// bfloat16, where the device has it.
    Bf16,
}
