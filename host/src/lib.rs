//! What the `dsl-host` program is made of.

pub mod bridge;
pub mod cli;
pub mod command;
pub mod config;
pub mod device;
pub mod failure;
pub mod features;
pub mod interrupt;
pub mod logging;
pub mod plugin_lock;
pub mod plugin_watch;
pub mod report;
pub mod run;
pub mod run_dir;
pub mod sampling;
