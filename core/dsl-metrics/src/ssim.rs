//! Structural similarity (Wang et al. 2004).

use crate::{error::MetricsError, picture::Picture, psnr::positive};

const K1: f64 = 0.01;
const K2: f64 = 0.03;

/// The window, and what is done with it. Values of different variants are not comparable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum SsimVariant {
    /// scikit-image with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`: 11×11 Gaussian, population
    /// covariance, positions without a whole window left out. The paper's own definition.
    #[default]
    SkimageGauss,
    /// torchmetrics: the same window at every position, over a border that mirrors the picture; variances below 0 by
    /// rounding count as 0.
    Torchmetrics,
    /// scikit-image's default: 7×7 mean, covariance with N − 1, positions without a whole window left out.
    Uniform7,
}

impl SsimVariant {
    /// Weights along one axis; they sum to 1.
    fn window(self) -> Vec<f64> {
        let weights: Vec<f64> = match self {
            Self::Uniform7 => vec![1.0; 7],
            // Sigma 1.5, cut off at 3.5 sigma.
            Self::SkimageGauss | Self::Torchmetrics => (-5..=5)
                .map(|x| (-f64::from(x * x) / (2.0 * 1.5 * 1.5)).exp())
                .collect(),
        };
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }
}

/// The mean over pixels, then over channels, of
/// `(2 μ_a μ_b + C1)(2 σ_ab + C2) / ((μ_a² + μ_b² + C1)(σ_a² + σ_b² + C2))`, `C = (K range)²`.
///
/// `range` is the width of the range of values and has to be said: 255 for 8 bits, 1 for 0..1, 2 for −1..1. (torchmetrics
/// without a range takes the larger of the two ranges that happen to be in the batch.)
///
/// # Errors
/// Pictures of different shapes or smaller than the window; a range that is not positive.
pub fn ssim(
    first: &Picture,
    second: &Picture,
    range: f64,
    variant: SsimVariant,
) -> Result<f64, MetricsError> {
    first.same_shape(second)?;
    positive(range)?;
    let window = variant.window();
    if first.height.min(first.width) < window.len() {
        let least = format!("{0} × {0} pixels at least", window.len());
        let found = format!("{} × {}", first.height, first.width);
        return Err(MetricsError::shape("picture", least, found));
    }
    let channels = (0..first.channels).map(|channel| {
        let planes = [first, second].map(|picture| match variant {
            SsimVariant::Torchmetrics => Plane::of(picture, channel).mirrored(window.len() / 2),
            _ => Plane::of(picture, channel),
        });
        planes[0].ssim(&planes[1], &window, range, variant)
    });
    Ok(channels.sum::<f64>() / first.channels as f64)
}

/// One channel.
struct Plane {
    values: Vec<f64>,
    width: usize,
}

impl Plane {
    fn of(picture: &Picture, channel: usize) -> Self {
        let values = picture.values.iter().skip(channel);
        Self {
            values: values.step_by(picture.channels).copied().collect(),
            width: picture.width,
        }
    }

    /// With a border on all sides in which the picture is mirrored; its edge is not repeated.
    fn mirrored(&self, border: usize) -> Self {
        let height = self.values.len() / self.width;
        let inside = |at: usize, side: usize| {
            let from_edge = at.abs_diff(border);
            if at >= border && from_edge >= side {
                2 * (side - 1) - from_edge
            } else {
                from_edge
            }
        };
        let width = self.width + 2 * border;
        let values = (0..height + 2 * border).flat_map(|y| {
            let row = inside(y, height) * self.width;
            (0..width).map(move |x| self.values[row + inside(x, self.width)])
        });
        Self {
            values: values.collect(),
            width,
        }
    }

    fn times(&self, other: &Self) -> Self {
        let products = self.values.iter().zip(&other.values).map(|(a, b)| a * b);
        Self {
            values: products.collect(),
            width: self.width,
        }
    }

    /// Weighted means of all whole windows.
    fn filtered(&self, window: &[f64]) -> Vec<f64> {
        let dot = |values: &mut dyn Iterator<Item = &f64>| -> f64 {
            values
                .zip(window)
                .map(|(value, weight)| value * weight)
                .sum()
        };
        let rows = self.values.chunks_exact(self.width);
        let across: Vec<f64> = rows
            .flat_map(|row| row.windows(window.len()).map(|part| dot(&mut part.iter())))
            .collect();
        let width = self.width - window.len() + 1;
        let height = across.len() / width - window.len() + 1;
        (0..height * width)
            .map(|at| dot(&mut across[at..].iter().step_by(width)))
            .collect()
    }

    fn ssim(&self, other: &Self, window: &[f64], range: f64, variant: SsimVariant) -> f64 {
        let (c1, c2) = ((K1 * range).powi(2), (K2 * range).powi(2));
        let means = [self, other].map(|plane| plane.filtered(window));
        let products =
            [(self, self), (other, other), (self, other)].map(|(a, b)| a.times(b).filtered(window));
        let samples = (window.len() * window.len()) as f64;
        let unbias = match variant {
            SsimVariant::Uniform7 => samples / (samples - 1.0),
            SsimVariant::SkimageGauss | SsimVariant::Torchmetrics => 1.0,
        };
        let variance = |value: f64| match variant {
            SsimVariant::Torchmetrics => value.max(0.0),
            _ => value,
        };
        let count = means[0].len();
        let sum: f64 = (0..count)
            .map(|i| {
                let (a, b) = (means[0][i], means[1][i]);
                let [aa, bb, ab] = [&products[0], &products[1], &products[2]].map(|p| p[i]);
                let variances = variance(unbias * (aa - a * a)) + variance(unbias * (bb - b * b));
                let covariance = unbias * (ab - a * b);
                (2.0 * a * b + c1) * (2.0 * covariance + c2)
                    / ((a * a + b * b + c1) * (variances + c2))
            })
            .sum();
        sum / count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [SsimVariant; 3] = [
        SsimVariant::SkimageGauss,
        SsimVariant::Torchmetrics,
        SsimVariant::Uniform7,
    ];

    fn constant(value: f64, side: usize) -> Picture {
        Picture::new(vec![value; side * side * 3], [side, side, 3]).unwrap()
    }

    #[test]
    fn constant_pictures_compare_by_their_means() {
        let (a, b) = (0.25, 0.75);
        let c1 = 1e-4;
        let expected = (2.0 * a * b + c1) / (a * a + b * b + c1);
        for variant in ALL {
            let found = ssim(&constant(a, 16), &constant(b, 16), 1.0, variant).unwrap();
            assert!(
                (found - expected).abs() < 1e-10,
                "{variant:?} {found} {expected}"
            );
        }
    }

    #[test]
    fn a_picture_as_large_as_the_window_has_one_value() {
        let values: Vec<f64> = (0..121).map(|i| f64::from(i * i % 17)).collect();
        let a = Picture::new(values.clone(), [11, 11, 1]).unwrap();
        let b = Picture::new(values.iter().map(|v| v + 1.0).collect(), [11, 11, 1]).unwrap();
        assert!((ssim(&a, &a, 16.0, SsimVariant::SkimageGauss).unwrap() - 1.0).abs() < 1e-12);
        let window = SsimVariant::SkimageGauss.window();
        let weight = |i: usize| window[i / 11] * window[i % 11];
        let mean: f64 = values.iter().enumerate().map(|(i, v)| weight(i) * v).sum();
        let c1 = (K1 * 16.0).powi(2);
        // A shift changes nothing but the means.
        let expected =
            (2.0 * mean * (mean + 1.0) + c1) / (mean.powi(2) + (mean + 1.0).powi(2) + c1);
        let found = ssim(&a, &b, 16.0, SsimVariant::SkimageGauss).unwrap();
        assert!((found - expected).abs() < 1e-10, "{found} {expected}");
    }

    #[test]
    fn pictures_smaller_than_the_window_are_refused() {
        for (variant, side) in [(SsimVariant::SkimageGauss, 10), (SsimVariant::Uniform7, 6)] {
            let small = constant(1.0, side);
            assert!(ssim(&small, &small, 1.0, variant).is_err());
        }
        let picture = constant(1.0, 12);
        assert!(ssim(&picture, &constant(1.0, 13), 1.0, SsimVariant::Uniform7).is_err());
        assert!(ssim(&picture, &picture, -1.0, SsimVariant::Uniform7).is_err());
    }
}
