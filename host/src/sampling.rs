//! Samples of a generator on fixed noise: what grids in a run and `dsl-host sample` have in common.

use std::convert::Infallible;

use anyhow::Result;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use dsl_engine::guidance::Guidance;
use dsl_engine::{NoiseSchedule, Stream, Streams};
use dsl_nets::{Conditioning, Model, Tokenizer};

use crate::bridge::latents::LatentCoder;
use crate::bridge::model_card::ModelCard;
use crate::config::SamplingConfig;
use crate::failure;

/// Samples drawn in one pass through the network; with guidance the network sees twice as many rows.
const CHUNK: usize = 16;

/// Drawn samples.
pub struct Drawn {
    /// Values in the order of `shape`; pixels in about −1..1.
    pub values: Vec<f32>,
    /// `[samples, channels, height, width]`
    pub shape: [usize; 4],
}

/// A generator with what is needed to sample from it.
pub struct SampleSource<'a> {
    /// The networks, off the autodiff graph.
    pub model: &'a Model,
    /// Their shape and meaning.
    pub card: &'a ModelCard,
    /// For networks with text.
    pub tokenizer: Option<&'a Tokenizer>,
    /// For networks that work on latents.
    pub latents: Option<&'a LatentCoder>,
    /// Where they are.
    pub device: &'a Device,
}

/// Draws `config.count` samples that show `prompts` in turn. Sample `i` has the noise of (`config.seed`, `i`), whatever
/// the number of samples. `stop` is asked between network evaluations.
///
/// # Errors
/// A usage error for sampler settings that do not fit the schedule.
pub fn draw(
    source: &SampleSource<'_>,
    config: &SamplingConfig,
    prompts: &[String],
) -> Result<Drawn> {
    let schedule = NoiseSchedule::new(&source.card.noise_schedule)?;
    let run = config
        .sampler
        .build(&schedule, source.card.prediction_type)
        .map_err(failure::usage)?;
    let has_text = source.tokenizer.is_some() || source.latents.is_some();
    // Without text there is nothing to guide by.
    let guidance = Guidance::new(if has_text { config.guidance_scale } else { 1.0 })
        .map_err(failure::usage)?;
    let streams = Streams::new(config.seed);
    let [channels, height, width] = source.card.sample_shape;
    let count = config.count as usize;
    let mut values = Vec::with_capacity(count * channels * height * width);
    let mut drawn = [channels, height, width];
    for first in (0..count).step_by(CHUNK) {
        let rows = CHUNK.min(count - first);
        let shape = [rows, channels, height, width];
        let noise = |stream: Stream, step: u64| {
            let drawn = streams.normal(stream, step, first as u64, shape);
            Tensor::<4>::from_data(TensorData::new(drawn, shape), source.device)
        };
        let prompts: Vec<&str> = (first..first + rows)
            .map(|i| {
                prompts
                    .get(i % prompts.len().max(1))
                    .map_or("", String::as_str)
            })
            .collect();
        let conditioning = condition(source, &prompts, guidance.is_on())?;
        let x_0 = run.sample(
            noise(Stream::SAMPLE, 0),
            |x_t, timestep| {
                let predicted: Result<_, Infallible> = guidance.apply(x_t, |x_t| {
                    let rows = x_t.dims()[0];
                    let timestep = TensorData::new(vec![timestep as f32; rows], [rows]);
                    let timestep = Tensor::<1>::from_data(timestep, source.device);
                    Ok(source.model.denoiser.forward(x_t, timestep, &conditioning))
                });
                match predicted {
                    Ok(predicted) => predicted,
                    Err(never) => match never {},
                }
            },
            |step| noise(Stream::SAMPLE.part("step"), step as u64 + 1),
        );
        let x_0 = match source.latents {
            Some(coder) => coder.decode(x_0)?,
            None => x_0,
        };
        let [_, channels, height, width] = x_0.dims();
        drawn = [channels, height, width];
        values.extend(x_0.into_data().iter::<f32>());
    }
    let [channels, height, width] = drawn;
    Ok(Drawn {
        values,
        shape: [count, channels, height, width],
    })
}

/// Text features of `prompts`, after those of the empty prompt where both are needed.
fn condition(
    source: &SampleSource<'_>,
    prompts: &[&str],
    with_empty: bool,
) -> Result<Conditioning> {
    if let Some(coder) = source.latents {
        let [_, height, width] = source.card.sample_shape;
        let [height, width] = coder.picture_size([height, width]).map(|size| size as f32);
        // A picture that was never cut, at the size that is drawn: what SDXL's own pipeline tells its network.
        let sizes = vec![[height, width, 0.0, 0.0, height, width]; prompts.len()];
        let encode = |prompts: &[&str]| -> Result<Conditioning> {
            let features = coder.encode_texts(prompts, &sizes)?;
            Ok(features.conditioning(source.device, DType::F32))
        };
        let conditional = encode(prompts)?;
        return match with_empty {
            true => {
                let empty = encode(&vec![""; prompts.len()])?;
                Ok(Conditioning::concat(&[&empty, &conditional]))
            }
            false => Ok(conditional),
        };
    }
    let Some(tokenizer) = source.tokenizer else {
        return Ok(Conditioning::none());
    };
    let max_tokens = source.card.max_tokens();
    let encode = |prompts: &[&str]| -> Result<Conditioning> {
        let mut ids = Vec::with_capacity(prompts.len() * max_tokens);
        for prompt in prompts {
            ids.extend(tokenizer.encode(prompt, max_tokens)?);
        }
        let ids = TensorData::new(ids, [prompts.len(), max_tokens]);
        let ids = Tensor::<2, Int>::from_data(ids, source.device);
        Ok(source.model.encode_text(ids))
    };
    let conditional = encode(prompts)?;
    if !with_empty {
        return Ok(conditional);
    }
    let empty = encode(&vec![""; prompts.len()])?;
    Ok(Conditioning::concat(&[&empty, &conditional]))
}
