//! Samples of a generator on fixed noise: what grids in a run and `dsl-host sample` have in common.

use std::cell::Cell;
use std::convert::Infallible;

use anyhow::{Result, bail};
use burn::tensor::{DType, Device, Tensor, TensorData};
use dsl_engine::guidance::Guidance;
use dsl_engine::sampler::tiles::Tiles;
use dsl_engine::{Conditions, NoiseSchedule, Stream, Streams};
use dsl_loader::HostColumn;
use dsl_nets::{Conditioning, Model};

use crate::bridge::feed::{Columns, Feed};
use crate::bridge::latents::LatentCoder;
use crate::bridge::model_card::ModelCard;
use crate::bridge::subjects::Subjects;
use crate::bridge::wrapping::Wrapping;
use crate::config::{SamplingConfig, StartFrom};
use crate::failure;

/// Rows drawn in one pass through the network; with guidance the network sees twice as many.
const CHUNK: usize = 16;

/// Drawn samples.
pub struct Drawn {
    /// Values in the order of `shape`; pixels in about −1..1.
    pub values: Vec<f32>,
    /// `[rows, channels, height, width]`; a sample may have several rows, such as the views of an object.
    pub shape: [usize; 4],
    /// What they were drawn of, pass by pass, the truth among it where it is known.
    pub columns: Vec<HostColumn>,
}

/// A generator with what is needed to sample from it.
#[derive(Clone, Copy)]
pub struct SampleSource<'a> {
    /// The networks, off the autodiff graph.
    pub model: &'a Model,
    /// Their shape and meaning.
    pub card: &'a ModelCard,
    /// How columns become what networks read.
    pub feed: &'a Feed,
    /// For networks that work on latents.
    pub latents: Option<&'a LatentCoder>,
    /// What wraps their decoder.
    pub wrapping: Option<&'a Wrapping>,
    /// Where they are.
    pub device: &'a Device,
}

/// How many samples a grid has: as many as are asked for, or fewer where there are fewer subjects.
pub fn count(config: &SamplingConfig, subjects: &Subjects) -> usize {
    let most = u64::from(config.count);
    let rows = usize::try_from(subjects.count().unwrap_or(most).min(most));
    rows.unwrap_or(usize::MAX)
}

/// Draws samples `first..first + count` of `subjects`. Sample `i` has the noise of (`config.seed`, `i`), whatever the
/// number of samples.
///
/// # Errors
/// A usage error for sampler settings that do not fit the schedule; what reading the conditions gives.
pub fn draw(
    source: &SampleSource<'_>,
    config: &SamplingConfig,
    subjects: &Subjects,
    samples: std::ops::Range<usize>,
) -> Result<Drawn> {
    let schedule = NoiseSchedule::new(&source.card.noise_schedule)?;
    let run = config
        .sampler
        .build(&schedule, source.card.prediction_type)
        .map_err(failure::usage)?;
    let is_told = !source.feed.injections().is_empty();
    // Without conditions there is nothing to guide by.
    let guidance =
        Guidance::new(if is_told { config.guidance_scale } else { 1.0 }).map_err(failure::usage)?;
    let streams = Streams::new(config.seed);
    let [channels, ..] = source.card.sample_shape;
    let rows_of_sample = source.feed.shape().rows;
    let at_once = subjects.at_once(CHUNK / rows_of_sample);
    let mut values = Vec::new();
    let mut drawn = source.card.sample_shape;
    let mut told = Vec::new();
    for first in samples.clone().step_by(at_once) {
        let range = first..(first + at_once).min(samples.end);
        let rows = range.len() * rows_of_sample;
        let first_row = (first * rows_of_sample) as u64;
        let columns = Columns::new(subjects.columns(range.clone())?);
        let given = source.feed.given(&columns, range.len())?;
        let without = match guidance.is_on() {
            true => Some(source.feed.unconditional(&columns, range.len())?),
            false => None,
        };
        let condition = |conditions: &Conditions| {
            conditions.conditioning(source.model, source.device, DType::F32)
        };
        let given = condition(&given);
        let tiles = tiles(source, config, &given);
        let [height, width] = tiles.size();
        let shape = [rows, channels, height, width];
        let noise = |stream: Stream, step: u64| {
            let drawn = streams.normal(stream, step, first_row, shape);
            Tensor::<4>::from_data(TensorData::new(drawn, shape), source.device)
        };
        let start = match config.start_from {
            StartFrom::Noise => {
                noise(Stream::SAMPLE, 0).mul_scalar(run.sampler().init_noise_sigma())
            }
            StartFrom::Condition => match given.pyramid.clone().or(given.concat.clone()) {
                Some(picture) if picture.dims() == shape => {
                    run.add_noise(picture, noise(Stream::SAMPLE, 0), 0)
                }
                _ => {
                    return Err(failure::usage(anyhow::anyhow!(
                        "`sampling.start_from: condition` needs a picture like the samples among the conditions, and \
                         this task has none\nhint: set `sampling.start_from: noise`"
                    )));
                }
            },
        };
        let conditioning = match &without {
            Some(without) => Conditioning::concat(&[&condition(without), &given]),
            None => given,
        };
        if let Err(error) = source.model.denoiser.check_conditioning(&conditioning) {
            bail!(error);
        }
        let conditionings = Grounding::new(conditioning, config.grounding_share, run.num_steps());
        let denoise = |x_t, timestep: f64| {
            let conditioning = conditionings.next();
            guidance.apply(x_t, |x_t: Tensor<4>| {
                let rows = x_t.dims()[0];
                let timestep = TensorData::new(vec![timestep as f32; rows], [rows]);
                let timestep = Tensor::<1>::from_data(timestep, source.device);
                tiles.blend(x_t, |x_t, place| {
                    let of_tile = at_tile(conditioning, &tiles, place);
                    let denoiser = &source.model.denoiser;
                    Ok::<_, Infallible>(denoiser.forward(x_t, timestep.clone(), &of_tile))
                })
            })
        };
        let fresh = |step: usize| noise(Stream::SAMPLE.part("step"), step as u64 + 1);
        let x_0 = match run.try_sample_from(0, start, denoise, fresh) {
            Ok(x_0) => x_0,
            Err(never) => match never {},
        };
        let x_0 = match (source.latents, source.wrapping) {
            (Some(coder), Some(wrapping)) => {
                let pictures = source.feed.conditioning_picture(&columns)?;
                let pictures = Tensor::from_data(pictures, source.device);
                coder.decode_wrapped(x_0, pictures, wrapping)?
            }
            (Some(coder), None) => coder.decode(x_0)?,
            (None, _) => x_0,
        };
        let [_, channels, height, width] = x_0.dims();
        drawn = [channels, height, width];
        values.extend(x_0.into_data().iter::<f32>());
        told.extend(columns.into_columns());
    }
    let [channels, height, width] = drawn;
    Ok(Drawn {
        values,
        shape: [samples.len() * rows_of_sample, channels, height, width],
        columns: told,
    })
}

/// Tiles over what is drawn: one, unless a conditioning picture is larger than the samples that the network was trained on.
fn tiles(source: &SampleSource<'_>, config: &SamplingConfig, given: &Conditioning) -> Tiles {
    let [_, height, width] = source.card.sample_shape;
    let size = match given.pyramid.as_ref().or(given.concat.as_ref()) {
        Some(picture) => {
            let [_, _, height, width] = picture.dims();
            [height, width]
        }
        None => [height, width],
    };
    Tiles::cover(size, [height, width], config.tile_overlap)
}

/// What the network is told of a tile.
fn at_tile(conditioning: &Conditioning, tiles: &Tiles, place: [usize; 2]) -> Conditioning {
    let cut = |picture: &Option<Tensor<4>>| picture.clone().map(|x| tiles.cut(x, place));
    Conditioning {
        pyramid: cut(&conditioning.pyramid),
        concat: cut(&conditioning.concat),
        ..conditioning.clone()
    }
}

/// Scheduled sampling of boxes (Li et al. 2023, GLIGEN, section 3.3): they count in the first steps alone, which lay out
/// the picture; the rest belongs to the text.
struct Grounding {
    with: Conditioning,
    without: Conditioning,
    steps_with: usize,
    step: Cell<usize>,
}

impl Grounding {
    fn new(conditioning: Conditioning, share: f64, steps: usize) -> Self {
        Self {
            without: Conditioning {
                gligen: None,
                ..conditioning.clone()
            },
            with: conditioning,
            steps_with: (share * steps as f64).round() as usize,
            step: Cell::new(0),
        }
    }

    /// What the network is told in the next step.
    fn next(&self) -> &Conditioning {
        let step = self.step.replace(self.step.get() + 1);
        if step < self.steps_with {
            &self.with
        } else {
            &self.without
        }
    }
}
