//! From the network's answer to estimates of `x_0` and `eps`, and the limits put on `x_0`.

use burn::tensor::Tensor;

use super::config::SamplerConfig;
use crate::noise_schedule::sample_scales;
use crate::parameterization::PredictionType;

/// How a sampler reads the network.
#[derive(Debug, Clone)]
pub struct Readout {
    prediction: PredictionType,
    limit: Limit,
}

/// A bound on the estimate of `x_0`.
#[derive(Debug, Clone, Copy)]
enum Limit {
    None,
    Clip { range: f64 },
    Threshold { ratio: f64, max: f64 },
}

/// Factors of `x_0` and `eps` in a sample with `a^2 + s^2 = 1`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    /// `sqrt(alpha_bar)`
    pub a: f32,
    /// `sqrt(1 - alpha_bar)`
    pub s: f32,
}

impl Level {
    pub(super) fn of_alpha_bar(alpha_bar: f32) -> Self {
        Self {
            a: alpha_bar.sqrt(),
            s: (1.0 - alpha_bar).sqrt(),
        }
    }

    pub(super) fn of_sigma(sigma: f32) -> Self {
        let a = 1.0 / (sigma * sigma + 1.0).sqrt();
        Self { a, s: sigma * a }
    }
}

impl Readout {
    pub(super) fn new(config: &SamplerConfig, prediction: PredictionType) -> Self {
        let limit = if config.thresholding {
            Limit::Threshold {
                ratio: config.dynamic_thresholding_ratio,
                max: config.sample_max_value,
            }
        } else if config.clip_sample {
            Limit::Clip {
                range: config.clip_sample_range,
            }
        } else {
            Limit::None
        };
        Self { prediction, limit }
    }

    /// The estimate of `x_0`, limited; `seen` is what the network saw.
    pub(super) fn x_0(&self, prediction: Tensor<4>, seen: Tensor<4>, level: Level) -> Tensor<4> {
        let x_0 = convert(
            self.prediction,
            PredictionType::Sample,
            prediction,
            seen,
            level,
        );
        match self.limit {
            Limit::None => x_0,
            Limit::Clip { range } => x_0.clamp(-range, range),
            Limit::Threshold { ratio, max } => threshold(x_0, ratio, max),
        }
    }

    /// The estimate of `eps` that the network itself makes; knows no limit.
    pub(super) fn eps(&self, prediction: Tensor<4>, seen: Tensor<4>, level: Level) -> Tensor<4> {
        convert(
            self.prediction,
            PredictionType::Epsilon,
            prediction,
            seen,
            level,
        )
    }
}

/// The estimate of `eps` that belongs to an estimate of `x_0`.
pub(super) fn eps_of_x_0(x_0: Tensor<4>, seen: Tensor<4>, level: Level) -> Tensor<4> {
    convert(
        PredictionType::Sample,
        PredictionType::Epsilon,
        x_0,
        seen,
        level,
    )
}

fn convert(
    from: PredictionType,
    to: PredictionType,
    prediction: Tensor<4>,
    seen: Tensor<4>,
    level: Level,
) -> Tensor<4> {
    let a = sample_scales(&[level.a], &seen);
    let s = sample_scales(&[level.s], &seen);
    from.convert_at(to, prediction, seen, a, s)
}

/// Dynamic thresholding, each sample by its own quantile.
fn threshold(x_0: Tensor<4>, ratio: f64, max: f64) -> Tensor<4> {
    let [batch, ..] = x_0.dims();
    let magnitudes: Vec<f32> = x_0
        .clone()
        .abs()
        .into_data()
        .convert::<f32>()
        .iter()
        .collect();
    let per_sample = (magnitudes.len() / batch.max(1)).max(1);
    let bounds: Vec<f32> = magnitudes
        .chunks(per_sample)
        .map(|sample| quantile(sample, ratio).clamp(1.0, max as f32))
        .collect();
    let bound = sample_scales(&bounds, &x_0);
    // Clamping to 1 after the division is clamping to the bound before it.
    (x_0 / bound).clamp(-1.0, 1.0)
}

/// Quantile with linear interpolation between the two nearest ranks.
fn quantile(values: &[f32], ratio: f64) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let rank = ratio * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract() as f32
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn read(config: SamplerConfig, x_0: [f32; 5]) -> Vec<f32> {
        let x_0 = Tensor::<1>::from_floats(x_0, &Device::flex()).reshape([1, 1, 1, 5]);
        let readout = Readout::new(&config, PredictionType::Sample);
        let level = Level::of_alpha_bar(0.5);
        readout
            .x_0(x_0.clone(), x_0, level)
            .into_data()
            .try_to_vec()
            .expect("f32")
    }

    #[test]
    fn quantiles_by_hand() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.75), 2.5);
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 1.0), 3.0);
    }

    #[test]
    fn clipping_bounds_and_thresholding_rescales() {
        let values = [-4.0, 0.5, 1.0, 2.0, 3.0];
        let clip = SamplerConfig {
            clip_sample: true,
            clip_sample_range: 2.5,
            ..Default::default()
        };
        assert_eq!(read(clip, values), [-2.5, 0.5, 1.0, 2.0, 2.5]);
        let threshold = SamplerConfig {
            thresholding: true,
            dynamic_thresholding_ratio: 0.5,
            sample_max_value: 10.0,
            ..Default::default()
        };
        assert_eq!(read(threshold, values), [-1.0, 0.25, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn levels_of_sigma_and_alpha_bar_agree() {
        let (one, other) = (Level::of_alpha_bar(0.2), Level::of_sigma(2.0));
        assert!((one.a - other.a).abs() < 1e-7 && (one.s - other.s).abs() < 1e-7);
    }
}
