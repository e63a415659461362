//! A plugin that is wrong on purpose, in the way its configuration says: tests load it to see what a host makes of it.

mod dataset;
mod evaluator;
mod fault;
mod services;
mod task;

pub use fault::Fault;
pub use task::{Misbehave, MisbehaveConfig};

dsl_sdk::export_plugin!(Misbehave);
