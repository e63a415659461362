//! Feeds a plugin's evaluator.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use burn::tensor::TensorData;
use dsl_engine::{SampleSource as _, Trainer};
use dsl_loader::{EvaluatorHandle, HostArtefact, InputColumn, InputData, Requirements, TaskHandle};

use super::data::Data;
use super::feed::Feed;
use super::subjects::{Lending, Subjects};
use crate::config::SamplingConfig;
use crate::failure;
use crate::sampling::{self, SampleSource};

/// Noised samples handed over in one call.
const CHUNK: u64 = 512;
/// Drawn samples handed over in one call.
const DRAWN: u64 = 16;

/// An evaluator with the data that it asks for.
pub struct Evaluation {
    evaluator: EvaluatorHandle,
    data: Data,
    count: u64,
}

/// What an evaluation ends with.
#[derive(Debug)]
pub struct Evaluated {
    /// Names and values.
    pub metrics: Vec<(String, f64)>,
    /// Files to keep beside them.
    pub artefacts: Vec<HostArtefact>,
}

impl Evaluation {
    /// The task's evaluator, where it has one.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn open(task: &TaskHandle, feed: &Arc<Feed>) -> Result<Option<Self>> {
        let Some(evaluator) = task.evaluator()? else {
            return Ok(None);
        };
        let (Requirements::NoisePredictions { split, count }
        | Requirements::Samples { split, count }) = evaluator.requirements().clone();
        let data = Data::open(task, &split)?.fed_by(feed);
        if data.has_buckets() && matches!(evaluator.requirements(), Requirements::Samples { .. }) {
            return Err(failure::usage(anyhow!(
                "the task measures drawn samples against true ones, and the data has true ones of several shapes\n\
                 hint: leave out the buckets"
            )));
        }
        Ok(Some(Self {
            count: count.min(data.count()),
            evaluator,
            data,
        }))
    }

    /// The data that is evaluated on, and how many samples of it.
    pub fn data(&self) -> (&Data, u64) {
        (&self.data, self.count)
    }

    /// The metrics of the networks as they are, name and value, and the files that the evaluator made.
    ///
    /// # Errors
    /// What the plugin says; what drawing samples gives.
    pub fn run(
        &mut self,
        trainer: &Trainer,
        source: &SampleSource<'_>,
        config: &SamplingConfig,
    ) -> Result<Evaluated> {
        match self.evaluator.requirements() {
            Requirements::NoisePredictions { .. } => self.feed_predictions(trainer)?,
            Requirements::Samples { .. } => self.feed_samples(source, config)?,
        }
        let (metrics, artefacts) = self.evaluator.finish()?;
        Ok(Evaluated {
            metrics: metrics
                .into_iter()
                .map(|metric| (metric.name, metric.value))
                .collect(),
            artefacts,
        })
    }

    fn feed_samples(&mut self, source: &SampleSource<'_>, config: &SamplingConfig) -> Result<()> {
        let subjects = Subjects::HeldOut(self.data.clone());
        for first in (0..self.count).step_by(DRAWN as usize) {
            let range = first as usize..(first + DRAWN).min(self.count) as usize;
            let drawn = sampling::draw(source, config, &subjects, range)?;
            let lending = Lending::of_drawn(source.feed, &drawn)?;
            self.evaluator.update(&lending.columns(), first)?;
        }
        Ok(())
    }

    fn feed_predictions(&mut self, trainer: &Trainer) -> Result<()> {
        let indices: Vec<u64> = (0..self.count).collect();
        for chunk in self.data.parts(&indices, CHUNK as usize) {
            let samples = self.data.samples(chunk)?;
            let first = chunk.first().copied().unwrap_or(0);
            let predictions = trainer.noise_predictions(&samples, first);
            let rows = chunk.len() as u64;
            let column = |data: &TensorData| -> Result<(Vec<u64>, Vec<f32>)> {
                let mut shape: Vec<u64> = data.shape().iter().map(|&size| size as u64).collect();
                // Vectors travel through the engine with two axes of 1.
                if shape.ends_with(&[1, 1]) && shape.len() == 4 {
                    shape.truncate(2);
                }
                match data.try_to_vec::<f32>() {
                    Ok(values) => Ok((shape, values)),
                    Err(error) => bail!("predictions cannot be read: {error:?}"),
                }
            };
            let mut columns = vec![
                ("x_t", column(&predictions.x_t)?),
                ("alpha_bar", (vec![rows], predictions.alpha_bar)),
                ("eps", column(&predictions.eps)?),
                ("eps_pred/generator", column(&predictions.generator)?),
            ];
            if let Some(discriminator) = &predictions.discriminator {
                columns.push(("eps_pred/discriminator", column(discriminator)?));
            }
            let inputs: Vec<InputColumn<'_>> = columns
                .iter()
                .map(|(name, (shape, values))| InputColumn {
                    name,
                    data: InputData::F32 { shape, values },
                })
                .collect();
            self.evaluator.update(&inputs, first)?;
        }
        Ok(())
    }
}
