//! Blur kernels of the second-order degradation (Wang et al. 2021, Real-ESRGAN, section 3).

use std::f64::consts::PI;

use crate::filter::Border;
use crate::raster::Raster;

/// Weights of a square of odd side; they sum to 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kernel {
    side: usize,
    weights: Vec<f32>,
}

/// Shape of a blur: the standard deviations along its two axes, in pixels, and by how much they are turned, in radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub sigma: [f64; 2],
    pub angle: f64,
}

impl Spread {
    /// The same in all directions.
    pub fn isotropic(sigma: f64) -> Self {
        Self {
            sigma: [sigma; 2],
            angle: 0.0,
        }
    }

    /// `pᵀ Σ⁻¹ p` with `Σ = R diag(σ²) Rᵀ`.
    fn squared_distance(&self, x: f64, y: f64) -> f64 {
        let (sin, cos) = self.angle.sin_cos();
        let along = (cos * x + sin * y) / self.sigma[0];
        let across = (cos * y - sin * x) / self.sigma[1];
        along * along + across * across
    }
}

impl Kernel {
    /// `exp(−(pᵀ Σ⁻¹ p)^β / 2)`: the Gaussian for β = 1, heavier tails below, a flatter top above.
    pub fn gaussian(side: usize, spread: Spread, beta: f64) -> Self {
        Self::of(side, |x, y| {
            (-0.5 * spread.squared_distance(x, y).powf(beta)).exp()
        })
    }

    /// `1 / (1 + (pᵀ Σ⁻¹ p)^β)`.
    pub fn plateau(side: usize, spread: Spread, beta: f64) -> Self {
        Self::of(side, |x, y| {
            1.0 / (1.0 + spread.squared_distance(x, y).powf(beta))
        })
    }

    /// The ideal low-pass filter cut off at `cutoff` radians a pixel in all directions, `ω J₁(ω r) / (2 π r)`, which rings.
    pub fn sinc(side: usize, cutoff: f64) -> Self {
        Self::of(side, |x, y| match x.hypot(y) {
            0.0 => cutoff * cutoff / (4.0 * PI),
            r => cutoff * libm::j1(cutoff * r) / (2.0 * PI * r),
        })
    }

    /// A function of the distance to the middle, in pixels, made to sum to 1.
    fn of(side: usize, value: impl Fn(f64, f64) -> f64) -> Self {
        let middle = (side / 2) as f64;
        let values: Vec<f64> = (0..side * side)
            .map(|at| value((at % side) as f64 - middle, (at / side) as f64 - middle))
            .collect();
        let sum: f64 = values.iter().sum();
        Self {
            side,
            weights: values.iter().map(|value| (value / sum) as f32).collect(),
        }
    }

    /// Filters a picture, which is mirrored at its border.
    pub fn apply(&self, picture: &Raster) -> Raster {
        let reach = self.side / 2;
        let (width, height) = (picture.width, picture.height);
        let padded_width = width + 2 * reach;
        let inside =
            |at: usize, length: usize| Border::Mirror.inside(at as isize - reach as isize, length);
        let columns: Vec<usize> = (0..padded_width).map(|x| inside(x, width)).collect();
        let mut values = vec![0.0; picture.values.len()];
        for (plane, out) in picture
            .values
            .chunks_exact(picture.pixels())
            .zip(values.chunks_exact_mut(picture.pixels()))
        {
            let padded: Vec<f32> = (0..height + 2 * reach)
                .flat_map(|y| {
                    let row = &plane[inside(y, height) * width..][..width];
                    columns.iter().map(|&x| row[x])
                })
                .collect();
            for (y, out) in out.chunks_exact_mut(width).enumerate() {
                for (tap, &weight) in self.weights.iter().enumerate() {
                    let start = (y + tap / self.side) * padded_width + tap % self.side;
                    for (sum, value) in out.iter_mut().zip(&padded[start..start + width]) {
                        *sum += weight * value;
                    }
                }
            }
        }
        Raster {
            width,
            height,
            values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::CHANNELS;

    const TURNED: Spread = Spread {
        sigma: [2.5, 1.2],
        angle: 0.6,
    };

    fn all() -> Vec<Kernel> {
        vec![
            Kernel::gaussian(21, Spread::isotropic(1.5), 1.0),
            Kernel::gaussian(21, TURNED, 1.0),
            Kernel::gaussian(7, TURNED, 0.5),
            Kernel::gaussian(21, TURNED, 2.0),
            Kernel::plateau(21, Spread::isotropic(0.2), 1.5),
            Kernel::plateau(9, TURNED, 1.0),
            Kernel::sinc(21, PI / 3.0),
            Kernel::sinc(7, PI),
        ]
    }

    /// Second moments: of x, of y, and mixed.
    fn moments(kernel: &Kernel) -> [f64; 3] {
        let middle = (kernel.side / 2) as f64;
        let mut sums = [0.0; 3];
        for (at, &weight) in kernel.weights.iter().enumerate() {
            let (x, y) = (
                (at % kernel.side) as f64 - middle,
                (at / kernel.side) as f64 - middle,
            );
            for (sum, value) in sums.iter_mut().zip([x * x, y * y, x * y]) {
                *sum += f64::from(weight) * value;
            }
        }
        sums
    }

    fn check(kernel: &Kernel, expected: [f64; 3], tolerance: f64) {
        let found = moments(kernel);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < tolerance, "{found} {expected}");
        }
    }

    #[test]
    fn weights_sum_to_one_and_are_the_same_seen_from_the_other_side() {
        for kernel in all() {
            let sum: f64 = kernel.weights.iter().map(|&weight| f64::from(weight)).sum();
            assert!((sum - 1.0).abs() < 1e-6);
            let turned = kernel.weights.iter().rev();
            assert!(
                kernel
                    .weights
                    .iter()
                    .zip(turned)
                    .all(|(a, b)| (a - b).abs() < 1e-7)
            );
        }
    }

    #[test]
    fn a_gaussian_has_the_covariance_it_is_made_of() {
        check(
            &Kernel::gaussian(21, Spread::isotropic(1.5), 1.0),
            [2.25, 2.25, 0.0],
            1e-4,
        );
        let (sin, cos) = 0.6_f64.sin_cos();
        let (a, b) = (2.5 * 2.5, 1.2 * 1.2);
        let expected = [
            a * cos * cos + b * sin * sin,
            a * sin * sin + b * cos * cos,
            (a - b) * sin * cos,
        ];
        check(&Kernel::gaussian(41, TURNED, 1.0), expected, 1e-3);
    }

    /// Of the density `exp(−(r/σ)^2β / 2)` in the plane, the second moment along an axis is `σ² 2^(1/β − 1) Γ(2/β) / Γ(1/β)`.
    #[test]
    fn beta_changes_the_second_moment_as_integrals_say() {
        for beta in [0.7_f64, 1.0, 1.5, 2.0] {
            let gamma = |x: f64| libm::tgamma(x / beta);
            let expected = 4.0 * 2f64.powf(1.0 / beta - 1.0) * gamma(2.0) / gamma(1.0);
            let kernel = Kernel::gaussian(81, Spread::isotropic(2.0), beta);
            check(&kernel, [expected, expected, 0.0], 0.02 * expected);
        }
    }

    #[test]
    fn a_plateau_has_heavier_tails_than_a_gaussian() {
        let spread = Spread::isotropic(1.0);
        let [gaussian, plateau] = [
            Kernel::gaussian(21, spread, 1.0),
            Kernel::plateau(21, spread, 1.5),
        ];
        assert!(moments(&plateau)[0] > 2.0 * moments(&gaussian)[0]);
        // One over one plus one, against the middle.
        let middle = 10 * 21 + 10;
        let ratio = plateau.weights[middle + 1] / plateau.weights[middle];
        assert!((ratio - 0.5).abs() < 1e-6);
    }

    /// The sinc's response to waves along an axis: 1 below its cutoff and 0 above, up to the ripples of a cut-off kernel.
    #[test]
    fn sinc_passes_what_is_below_its_cutoff() {
        let kernel = Kernel::sinc(21, PI / 2.0);
        let response = |frequency: f64| -> f64 {
            (kernel.weights.iter().enumerate())
                .map(|(at, &weight)| {
                    f64::from(weight) * (frequency * ((at % 21) as f64 - 10.0)).cos()
                })
                .sum()
        };
        for frequency in [0.0, 0.2, 0.4, 0.6].map(|part| part * PI / 2.0) {
            assert!(
                (response(frequency) - 1.0).abs() < 0.15,
                "{frequency} {}",
                response(frequency)
            );
        }
        for frequency in [1.5, 1.7, 1.9, 2.0].map(|part| part * PI / 2.0) {
            assert!(
                response(frequency).abs() < 0.15,
                "{frequency} {}",
                response(frequency)
            );
        }
    }

    #[test]
    fn applying_is_the_sum_over_the_mirrored_neighbourhood() {
        let (width, height) = (6, 5);
        let values = (0..CHANNELS * width * height)
            .map(|at| ((at * 29) % 17) as f32)
            .collect();
        let picture = Raster {
            width,
            height,
            values,
        };
        let kernel = Kernel::gaussian(5, TURNED, 0.8);
        let found = kernel.apply(&picture);
        let at = |channel: usize, x: isize, y: isize| {
            let (x, y) = (
                Border::Mirror.inside(x, width),
                Border::Mirror.inside(y, height),
            );
            picture.values[(channel * height + y) * width + x]
        };
        for (place, found) in found.values.iter().enumerate() {
            let (channel, x, y) = (place / 30, (place % 6) as isize, (place / 6 % 5) as isize);
            let expected: f32 = (0..25)
                .map(|tap| {
                    kernel.weights[tap]
                        * at(
                            channel,
                            x + (tap % 5) as isize - 2,
                            y + (tap / 5) as isize - 2,
                        )
                })
                .sum();
            assert!((found - expected).abs() < 1e-4);
        }
    }
}
