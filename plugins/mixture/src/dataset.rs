//! Points of the mixture.

use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, PluginError,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::gaussian_mixture::GaussianMixture;

/// The column with the points.
pub(crate) const POINT: &str = "x";

/// Where the points of a split come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Points {
    /// A list: a point depends on its index alone.
    Fixed { count: u64, seed: u64, split: u64 },
    /// A stream: an augmented point depends on index and seed, so that each pass, having other seeds, brings new ones. Without
    /// augmentation it is a list, as any dataset then is.
    Stream { epoch: u64, seed: u64, split: u64 },
}

/// Points of the mixture. `[any thread]`
#[derive(Clone, Debug)]
pub struct MixturePoints {
    mixture: GaussianMixture,
    points: Points,
}

impl MixturePoints {
    pub(crate) fn new(mixture: GaussianMixture, points: Points) -> Self {
        Self { mixture, points }
    }

    fn point(&self, index: u64, sample_seed: u64, augment: bool) -> [f64; 2] {
        let (Points::Fixed { seed, split, .. } | Points::Stream { seed, split, .. }) = self.points;
        let mut rng = match self.points {
            // The stream's own number keeps it apart from the lists, whatever the seeds are.
            Points::Stream { .. } if augment => rng(sample_seed, STREAM, index),
            _ => rng(seed, split, index),
        };
        let component = uniform(&mut rng);
        self.mixture.point(component, normals(&mut rng))
    }
}

/// Number of the generator for streams; lists have the numbers of their splits.
const STREAM: u64 = u64::MAX;

/// A generator for (`seed`, `kind`, `index`), by ChaCha with 8 rounds: the key is made of the first two, the last is the stream.
pub(crate) fn rng(seed: u64, kind: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&kind.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

/// A number in 0..1 of 53 random bits.
pub(crate) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Two standard normal numbers (Box and Muller 1958).
pub(crate) fn normals(rng: &mut ChaCha8Rng) -> [f64; 2] {
    // 1 − u lies in (0, 1], so that the logarithm is finite.
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * uniform(rng)).sin_cos();
    [radius * cos, radius * sin]
}

impl Dataset for MixturePoints {
    fn len(&self) -> u64 {
        match self.points {
            Points::Fixed { count, .. } => count,
            Points::Stream { epoch, .. } => epoch,
        }
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        vec![ColumnSpec {
            name: POINT.into(),
            dtype: DType::F32,
            shape: vec![Some(2)],
            role: ColumnRole::Vector,
        }]
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let BatchRequest {
            indices,
            seeds,
            augment,
        } = *request;
        request.check_seeds()?;
        if let Some(index) = indices.iter().find(|&&index| index >= self.len()) {
            return Err(PluginError::contract(format!(
                "index {index} of a dataset of {} points",
                self.len()
            )));
        }
        let points = indices
            .iter()
            .zip(seeds)
            .flat_map(|(&index, &seed)| self.point(index, seed, augment));
        let values = points.map(|value| value as f32).collect();
        let data = ColumnData::F32 {
            shape: vec![indices.len() as u64, 2],
            values,
        };
        Ok(Batch {
            columns: vec![Column {
                name: POINT.into(),
                data,
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use dsl_sdk::{Host, Task};

    use super::*;
    use crate::{Mixture, MixtureConfig};

    fn dataset(config: MixtureConfig, split: &str) -> Box<dyn Dataset> {
        Mixture::open(config, Host::detached())
            .unwrap()
            .dataset(split)
            .unwrap()
    }

    fn values(dataset: &dyn Dataset, indices: &[u64], seeds: &[u64], augment: bool) -> Vec<f32> {
        let batch = dataset
            .batch(&BatchRequest {
                indices,
                seeds,
                augment,
            })
            .unwrap();
        let (shape, values) = batch.f32(POINT).unwrap();
        assert_eq!(shape, [indices.len() as u64, 2]);
        values.to_vec()
    }

    #[test]
    fn a_batch_is_its_samples_one_after_the_other() {
        for points in [None, Some(20)] {
            let dataset = dataset(
                MixtureConfig {
                    points,
                    ..Default::default()
                },
                "train",
            );
            for augment in [false, true] {
                let mut apart = values(&*dataset, &[3], &[30], augment);
                apart.extend(values(&*dataset, &[5], &[50], augment));
                assert_eq!(values(&*dataset, &[3, 5], &[30, 50], augment), apart);
            }
        }
    }

    #[test]
    fn a_stream_brings_new_points_and_a_list_the_same() {
        let stream = dataset(MixtureConfig::default(), "train");
        let list = dataset(
            MixtureConfig {
                points: Some(64),
                ..Default::default()
            },
            "train",
        );
        let at =
            |dataset: &dyn Dataset, seed, augment| values(dataset, &[0, 1, 2], &[seed; 3], augment);
        assert_eq!((stream.len(), list.len()), (10_240, 64));
        assert_ne!(at(&*stream, 1, true), at(&*stream, 2, true));
        assert_eq!(at(&*stream, 1, false), at(&*stream, 2, false));
        assert_eq!(at(&*list, 1, true), at(&*list, 2, true));
        let [a, b, c] = <[[f32; 2]; 3]>::try_from(
            at(&*stream, 1, true)
                .chunks(2)
                .map(|point| [point[0], point[1]])
                .collect::<Vec<_>>(),
        )
        .unwrap();
        assert!(a != b && b != c, "the same seed, but other indices");
    }

    #[test]
    fn test_points_are_fixed_and_others_than_the_train_points() {
        let config = MixtureConfig {
            points: Some(100),
            test_points: 50,
            ..Default::default()
        };
        let (train, test) = (
            dataset(config.clone(), "train"),
            dataset(config.clone(), "test"),
        );
        assert_eq!(test.len(), 50);
        assert_eq!(
            values(&*test, &[4], &[1], true),
            values(&*test, &[4], &[2], false)
        );
        assert_ne!(
            values(&*test, &[4], &[0], false),
            values(&*train, &[4], &[0], false)
        );
        let other = dataset(MixtureConfig { seed: 1, ..config }, "test");
        assert_ne!(
            values(&*test, &[4], &[0], false),
            values(&*other, &[4], &[0], false)
        );
    }

    #[test]
    fn the_points_have_the_moments_of_the_mixture() {
        let config = MixtureConfig {
            test_points: 40_000,
            ..Default::default()
        };
        let dataset = dataset(config, "test");
        let indices: Vec<u64> = (0..dataset.len()).collect();
        let values = values(&*dataset, &indices, &indices, false);
        let count = values.len() as f64;
        let mean: f64 = values.iter().map(|&value| f64::from(value)).sum::<f64>() / count;
        let variance: f64 = values
            .iter()
            .map(|&value| f64::from(value).powi(2))
            .sum::<f64>()
            / count;
        assert!(
            mean.abs() < 0.02 && (variance - (1.2 * 1.2 / 2.0 + 0.0025)).abs() < 0.01,
            "{mean} {variance}"
        );
    }
}
