//! The command line.

use clap::{Parser, Subcommand};

use crate::command::devices::DevicesArgs;
use crate::command::export::ExportArgs;
use crate::command::model::ModelArgs;
use crate::command::plugin::PluginArgs;
use crate::command::run::RunArgs;
use crate::command::sample::SampleArgs;
use crate::command::schema::SchemaArgs;
use crate::command::wrap::WrapArgs;
use crate::logging::Verbosity;

/// Train diffusion models with adversarial objectives, on task plugins
///
/// Results go to stdout, everything else to stderr. Exit code 0: done. 1: it failed. 2: the arguments or the
/// configuration cannot be used.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, propagate_version = true)]
#[command(
    after_help = "Examples:\n  dsl-host run --plugin t2i.so --out runs/a\n  dsl-host sample --run runs/a --prompt \"red apple\" --count 8 --out grid.png"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much is told.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train, or go on training
    Run(RunArgs),
    /// Draw samples from a run
    Sample(SampleArgs),
    /// Train what lets a run's decoder take detail from the low-resolution picture
    Wrap(WrapArgs),
    /// Write a run's generator: to one safetensors file, or for other programs
    Export(ExportArgs),
    /// Print the JSON Schema of the configuration
    Schema(SchemaArgs),
    /// List the devices to compute on
    Devices(DevicesArgs),
    /// Look into model files and folders
    Model(ModelArgs),
    /// Make, check, describe, list and lock plugins
    Plugin(PluginArgs),
}
