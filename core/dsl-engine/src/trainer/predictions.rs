//! What the networks predict, without training: for validation and for evaluators that know the truth.

use std::ops::Range;

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use dsl_nets::{Conditioning, Model};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::Precision;
use super::{Noised, Trainer, precision};
use crate::data::{SampleSource, Samples, in_buckets};
use crate::error::EngineError;
use crate::objective::dsl::bin_of;
use crate::parameterization::PredictionType;
use crate::rng::Stream;

/// Validation on a fixed bank of timesteps and noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between two validations; null switches them off. One more follows the last step.
    #[schemars(range(min = 1))]
    pub every_steps: Option<u64>,
    /// Split of the data set.
    pub split: String,
    /// Most samples of the split that are used, the first ones.
    #[schemars(range(min = 1))]
    pub samples: u64,
    /// Number of equal ranges of timesteps that errors are reported for.
    #[schemars(range(min = 1, max = 100))]
    pub bins: usize,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self {
            every_steps: Some(500),
            split: "test".to_owned(),
            samples: 256,
            bins: 4,
        }
    }
}

/// Predictions on given samples, as data on the host.
#[derive(Debug, Clone)]
pub struct NoisePredictions {
    /// `[batch, channels, height, width]`
    pub x_t: TensorData,
    /// `[batch]`, 0..1
    pub alpha_bar: Vec<f32>,
    /// The drawn noise, as `x_t`.
    pub eps: TensorData,
    /// The generator's prediction of the noise, as `x_t`.
    pub generator: TensorData,
    /// The discriminator's, where there is one.
    pub discriminator: Option<TensorData>,
}

/// Mean squared errors in noise space on the validation bank.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ValidationReport {
    /// `validation/...` and its value, in the order they are logged.
    pub values: Vec<(String, f64)>,
}

impl Trainer {
    /// Noise predictions of generator (its moving average where one is kept) and discriminator on `samples`, with
    /// draws fixed by `first_index`. Whatever the networks predict is converted to noise.
    pub fn noise_predictions(&self, samples: &Samples, first_index: u64) -> NoisePredictions {
        let plain = self.device.clone().inner();
        let noised = self.noise(
            samples,
            Stream::VALIDATION,
            Stream::VALIDATION.part("noise"),
            0,
            first_index,
        );
        let model = precision::compute_copy(&self.model_in_use(), self.config.train.precision);
        let (generator, discriminator) = self.predict(&noised, &model, true);
        let x_t = noised.x_t(&plain);
        let to_eps = |output: Tensor<4>| {
            self.config
                .prediction_type
                .convert(
                    PredictionType::Epsilon,
                    &self.schedule,
                    output.cast(DType::F32),
                    x_t.clone(),
                    noised.timestep(),
                )
                .into_data()
        };
        NoisePredictions {
            generator: to_eps(generator),
            discriminator: discriminator.map(to_eps),
            alpha_bar: noised
                .timestep()
                .iter()
                .map(|&t| self.schedule.alpha_bar(t))
                .collect(),
            eps: noised.eps(&plain).into_data(),
            x_t: x_t.into_data(),
        }
    }

    /// Errors of both networks on the first samples of `set`, over all timesteps and per range of timesteps; and the
    /// generator's conditioning gain: its error under the conditions of another sample, over that under the right ones; where
    /// words are learned, which all samples share, with the words as they were at step 0. More than 1 shows that it uses
    /// them.
    ///
    /// # Errors
    /// Those of the data source.
    pub fn validate(
        &self,
        config: &ValidationConfig,
        set: &dyn SampleSource,
    ) -> Result<ValidationReport, EngineError> {
        let plain = self.device.clone().inner();
        let model = precision::compute_copy(&self.model_in_use(), self.config.train.precision);
        let [first, second] = self.first_words.clone();
        let without_words = first.map(|words| {
            let model = Model {
                learned_tokens: Some(words),
                learned_tokens_2: second,
                ..self.model_in_use()
            };
            precision::compute_copy(&model, self.config.train.precision)
        });
        let names = ["err/generator", "err/discriminator", "gap", OTHERS];
        let bins = config.bins.max(1);
        let mut sums = vec![vec![(0.0f64, 0u64); bins]; names.len()];
        let count = set.len().min(config.samples) as usize;
        let batches = in_buckets(
            set,
            (0..count as u64).collect(),
            self.config.train.batch_size,
        );
        let order: Vec<u64> = batches.concat();
        let strata = self.streams.stratified_timesteps(
            Stream::VALIDATION,
            1,
            count,
            self.schedule.num_train_timesteps(),
        );
        let mut next = 0;
        for batch in &batches {
            let first = next;
            next += batch.len();
            let samples = set.samples(batch)?;
            let views = samples.views.max(1);
            let timestep: Vec<u32> = (0..samples.len())
                .map(|row| strata[first + row / views])
                .collect();
            let noised = self.noise_at(
                &samples,
                timestep,
                Stream::VALIDATION.part("noise"),
                1,
                (first * views) as u64,
            );
            let (eps_g, eps_phi) = self.predict(&noised, &model, true);
            let measure = noised.measure(&plain);
            let target = noised.target(&plain);
            let others = match (&without_words, samples.conditions.is_empty()) {
                (Some(model), _) => {
                    let (eps_g, _) = self.predict(&noised, model, false);
                    Some(measure.squared_distance(eps_g, target.clone()))
                }
                (None, true) => None,
                (None, false) if count < 2 => None,
                (None, false) => {
                    let others = others(set, &order, first..next);
                    let others = noised.under(set.samples(&others)?.conditions);
                    let (eps_g, _) = self.predict(&others, &model, false);
                    Some(measure.squared_distance(eps_g, target.clone()))
                }
            };
            let of_discriminator = eps_phi.map(|eps_phi| {
                [
                    measure.squared_distance(eps_phi.clone(), target.clone()),
                    measure.squared_distance(eps_phi, eps_g.clone()),
                ]
            });
            let [of_discriminator, gap] = match of_discriminator {
                Some([error, gap]) => [Some(error), Some(gap)],
                None => [None, None],
            };
            let of_generator = Some(measure.squared_distance(eps_g, target));
            let errors = [of_generator, of_discriminator, gap, others];
            for (sums, errors) in sums.iter_mut().zip(errors) {
                let Some(errors) = errors else { continue };
                for (error, &t) in errors.into_data().iter::<f32>().zip(noised.timestep()) {
                    let bin = &mut sums[bin_of(t, self.schedule.num_train_timesteps(), bins)];
                    bin.0 += f64::from(error);
                    bin.1 += 1;
                }
            }
        }
        let mut report = ValidationReport::default();
        let [of_generator, .., of_others] = &sums[..] else {
            return Ok(report);
        };
        let gain = ratios(of_others, of_generator);
        let errors = (names.iter().zip(&sums))
            .filter(|(name, _)| **name != OTHERS)
            .map(|(name, sums)| (*name, means(sums)));
        for (name, (total, of_bins)) in errors.chain([("conditioning_gain", gain)]) {
            let Some(total) = total else { continue };
            report.values.push((format!("validation/{name}"), total));
            for (bin, value) in of_bins.into_iter().enumerate() {
                if let (Some(value), true) = (value, bins > 1) {
                    report
                        .values
                        .push((format!("validation/{name}/bin_{bin}"), value));
                }
            }
        }
        Ok(report)
    }

    /// Outputs of `model` and, where wanted and there, of the discriminator, under the same conditioning. Plain
    /// tensors, native parameterisation.
    pub(super) fn predict(
        &self,
        noised: &Noised,
        model: &Model,
        discriminator: bool,
    ) -> (Tensor<4>, Option<Tensor<4>>) {
        let plain = self.device.clone().inner();
        let precision = self.config.train.precision;
        let conditioning = condition(model, noised, &plain, precision);
        let x_t = precision::input(noised.x_t(&plain), precision);
        let timesteps = noised.timesteps(&plain);
        let eps_phi = match &self.adversary {
            Some(adversary) if discriminator => {
                let network = precision::compute_copy(&adversary.network().valid(), precision);
                Some(network.forward(x_t.clone(), timesteps.clone(), &conditioning))
            }
            _ => None,
        };
        (
            model.denoiser.forward(x_t, timesteps, &conditioning),
            eps_phi,
        )
    }
}

/// For each of the samples at some places of `order`, which are of one bucket, another one: as far away as can be among
/// those that may be asked for together. A sample that is alone in its bucket has any other.
fn others(set: &dyn SampleSource, order: &[u64], places: Range<usize>) -> Vec<u64> {
    let bucket = set.bucket_of(order[places.start]);
    let is_alike = |index: &u64| set.bucket_of(*index) == bucket;
    // The order is that of the buckets.
    let begin = order.iter().position(is_alike).unwrap_or(0);
    let alike = order.iter().filter(|index| is_alike(index)).count();
    let (begin, count) = match alike {
        1 => (0, order.len()),
        _ => (begin, alike),
    };
    places
        .map(|place| order[begin + (place - begin + count / 2) % count])
        .collect()
}

/// The generator's error under the conditions of other samples.
const OTHERS: &str = "err/generator/others";

/// A value over all timesteps, and for each range of them; nothing where nothing was measured.
type OverBins = (Option<f64>, Vec<Option<f64>>);

fn means(sums: &[(f64, u64)]) -> OverBins {
    let mean = |(sum, count): (f64, u64)| (count > 0).then(|| sum / count as f64);
    (mean(total(sums)), sums.iter().copied().map(mean).collect())
}

fn ratios(sums: &[(f64, u64)], over: &[(f64, u64)]) -> OverBins {
    let ratio = |((sum, count), (over, _)): ((f64, u64), (f64, u64))| {
        (count > 0 && over > 0.0).then(|| sum / over)
    };
    let of_bins = sums.iter().copied().zip(over.iter().copied()).map(ratio);
    (ratio((total(sums), total(over))), of_bins.collect())
}

fn total(sums: &[(f64, u64)]) -> (f64, u64) {
    sums.iter()
        .fold((0.0, 0), |(sum, count), (s, c)| (sum + s, count + c))
}

/// What a model's denoiser is told of a micro-batch.
pub(super) fn condition(
    model: &Model,
    noised: &Noised,
    device: &Device,
    precision: Precision,
) -> Conditioning {
    noised
        .conditions()
        .conditioning(model, device, precision::dtype(precision))
}
