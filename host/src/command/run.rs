//! `dsl-host run`: train, or go on training.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::run;

/// Train, or go on training
///
/// Everything has a default: `dsl-host run --plugin t2i.so` trains on the plugin's own data. A configuration file or --set
/// changes what it names.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dsl-host run --plugin t2i.so --config my.yaml --set train.steps=2000 --out runs/a\n  dsl-host run --resume runs/a"
)]
pub struct RunArgs {
    /// Task plugin: `t2i.so`, `t2i`, or a path
    #[arg(long, required_unless_present = "resume")]
    pub plugin: Option<String>,
    /// Configuration file: .yaml, .toml or .json
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// One value of the configuration, such as `train.steps=2000`; may be repeated, and goes over the file
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Folder of the run; a name under `runs/` is made up without it
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder, from its last checkpoint
    #[arg(long, value_name = "RUN", conflicts_with_all = ["plugin", "config", "sets", "out", "dry_run"])]
    pub resume: Option<PathBuf>,
    /// Print the resolved configuration and where each value comes from, and stop
    #[arg(long)]
    pub dry_run: bool,
}

/// Trains.
///
/// # Errors
/// Usage errors in arguments and configuration; whatever stops the training.
pub fn run(args: &RunArgs, quiet: bool) -> Result<()> {
    match &args.resume {
        Some(folder) => run::resume(folder, quiet),
        None => run::start(args, quiet),
    }
}
