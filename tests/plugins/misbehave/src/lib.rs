//! A plugin that is wrong on purpose, in the way its configuration says: tests load it to see what a host makes of it.

mod conditioning;
mod dataset;
mod evaluator;
mod fault;
mod services;
mod task;
mod user;

pub use fault::Fault;
pub use task::{Misbehave, MisbehaveConfig};

dsl_sdk::export_plugin!(Misbehave);
