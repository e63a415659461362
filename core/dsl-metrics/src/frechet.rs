//! The Fréchet distance between two sets of features: FID on Inception's pooled features (Heusel et al. 2017), sFID on its
//! spatial ones (Nash et al. 2021).

use nalgebra::DMatrix;

use crate::{error::MetricsError, features::FeatureStatistics};

/// `‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁Σ₂)^½`, covariances with N − 1.
///
/// The last trace is the sum of the roots of the eigenvalues of `Λ^½ Qᵀ Σ₂ Q Λ^½` with `Σ₁ = Q Λ Qᵀ`: equal to that of the
/// matrix root in exact arithmetic, and in need of symmetric eigenvalues alone, so that singular covariances (fewer samples
/// than features) are no special case. With fewer samples than features the value is biased: report KID beside it.
///
/// A record states the feature network, the resize, and both numbers of samples.
///
/// # Errors
/// Features of different lengths; less than two samples.
pub fn frechet_distance(
    first: &FeatureStatistics,
    second: &FeatureStatistics,
) -> Result<f64, MetricsError> {
    let (expected, found) = (first.mean().len(), second.mean().len());
    if expected != found {
        return Err(MetricsError::shape(
            "statistics of the second set",
            expected,
            found,
        ));
    }
    let (cov1, cov2) = (first.covariance_matrix()?, second.covariance_matrix()?);
    let means = (first.mean_vector() - second.mean_vector()).norm_squared();
    Ok(means + cov1.trace() + cov2.trace() - 2.0 * trace_of_root(cov1, &cov2))
}

/// `tr (Σ₁Σ₂)^½`.
fn trace_of_root(cov1: DMatrix<f64>, cov2: &DMatrix<f64>) -> f64 {
    let eigen = cov1.symmetric_eigen();
    let mut root = eigen.eigenvectors;
    for (mut column, value) in root.column_iter_mut().zip(eigen.eigenvalues.iter()) {
        // Rounding makes some of the eigenvalues that are 0 a little negative.
        column *= value.max(0.0).sqrt();
    }
    let product = root.transpose() * (cov2 * &root);
    let symmetric = (&product + product.transpose()) * 0.5;
    let eigenvalues = symmetric.symmetric_eigenvalues();
    eigenvalues.iter().map(|value| value.max(0.0).sqrt()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Features;
    use crate::kid::tests::normal_features;

    fn statistics(features: &Features) -> FeatureStatistics {
        let mut statistics = FeatureStatistics::new(features.length());
        statistics.add(features).unwrap();
        statistics
    }

    fn diagonal(mean: &[f64], variances: &[f64]) -> FeatureStatistics {
        let length = mean.len();
        let mut covariance = vec![0.0; length * length];
        for (index, variance) in variances.iter().enumerate() {
            covariance[index * (length + 1)] = *variance;
        }
        FeatureStatistics::from_moments(100, mean, &covariance).unwrap()
    }

    #[test]
    fn a_set_is_at_no_distance_from_itself() {
        for count in [200, 9] {
            let set = statistics(&normal_features(count, 16, 1));
            assert!(
                frechet_distance(&set, &set).unwrap().abs() < 1e-8,
                "{count}"
            );
        }
    }

    #[test]
    fn shifted_gaussians_are_apart_by_the_square_of_the_shift() {
        let one = diagonal(&[0.0; 3], &[1.0; 3]);
        let other = diagonal(&[1.0, -2.0, 3.0], &[1.0; 3]);
        assert!((frechet_distance(&one, &other).unwrap() - 14.0).abs() < 1e-10);
    }

    #[test]
    fn diagonal_gaussians_are_apart_by_their_deviations() {
        let (a, b) = ([4.0, 0.25, 9.0], [1.0, 2.25, 0.0]);
        let found = frechet_distance(&diagonal(&[0.0; 3], &a), &diagonal(&[0.0; 3], &b)).unwrap();
        let expected: f64 = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a.sqrt() - b.sqrt()).powi(2))
            .sum();
        assert!((found - expected).abs() < 1e-10, "{found} {expected}");
    }

    #[test]
    fn neither_order_nor_pieces_of_samples_matter() {
        let features = normal_features(50, 6, 3);
        let backwards: Vec<usize> = (0..50).rev().collect();
        let other = statistics(&normal_features(40, 6, 4));
        let whole = frechet_distance(&statistics(&features), &other).unwrap();
        let reversed = statistics(&features.select(&backwards).unwrap());
        let mut pieces = FeatureStatistics::new(6);
        for piece in backwards.chunks(7) {
            pieces.add(&features.select(piece).unwrap()).unwrap();
        }
        for same in [reversed, pieces] {
            let found = frechet_distance(&same, &other).unwrap();
            assert!((found - whole).abs() < 1e-10 * whole, "{found} {whole}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let (one, other) = (FeatureStatistics::new(3), FeatureStatistics::new(4));
        assert!(matches!(
            frechet_distance(&one, &other),
            Err(MetricsError::Shape { .. })
        ));
        let empty = FeatureStatistics::new(4);
        assert!(matches!(
            frechet_distance(&empty, &other),
            Err(MetricsError::TooFew { found: 0, .. })
        ));
        assert!(FeatureStatistics::from_moments(1, &[0.0], &[1.0]).is_err());
        assert!(
            Features::new(vec![f64::NAN], 1).is_err() && Features::new(vec![1.0; 5], 2).is_err()
        );
    }
}
