//! The training engine from outside: losses against reference values, what the objectives mean, how a step goes, and
//! what a checkpoint brings back.
//!
//! Tests with `fixture` in their name read `tests/fixtures/dsl`, or a folder of the same layout that `DSL_FIXTURES`
//! points to. The others train small perceptrons on points of the plane, or small UNets on pictures with conditions.

mod accumulation;
mod bfloat16;
mod buckets;
mod camera;
mod checkpoints;
mod conditioning_gain;
mod damaged_checkpoints;
mod dsl_fixture;
mod dsm_limit;
mod ema;
mod fixture;
mod forwards;
mod frozen_base;
mod gradient_checkpointing;
mod hinge;
mod learned_words;
mod lora_dropout;
mod margin;
mod non_finite;
mod optimum;
mod parameterization;
mod schedules;
mod support;
mod task_modules;
mod tasks;
mod teachable;
mod timesteps;
mod trainable;
mod wrapping;
mod zero_start;
