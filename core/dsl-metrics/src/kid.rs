//! Kernel inception distance (Bińkowski et al. 2018).

use rand::SeedableRng;
use rand::seq::index::sample;
use rand_chacha::ChaCha8Rng;

use crate::{error::MetricsError, features::Features, summary::MeanStd};

/// Subsets that the distance is averaged over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KidConfig {
    /// Number of subsets.
    pub subsets: usize,
    /// Samples of each, drawn without replacement; at most what the smaller set has.
    pub subset_size: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for KidConfig {
    /// 100 subsets of 1000, as usual.
    fn default() -> Self {
        Self {
            subsets: 100,
            subset_size: 1000,
            seed: 0,
        }
    }
}

/// Mean and deviation of [`mmd2_unbiased`] over random subsets.
///
/// A record states the feature network, the resize, numbers of samples, and the configuration.
///
/// # Errors
/// Features of different lengths; sets or subsets of less than two samples.
pub fn kid(
    first: &Features,
    second: &Features,
    config: KidConfig,
) -> Result<MeanStd, MetricsError> {
    let size = config.subset_size.min(first.count()).min(second.count());
    if config.subsets == 0 {
        return Err(few("subsets", 1, 0));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let mut draw = |features: &Features| sample(&mut rng, features.count(), size).into_vec();
    let subsets: Vec<[Vec<usize>; 2]> = (0..config.subsets)
        .map(|_| [draw(first), draw(second)])
        .collect();
    kid_of_subsets(first, second, &subsets)
}

/// As [`kid`], on given subsets: indices into the first and into the second set.
///
/// # Errors
/// As [`kid`]; indices beyond the sets.
pub fn kid_of_subsets(
    first: &Features,
    second: &Features,
    subsets: &[[Vec<usize>; 2]],
) -> Result<MeanStd, MetricsError> {
    if subsets.is_empty() {
        return Err(few("subsets", 1, 0));
    }
    let values: Result<Vec<f64>, MetricsError> = subsets
        .iter()
        .map(|[a, b]| mmd2_unbiased(&first.select(a)?, &second.select(b)?))
        .collect();
    Ok(MeanStd::of(&values?))
}

/// The unbiased estimate of the squared maximum mean discrepancy under the kernel `(xᵀy / d + 1)³`: means of the kernel
/// within each set without the diagonal, minus twice its mean between the sets.
///
/// # Errors
/// Features of different lengths; sets of less than two samples.
pub fn mmd2_unbiased(first: &Features, second: &Features) -> Result<f64, MetricsError> {
    first.same_length(second)?;
    let (m, n) = (first.count(), second.count());
    if m.min(n) < 2 {
        return Err(few("samples", 2, m.min(n)));
    }
    let (a, b) = (first.columns(), second.columns());
    let kernel = |dot: f64| (dot / first.length() as f64 + 1.0).powi(3);
    let within = |x: &nalgebra::DMatrix<f64>, count: usize| {
        let gram = (x.transpose() * x).map(kernel);
        (gram.sum() - gram.trace()) / (count * (count - 1)) as f64
    };
    let between = (a.transpose() * &b).map(kernel).sum() / (m * n) as f64;
    Ok(within(&a, m) + within(&b, n) - 2.0 * between)
}

fn few(of: &'static str, least: usize, found: usize) -> MetricsError {
    MetricsError::TooFew {
        metric: "KID",
        of,
        least,
        found,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rand::Rng;

    use super::*;

    /// Sums of uniform numbers, for tests.
    pub(crate) fn normal_features(count: usize, length: usize, seed: u64) -> Features {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut normal = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        let rows = (0..count * length).map(|_| normal()).collect();
        Features::new(rows, length).unwrap()
    }

    #[test]
    fn by_hand_on_two_samples_each() {
        // k(x, y) = (x y + 1)³ with d = 1: within {0, 1} k = 1, within {2, 3} k = 343, between 1, 1, 27, 64.
        let a = Features::new(vec![0.0, 1.0], 1).unwrap();
        let b = Features::new(vec![2.0, 3.0], 1).unwrap();
        let expected = 1.0 + 343.0 - 2.0 * (1.0 + 1.0 + 27.0 + 64.0) / 4.0;
        assert!((mmd2_unbiased(&a, &b).unwrap() - expected).abs() < 1e-10);
    }

    #[test]
    fn sets_of_one_distribution_are_near_zero_and_others_are_not() {
        let sets = [1, 2].map(|seed| normal_features(400, 8, seed));
        let config = KidConfig {
            subsets: 20,
            subset_size: 100,
            seed: 5,
        };
        let same = kid(&sets[0], &sets[1], config).unwrap();
        assert!(same.mean.abs() < 3.0 * same.std, "{same:?}");
        let doubled = sets[1].rows().flatten().map(|value| value * 2.0).collect();
        let other = kid(&sets[0], &Features::new(doubled, 8).unwrap(), config).unwrap();
        assert!(other.mean > 10.0 * same.mean.abs(), "{other:?} {same:?}");
        assert_eq!(same, kid(&sets[0], &sets[1], config).unwrap());
    }

    #[test]
    fn too_few_samples_are_refused() {
        let one = normal_features(1, 3, 0);
        let many = normal_features(9, 3, 0);
        let error = kid(&one, &many, KidConfig::default()).unwrap_err();
        assert_eq!(error.to_string(), "KID wants 2 samples at least, found 1");
        assert!(kid_of_subsets(&many, &many, &[[vec![0, 9], vec![0, 1]]]).is_err());
    }
}
