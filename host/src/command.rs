//! One module and one function per command.

pub mod devices;
pub mod export;
pub mod model;
pub mod plugin;
pub mod run;
pub mod sample;
pub mod schema;
pub mod wrap;
