//! The mixture itself: drawing from it, its density under noise, and the exact conditional mean of the noise.

/// `p(x) = Σ_k w_k N(x; m_k, s_k² I)` in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct GaussianMixture {
    means: Vec<[f64; 2]>,
    stds: Vec<f64>,
    /// Normalised to sum 1.
    weights: Vec<f64>,
}

impl GaussianMixture {
    /// A mixture of lists of equal length, with positive standard deviations and weights; see `MixtureConfig::mixture`, which
    /// checks that.
    pub(crate) fn new(means: Vec<[f64; 2]>, stds: Vec<f64>, weights: Vec<f64>) -> Self {
        let sum: f64 = weights.iter().sum();
        let weights = weights.into_iter().map(|weight| weight / sum).collect();
        Self {
            means,
            stds,
            weights,
        }
    }

    /// Centres.
    pub fn means(&self) -> &[[f64; 2]] {
        &self.means
    }

    /// Standard deviations.
    pub fn stds(&self) -> &[f64] {
        &self.stds
    }

    /// Weights, of sum 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// A point, made of a number in 0..1 that chooses the component, and two standard normal numbers.
    pub fn point(&self, component: f64, normal: [f64; 2]) -> [f64; 2] {
        let mut left = component;
        let last = self.weights.len() - 1;
        let chosen = (0..last).find(|&index| {
            left -= self.weights[index];
            left < 0.0
        });
        let chosen = chosen.unwrap_or(last);
        let ([x, y], std) = (self.means[chosen], self.stds[chosen]);
        [x + std * normal[0], y + std * normal[1]]
    }

    /// `log p_t(x_t)` of the noised mixture: under `x_t = sqrt(alpha_bar) x_0 + sqrt(1 − alpha_bar) eps` each component becomes
    /// `N(sqrt(alpha_bar) m_k, v_k I)` with `v_k = alpha_bar s_k² + 1 − alpha_bar`.
    ///
    /// `alpha_bar` in 0..=1.
    pub fn log_density(&self, x_t: [f64; 2], alpha_bar: f64) -> f64 {
        let terms: Vec<f64> = self
            .components(x_t, alpha_bar)
            .map(|component| component.log_density)
            .collect();
        log_sum_exp(&terms)
    }

    /// The exact conditional mean of the noise, `E[eps | x_t]`, which is what a perfect network predicts:
    /// `−sqrt(1 − alpha_bar) ∇ log p_t(x_t)` (Tweedie's formula), or
    /// `sqrt(1 − alpha_bar) Σ_k r_k (x_t − sqrt(alpha_bar) m_k) / v_k` with the responsibilities `r_k` of the components.
    ///
    /// `alpha_bar` in 0..=1, both ends included: `x_t` itself at 0 and, as no noise was added, 0 at 1.
    pub fn eps_mean(&self, x_t: [f64; 2], alpha_bar: f64) -> [f64; 2] {
        let components: Vec<Component> = self.components(x_t, alpha_bar).collect();
        let terms: Vec<f64> = components
            .iter()
            .map(|component| component.log_density)
            .collect();
        let total = log_sum_exp(&terms);
        let noise = (1.0 - alpha_bar).max(0.0).sqrt();
        let mut mean = [0.0; 2];
        for component in &components {
            let share = (component.log_density - total).exp() * noise / component.variance;
            mean[0] += share * component.offset[0];
            mean[1] += share * component.offset[1];
        }
        mean
    }

    fn components(&self, x_t: [f64; 2], alpha_bar: f64) -> impl Iterator<Item = Component> {
        let root = alpha_bar.max(0.0).sqrt();
        self.means
            .iter()
            .zip(&self.stds)
            .zip(&self.weights)
            .map(move |(([x, y], std), weight)| {
                let variance = alpha_bar * std * std + 1.0 - alpha_bar;
                let offset = [x_t[0] - root * x, x_t[1] - root * y];
                let distance = offset[0] * offset[0] + offset[1] * offset[1];
                // Two dimensions: the normalising factor is 1 / (2 π v).
                let log_density = weight.ln()
                    - (std::f64::consts::TAU * variance).ln()
                    - distance / (2.0 * variance);
                Component {
                    log_density,
                    offset,
                    variance,
                }
            })
    }
}

/// One component as seen from a noised point.
struct Component {
    /// Logarithm of weight times density.
    log_density: f64,
    /// From the component's centre to the point.
    offset: [f64; 2],
    variance: f64,
}

/// `log Σ exp(term)`, without overflow, and without the underflow that a point far from all centres would meet.
fn log_sum_exp(terms: &[f64]) -> f64 {
    let highest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    highest
        + terms
            .iter()
            .map(|term| (term - highest).exp())
            .sum::<f64>()
            .ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MixtureConfig;
    use crate::dataset::{normals, rng, uniform};

    fn uneven() -> GaussianMixture {
        GaussianMixture::new(
            vec![[1.0, -0.5], [-0.3, 0.8], [0.2, 0.1]],
            vec![0.3, 0.1, 0.6],
            vec![1.0, 2.0, 3.0],
        )
    }

    const LEVELS: [f64; 5] = [0.9999, 0.9, 0.5, 0.05, 4e-5];

    #[test]
    fn the_mean_is_the_scaled_gradient_of_the_log_density() {
        for mixture in [uneven(), MixtureConfig::default().mixture().unwrap()] {
            for alpha_bar in LEVELS {
                for point in [[0.0, 0.0], [1.1, 0.2], [-0.7, 0.9], [2.5, -2.0]] {
                    let step = 1e-5;
                    let slope = |axis: usize| {
                        let at = |by: f64| {
                            let mut moved = point;
                            moved[axis] += by;
                            mixture.log_density(moved, alpha_bar)
                        };
                        (at(step) - at(-step)) / (2.0 * step)
                    };
                    let found = mixture.eps_mean(point, alpha_bar);
                    for (axis, found) in found.into_iter().enumerate() {
                        let expected = -(1.0 - alpha_bar).sqrt() * slope(axis);
                        assert!(
                            (found - expected).abs() < 1e-5 * expected.abs().max(1.0),
                            "{point:?} {alpha_bar}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_mean_is_what_many_draws_average_to() {
        // The regression of eps on any function of x_t must agree: E[(eps − eps_mean(x_t)) g(x_t)] = 0.
        let mixture = uneven();
        let mut rng = rng(7, 0, 0);
        let draws = 200_000;
        for alpha_bar in [0.95_f64, 0.5, 0.1] {
            let mut residual = [[0.0; 4]; 2];
            for _ in 0..draws {
                let component = uniform(&mut rng);
                let normal = normals(&mut rng);
                let x_0 = mixture.point(component, normal);
                let eps = normals(&mut rng);
                let x_t = [0, 1].map(|axis| {
                    alpha_bar.sqrt() * x_0[axis] + (1.0 - alpha_bar).sqrt() * eps[axis]
                });
                let mean = mixture.eps_mean(x_t, alpha_bar);
                for axis in 0..2 {
                    let functions = [1.0, x_t[0], x_t[1], (3.0 * x_t[0]).sin() * x_t[1]];
                    for (sum, function) in residual[axis].iter_mut().zip(functions) {
                        *sum += (eps[axis] - mean[axis]) * function / f64::from(draws);
                    }
                }
            }
            // Each term has a variance of about 1, so five standard deviations are 0.011.
            assert!(
                residual.iter().flatten().all(|value| value.abs() < 0.011),
                "{alpha_bar}: {residual:?}"
            );
        }
    }

    #[test]
    fn both_ends_and_far_points_are_finite() {
        let mixture = MixtureConfig::default().mixture().unwrap();
        assert_eq!(mixture.eps_mean([0.3, 0.4], 1.0), [0.0, 0.0]);
        let [x, y] = mixture.eps_mean([0.3, 0.4], 0.0);
        assert!((x - 0.3).abs() < 1e-12 && (y - 0.4).abs() < 1e-12);
        for alpha_bar in LEVELS {
            assert!(
                mixture
                    .eps_mean([1e4, -1e4], alpha_bar)
                    .iter()
                    .all(|value| value.is_finite())
            );
        }
    }

    #[test]
    fn one_gaussian_has_the_textbook_answer() {
        let mixture = GaussianMixture::new(vec![[2.0, 0.0]], vec![0.5], vec![3.0]);
        let (alpha_bar, x): (f64, f64) = (0.64, 1.0);
        let expected = 0.6 * (x - 0.8 * 2.0) / (0.64 * 0.25 + 0.36);
        assert!((mixture.eps_mean([x, 0.0], alpha_bar)[0] - expected).abs() < 1e-12);
    }

    #[test]
    fn components_are_drawn_by_their_weights() {
        let mixture = uneven();
        let centre = |component| mixture.point(component, [0.0; 2]);
        assert_eq!(centre(0.16), [1.0, -0.5]);
        assert_eq!(centre(0.17), [-0.3, 0.8]);
        assert_eq!(centre(0.51), [0.2, 0.1]);
        assert_eq!(centre(0.999_999_999_999), [0.2, 0.1]);
    }
}
