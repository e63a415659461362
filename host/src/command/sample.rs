//! `dsl-host sample`: pictures from a run.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::failure;
use crate::report::{self, Samples};
use crate::run::open_finished;
use crate::sampling::{self, SampleSource};

/// Draw samples from a run
///
/// They come from the run's last checkpoint, and from the moving average of its weights where one is kept. Sample i of a
/// seed is the same whatever --count is.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  dsl-host sample --run runs/a --prompt \"red apple\" --count 8 --seed 1 --out grid.png"
)]
pub struct SampleArgs {
    /// Folder of the run
    #[arg(long)]
    run: PathBuf,
    /// What the samples show; may be repeated, and is then taken in turn. The run's own prompts without it
    #[arg(long = "prompt")]
    prompts: Vec<String>,
    /// Number of samples
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=4096))]
    count: u32,
    /// Seed of the noise that they start from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Classifier-free guidance, 1 is off; the run's own without it
    #[arg(long)]
    guidance_scale: Option<f64>,
    /// Length of the sampling loop; the run's own without it
    #[arg(long)]
    num_inference_steps: Option<u32>,
    /// The picture, a PNG file
    #[arg(long)]
    out: PathBuf,
}

/// Draws samples.
///
/// # Errors
/// A folder that is no run; a run without a usable checkpoint; a picture that cannot be written.
pub fn sample(args: &SampleArgs) -> Result<()> {
    let run = open_finished(&args.run)?;
    let mut config = run.config.sampling.clone();
    config.count = args.count;
    config.seed = args.seed;
    config.guidance_scale = args.guidance_scale.unwrap_or(config.guidance_scale);
    if let Some(steps) = args.num_inference_steps {
        config.sampler.num_inference_steps = steps;
    }
    let prompts = if args.prompts.is_empty() {
        &run.prompts
    } else {
        &args.prompts
    };
    let source = SampleSource {
        model: &run.model,
        card: &run.card,
        tokenizer: run.tokenizer.as_ref(),
        latents: run.latents.as_ref(),
        device: &run.device,
    };
    let drawn = sampling::draw(&source, &config, prompts)?;
    let picture = report::picture(Samples::new(&drawn.values, drawn.shape)?, None)?;
    report::write_png(&args.out, &picture)
        .with_context(|| format!("the samples of `{}` were not written", args.run.display()))?;
    failure::print(&format!("{}\n", args.out.display()))
}
