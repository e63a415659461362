//! `dsl-host export`: a run's generator as one file.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use dsl_nets::WeightDType;

use crate::bridge::model_card;
use crate::failure;
use crate::run::open_finished;

/// Write a run's generator to one safetensors file
///
/// The file holds denoiser and text encoder under diffusers' and transformers' key names, and in its metadata the shape of
/// the networks and the tokenizer: `model.base` takes it as it is. Adapters are merged into the weights. The discriminator is
/// left out.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dsl-host export --run runs/a --out model.safetensors")]
pub struct ExportArgs {
    /// Folder of the run
    #[arg(long)]
    run: PathBuf,
    /// The file
    #[arg(long)]
    out: PathBuf,
    /// Number format of the weights
    #[arg(long, value_enum, default_value_t = Format::F32)]
    dtype: Format,
}

/// Number format of exported weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// 32 bits, exact.
    F32,
    /// 16 bits, half the size.
    F16,
}

/// Writes the file.
///
/// # Errors
/// A folder that is no run; a run without a usable checkpoint; a file that cannot be written.
pub fn export(args: &ExportArgs) -> Result<()> {
    let run = open_finished(&args.run)?;
    let dtype = match args.dtype {
        Format::F32 => WeightDType::F32,
        Format::F16 => WeightDType::F16,
    };
    model_card::write(
        &args.out,
        &run.model.merge_lora(),
        &run.card,
        run.tokenizer.as_ref(),
        dtype,
    )?;
    failure::print(&format!("{}\n", args.out.display()))
}
