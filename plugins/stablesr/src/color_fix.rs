//! Corrections of the colours of generated pictures by the picture they were generated from.
//!
//! Diffusion models shift colours: what is learnt at high noise levels decides them, and errors there are large. The
//! low-resolution picture knows them (Wang et al. 2023, StableSR, section 3.4).

use dsl_sdk::PluginError;

use crate::config::ColorFix;
use crate::filter::{Axis, Border};

/// Added to variances, so that a channel of one value can be divided by.
const EPSILON: f64 = 1e-5;
/// Levels of the decomposition; the coarsest smooths over 63 pixels.
const LEVELS: usize = 5;

impl ColorFix {
    /// Corrects a picture by one of the same shape.
    ///
    /// # Shapes
    /// - `generated`, `reference`, result: `[channels, height, width]`, values in −1..1; the result may leave the range a
    ///   little
    ///
    /// # Errors
    /// Lengths that are not `channels * height * width`, or no pixels.
    pub fn apply(
        self,
        generated: &[f32],
        reference: &[f32],
        [channels, height, width]: [usize; 3],
    ) -> Result<Vec<f32>, PluginError> {
        let expected = channels * height * width;
        if expected == 0 || generated.len() != expected || reference.len() != expected {
            return Err(PluginError::contract(format!(
                "colours of {} values by {}, expected {channels} × {height} × {width}",
                generated.len(),
                reference.len()
            )));
        }
        Ok(match self {
            Self::None => generated.to_vec(),
            Self::Adain => adain(generated, reference, height * width),
            Self::Wavelet => wavelet(generated, reference, height, width),
        })
    }
}

/// Adaptive instance normalisation (Huang and Belongie 2017, eq. 8): for each channel `(x − μ_x) / σ_x · σ_r + μ_r`, with
/// `σ² = variance + 1e-5`.
fn adain(generated: &[f32], reference: &[f32], pixels: usize) -> Vec<f32> {
    let planes = generated
        .chunks_exact(pixels)
        .zip(reference.chunks_exact(pixels));
    planes
        .flat_map(|(plane, reference)| {
            let (mean, sigma) = statistics(plane);
            let (wanted_mean, wanted_sigma) = statistics(reference);
            let scale = wanted_sigma / sigma;
            plane
                .iter()
                .map(move |&value| ((f64::from(value) - mean) * scale + wanted_mean) as f32)
        })
        .collect()
}

/// Mean, and the root of variance (with N − 1) plus [`EPSILON`].
fn statistics(plane: &[f32]) -> (f64, f64) {
    let n = plane.len() as f64;
    let mean = plane.iter().copied().map(f64::from).sum::<f64>() / n;
    let squares: f64 = (plane.iter())
        .map(|&value| (f64::from(value) - mean).powi(2))
        .sum();
    (mean, (squares / (n - 1.0).max(1.0) + EPSILON).sqrt())
}

/// What is fine in the generated picture, on what is coarse in the reference.
fn wavelet(generated: &[f32], reference: &[f32], height: usize, width: usize) -> Vec<f32> {
    let (high, _) = decompose(generated, height, width);
    let (_, low) = decompose(reference, height, width);
    high.iter().zip(low).map(|(high, low)| high + low).collect()
}

/// The à-trous decomposition of `[channels, height, width]` into all that is fine and the rest that is coarse, which add up
/// to the picture: smoothed by `[1 2 1]ᵀ [1 2 1] / 16`, over and over, each time with twice the distance between its taps.
/// The border is repeated.
fn decompose(picture: &[f32], height: usize, width: usize) -> (Vec<f32>, Vec<f32>) {
    let mut low = picture.to_vec();
    for level in 0..LEVELS {
        let axis =
            |length| Axis::correlate(length, &[0.25, 0.5, 0.25], 1 << level, Border::Replicate);
        let (x, y) = (axis(width), axis(height));
        low = low
            .chunks_exact(height * width)
            .flat_map(|plane| y.down_columns(&x.along_rows(plane, width), width))
            .collect();
    }
    // The sum over levels of what each of them takes away.
    let high = picture.iter().zip(&low).map(|(all, low)| all - low);
    (high.collect(), low)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [3, 20, 24];
    const PIXELS: usize = 20 * 24;

    fn picture(phase: f32, contrast: f32, shift: f32) -> Vec<f32> {
        (0..3 * PIXELS)
            .map(|at| {
                let (x, y, c) = (
                    (at % 24) as f32,
                    (at % PIXELS / 24) as f32,
                    (at / PIXELS) as f32,
                );
                shift * (c - 1.0) + contrast * (x * 0.9 + y * 0.4 * (c + 1.0) + phase).sin()
            })
            .collect()
    }

    #[test]
    fn adain_gives_each_channel_the_mean_and_deviation_of_the_reference() {
        let (generated, reference) = (picture(0.3, 0.5, 0.3), picture(1.1, 0.3, -0.2));
        let fixed = ColorFix::Adain
            .apply(&generated, &reference, SHAPE)
            .unwrap();
        for (fixed, reference) in fixed.chunks(PIXELS).zip(reference.chunks(PIXELS)) {
            let (found, expected) = (statistics(fixed), statistics(reference));
            assert!((found.0 - expected.0).abs() < 1e-6);
            // The small number in the variances is scaled too.
            assert!((found.1 - expected.1).abs() < 1e-4);
        }
        // A linear change: neighbours keep their order.
        assert_eq!(generated[0] < generated[1], fixed[0] < fixed[1]);
    }

    #[test]
    fn adain_of_one_colour_is_the_mean_of_the_reference() {
        let fixed = ColorFix::Adain
            .apply(&[0.25; 3 * PIXELS], &picture(0.0, 0.5, 0.4), SHAPE)
            .unwrap();
        let (mean, _) = statistics(&picture(0.0, 0.5, 0.4)[..PIXELS]);
        assert!((f64::from(fixed[0]) - mean).abs() < 1e-6);
    }

    #[test]
    fn fine_and_coarse_add_up_to_the_picture() {
        let picture = picture(0.7, 0.6, 0.2);
        let (high, low) = decompose(&picture, 20, 24);
        for ((high, low), value) in high.iter().zip(&low).zip(&picture) {
            assert!((high + low - value).abs() < 1e-6);
        }
        // What is coarse hardly varies, and holds the mean.
        let (mean, sigma) = statistics(&low[..PIXELS]);
        let (whole_mean, whole_sigma) = statistics(&picture[..PIXELS]);
        assert!(sigma < 0.3 * whole_sigma && (mean - whole_mean).abs() < 0.1);
        assert_eq!(decompose(&[0.5; 3 * PIXELS], 20, 24).1, [0.5; 3 * PIXELS]);
    }

    /// The first level by hand: one bright pixel becomes `[1 2 1]ᵀ [1 2 1] / 16`, the next has holes.
    #[test]
    fn a_point_spreads_as_the_kernel_says() {
        let mut point = vec![0.0; 9];
        point[4] = 16.0;
        let axis = Axis::correlate(3, &[0.25, 0.5, 0.25], 1, Border::Replicate);
        let once = axis.down_columns(&axis.along_rows(&point, 3), 3);
        assert_eq!(once, [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0]);
        let row = [0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0];
        let dilated = Axis::correlate(7, &[0.25, 0.5, 0.25], 2, Border::Replicate);
        assert_eq!(
            dilated.along_rows(&row, 7),
            [0.0, 1.0, 0.0, 2.0, 0.0, 1.0, 0.0]
        );
    }

    #[test]
    fn wavelet_takes_colour_from_the_reference_and_keeps_detail() {
        let (plain, reference) = (picture(0.4, 0.3, 0.0), picture(0.4, 0.3, 0.3));
        // The same detail with other colours: the reference comes out.
        let fixed = ColorFix::Wavelet.apply(&plain, &reference, SHAPE).unwrap();
        for (fixed, reference) in fixed.iter().zip(&reference) {
            assert!((fixed - reference).abs() < 1e-5);
        }
        assert_eq!(
            ColorFix::None.apply(&plain, &reference, SHAPE).unwrap(),
            plain
        );
    }

    #[test]
    fn lengths_that_do_not_fit_are_told() {
        let error = ColorFix::Adain
            .apply(&[0.0; 12], &[0.0; 11], [3, 2, 2])
            .unwrap_err();
        assert!(
            error
                .message
                .contains("12 values by 11, expected 3 × 2 × 2")
        );
        assert!(ColorFix::Wavelet.apply(&[], &[], [3, 0, 2]).is_err());
    }
}
