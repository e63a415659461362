//! `dsl-host sample`: pictures from a run.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::{Map, Value};

use crate::bridge::subjects::{self, Subjects};
use crate::bridge::wrapping;
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
    after_help = "Examples:\n  dsl-host sample --run runs/a --prompt \"red apple\" --count 8 --seed 1 --out grid.png\n  \
                  dsl-host sample --run runs/sr --input image=low.png --out high.png\n  \
                  dsl-host sample --run runs/layout --input caption=\"two trees\" --input boxes=\"0.1,0.1,0.5,0.5,tree\" --out grid.png"
)]
pub struct SampleArgs {
    /// Folder of the run
    #[arg(long)]
    run: PathBuf,
    /// What the samples show; may be repeated, and is then taken in turn. The run's own prompts without it
    #[arg(long = "prompt")]
    prompts: Vec<String>,
    /// What the samples are conditioned on, for tasks with more than text: KEY=VALUE, as the plugin's documentation names
    /// them; values may be JSON. May be repeated. Held-out samples of the task's data without it
    #[arg(long = "input", value_name = "KEY=VALUE", conflicts_with = "prompts")]
    inputs: Vec<String>,
    /// Number of samples, 8 without it; with --input 1
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4096))]
    count: Option<u32>,
    /// Seed of the noise that they start from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Classifier-free guidance, 1 is off; the run's own without it
    #[arg(long)]
    guidance_scale: Option<f64>,
    /// Length of the sampling loop; the run's own without it
    #[arg(long)]
    num_inference_steps: Option<u32>,
    /// How much of the low-resolution picture's detail the decoder takes, 0 to 1, in runs that `wrap` was used on; 0 is off.
    /// 0.5 without it
    #[arg(long)]
    wrapping_weight: Option<f64>,
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
    config.count = args
        .count
        .unwrap_or(if args.inputs.is_empty() { 8 } else { 1 });
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
    let inputs = inputs(&args.inputs).map_err(failure::usage)?;
    let (subjects, feed, task) = match run.open_task() {
        Ok(opened) => {
            let subjects = match inputs {
                Some(inputs) => Subjects::Inputs(opened.task.conditions(&inputs)?),
                None => Subjects::of_task(&opened.task, &opened.data, prompts),
            };
            (subjects, opened.feed, Some(opened.task))
        }
        // What is told text alone needs no plugin.
        Err(error) => match run.prompts_alone().filter(|_| inputs.is_none()) {
            Some((feed, column)) => {
                tracing::debug!("drawn without the plugin: {error:#}");
                let prompts = prompts.clone();
                (Subjects::Prompts { column, prompts }, feed, None)
            }
            None => return Err(error),
        },
    };
    if !args.prompts.is_empty() && !matches!(subjects, Subjects::Prompts { .. }) {
        return Err(failure::usage(anyhow!(
            "the task {} is told more than a text\nhint: use --input, as the plugin's documentation says",
            run.card.task
        )));
    }
    let (latents, weight) = (run.latents.as_deref(), args.wrapping_weight);
    let wrapping = wrapping::of_run(&args.run, latents, weight, &run.device)?;
    let source = SampleSource {
        model: &run.model,
        card: &run.card,
        feed: &feed,
        latents,
        wrapping: wrapping.as_ref(),
        device: &run.device,
    };
    let count = sampling::count(&config, &subjects);
    let drawn = sampling::draw(&source, &config, &subjects, 0..count)?;
    let shown = match &task {
        Some(task) => subjects::picture(task, &feed, &drawn)?,
        None => None,
    };
    let picture = match shown {
        Some(picture) => picture,
        None => report::picture(Samples::new(&drawn.values, drawn.shape)?, None)?,
    };
    report::write_png(&args.out, &picture)
        .with_context(|| format!("the samples of `{}` were not written", args.run.display()))?;
    failure::print(&format!("{}\n", args.out.display()))
}

/// `KEY=VALUE`s as one JSON object; values that are no JSON are texts.
fn inputs(given: &[String]) -> Result<Option<Value>> {
    let mut inputs = Map::new();
    for input in given {
        let Some((key, value)) = input.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            bail!("`--input {input}` is not KEY=VALUE\nhint: such as `--input image=low.png`");
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        if inputs.insert(key.to_owned(), value).is_some() {
            bail!("`--input {key}=…` is given twice");
        }
    }
    Ok((!inputs.is_empty()).then_some(Value::Object(inputs)))
}
