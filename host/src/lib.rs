//! What the `dsl-host` program is made of.

pub mod command;
pub mod config;
pub mod device;
pub mod interrupt;
pub mod logging;
pub mod report;
pub mod run_dir;
