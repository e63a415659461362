//! `dsl-host wrap`: the second stage of super-resolution.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::run::wrap_decoder;

/// Train what lets a run's decoder take detail from the low-resolution picture
///
/// Controllable feature wrapping, the second stage of StableSR: for runs of super-resolution on a pipeline with an autoencoder.
/// Latents of training samples are drawn with the run's generator first, and kept; the autoencoder stays as it is. `sample` then
/// decodes with it, see its --wrapping-weight. The same command goes on with a stage that was interrupted, and with more
/// --steps with one that is done.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dsl-host wrap --run runs/sr\n  dsl-host wrap --run runs/sr --steps 500 --samples 64\n  \
                  dsl-host sample --run runs/sr --input image=low.png --wrapping-weight 0.5 --out high.png"
)]
pub struct WrapArgs {
    /// Folder of the run
    #[arg(long)]
    pub run: PathBuf,
    /// Optimiser steps of the whole stage
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub steps: u64,
    /// Pictures of a step; they go through the decoder one by one
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch_size: u16,
    /// Training samples that latents are drawn of, the first ones
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,
    /// Learning rate of the wrapping and of its discriminator
    #[arg(long, default_value_t = 5e-5)]
    pub learning_rate: f64,
    /// First step with the adversarial loss
    #[arg(long, default_value_t = 501)]
    pub gan_start: u64,
    /// Length of the sampling loop that draws latents; the run's own without it
    #[arg(long)]
    pub num_inference_steps: Option<u32>,
    /// Seed of initial weights, of the order and of the noise that latents start from
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder of the stage's files; `wrapping` in the run's folder without it, where `sample` looks for them
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Trains the stage.
///
/// # Errors
/// A folder that is no run; a run without a usable checkpoint; a usage error for a run on pixels, and for a task that is told no
/// picture; whatever stops the training.
pub fn wrap(args: &WrapArgs, quiet: bool) -> Result<()> {
    wrap_decoder(args, quiet)
}
