//! The margin `m`: the mean error over the training set, found by inference every few epochs (DSL paper, Sec. 3.1).
//!
//! The pass has draws of its own, the same in every pass, so that a margin moves because the networks do; it leaves
//! the random streams of training alone. Sums are taken in float64 in the order of the samples, so that neither batch
//! size nor worker count matters beyond the rounding of the network itself.

use burn::module::Module;
use rand::RngCore;

use super::{Trainer, precision};
use crate::data::{SampleSource, in_buckets};
use crate::error::EngineError;
use crate::objective::dsl::Margins;
use crate::objective::{DslConfig, HingeGroup, MarginSource, ObjectiveConfig, TimestepStrategy};
use crate::rng::Stream;

/// Result of a margin pass.
#[derive(Debug, Clone, PartialEq)]
pub struct MarginReport {
    /// The measured margins, scaled.
    pub margins: Margins,
    /// Samples that were used.
    pub samples: u64,
}

impl Margins {
    /// Moves towards newly measured margins, keeping the share `ema` of the old.
    pub(crate) fn follow(&mut self, measured: &Margins, ema: f64) {
        for (old, new) in self.bins.iter_mut().zip(&measured.bins) {
            *old = ema * *old + (1.0 - ema) * new;
        }
    }
}

impl Trainer {
    /// Measures the mean error that the margin is made of, over `training_set`.
    ///
    /// # Errors
    /// Those of the data source; [`EngineError::NonFinite`] where the error is not a number.
    pub fn margin_pass(
        &self,
        dsl: &DslConfig,
        training_set: &dyn SampleSource,
    ) -> Result<MarginReport, EngineError> {
        let config = &dsl.margin;
        let indices = self.margin_samples(training_set.len(), config.max_samples);
        let chosen = indices.len();
        let batches = in_buckets(training_set, indices, self.config.train.batch_size);
        let timesteps = self.schedule.num_train_timesteps();
        let bins = config.bins.max(1);
        let mut sums = vec![(0.0f64, 0u64); bins];
        for draw in 0..config.draws {
            let drawn = match config.timesteps {
                TimestepStrategy::Uniform => {
                    self.streams
                        .uniform_timesteps(Stream::MARGIN, draw, 0, chosen, timesteps)
                }
                TimestepStrategy::Stratified => {
                    self.streams
                        .stratified_timesteps(Stream::MARGIN, draw, chosen, timesteps)
                }
            };
            let mut first = 0;
            for batch in &batches {
                let samples = training_set.samples(batch)?;
                let views = samples.views.max(1);
                let timestep: Vec<u32> = (0..samples.len())
                    .map(|row| drawn[first + row / views])
                    .collect();
                let objects: Vec<u32> = timestep.iter().step_by(views).copied().collect();
                let first_row = (first * views) as u64;
                first += batch.len();
                let errors = self.margin_errors(dsl, &samples, timestep, draw, first_row);
                let rows_per_object = errors.len() / objects.len().max(1);
                for (i, error) in errors.into_iter().enumerate() {
                    let timestep = objects[i / rows_per_object.max(1)];
                    let bin = crate::objective::dsl::bin_of(timestep, timesteps, bins);
                    sums[bin].0 += f64::from(error);
                    sums[bin].1 += 1;
                }
            }
        }
        let (total, count) = sums.iter().fold((0.0, 0), |(t, c), (s, n)| (t + s, c + n));
        let overall = total / count.max(1) as f64;
        if !overall.is_finite() {
            return Err(EngineError::NonFinite {
                step: self.step + 1,
                name: "margin".to_owned(),
                value: overall,
            });
        }
        let bins = sums
            .iter()
            // A range that no draw fell into takes the overall mean.
            .map(|&(sum, n)| if n == 0 { overall } else { sum / n as f64 })
            .map(|margin| margin * config.scale)
            .collect();
        Ok(MarginReport {
            margins: Margins {
                bins,
                num_train_timesteps: timesteps,
            },
            samples: chosen as u64,
        })
    }

    /// Errors of one batch, per hinge unit.
    fn margin_errors(
        &self,
        dsl: &DslConfig,
        samples: &crate::data::Samples,
        timestep: Vec<u32>,
        draw: u64,
        first_row: u64,
    ) -> Vec<f32> {
        let plain = self.device.clone().inner();
        let noised = self.noise_at(
            samples,
            timestep,
            Stream::MARGIN.part("noise"),
            draw,
            first_row,
        );
        let (eps_g, eps_phi) = self.predict(
            &noised,
            &precision::compute_copy(
                &self.generator.module().valid(),
                self.config.train.precision,
            ),
            dsl.margin.source != MarginSource::GenError,
        );
        let target = noised.target(&plain);
        let (a, b) = match (dsl.margin.source, eps_phi) {
            (MarginSource::DiscError, Some(eps_phi)) => (eps_phi, target),
            (MarginSource::Gap, Some(eps_phi)) => (eps_phi, eps_g),
            _ => (eps_g, target),
        };
        let measure = noised.measure(&plain);
        let rows = measure.squared_distance(a, b);
        let errors = match dsl.hinge.group {
            HingeGroup::Object => measure.per_object(rows),
            HingeGroup::View => rows,
        };
        errors.into_data().iter::<f32>().collect()
    }

    /// The samples of a training set of `len` that margin passes read; none where there are no passes.
    pub fn margin_indices(&self, len: u64) -> Vec<u64> {
        match &self.config.objective {
            ObjectiveConfig::Dsl(dsl) if dsl.margin.source != MarginSource::Constant => {
                self.margin_samples(len, dsl.margin.max_samples)
            }
            _ => Vec::new(),
        }
    }

    /// Indices of a margin pass: all, or a fixed choice of `max_samples`, one from each of as many equal parts.
    fn margin_samples(&self, len: u64, max_samples: u64) -> Vec<u64> {
        if len <= max_samples {
            return (0..len).collect();
        }
        let mut rng = self.streams.rng(Stream::MARGIN.part("choice"), 0, 0);
        let part = |i: u64| (u128::from(i) * u128::from(len) / u128::from(max_samples)) as u64;
        (0..max_samples)
            .map(|i| {
                let (start, end) = (part(i), part(i + 1));
                start + rng.next_u64() % (end - start).max(1)
            })
            .collect()
    }
}
