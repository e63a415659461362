//! Separable filters: resampling, blurs, and smoothing with holes. Each is a list of weights for every position of an axis.

/// What lies beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Border {
    /// The picture mirrored; its edge is not repeated.
    Mirror,
    /// The edge, over and over.
    Replicate,
}

impl Border {
    /// The place inside an axis of `length` that stands for `at`.
    pub fn inside(self, at: isize, length: usize) -> usize {
        let last = length as isize - 1;
        match self {
            Self::Replicate => at.clamp(0, last) as usize,
            Self::Mirror if last == 0 => 0,
            Self::Mirror => {
                let folded = at.rem_euclid(2 * last);
                folded.min(2 * last - folded) as usize
            }
        }
    }
}

/// How a picture is resampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// The mean of the pixels that a new one covers, those covered in part counted in full (adaptive average pooling).
    Area,
    /// Triangle over the two nearest pixels. Aliases when a picture gets much smaller.
    Bilinear,
    /// Cubic convolution with a = −0.75 over the four nearest pixels, as PyTorch has it. Aliases likewise.
    Bicubic,
    /// Cubic convolution with a = −0.5, widened when a picture gets smaller, so that nothing aliases: as PIL and MATLAB have
    /// it.
    BicubicAntialias,
}

/// Weights of input positions for each output position of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Axis(Vec<Vec<(usize, f32)>>);

impl Axis {
    /// Resamples `from` pixels to `to`; pixel centres lie at halves, and both axes cover the same stretch.
    pub fn resample(from: usize, to: usize, interpolation: Interpolation) -> Self {
        if from == to {
            return Self((0..to).map(|at| vec![(at, 1.0)]).collect());
        }
        let step = from as f64 / to as f64;
        let taps = |at: usize| match interpolation {
            Interpolation::Area => {
                let (first, end) = (at * from / to, ((at + 1) * from).div_ceil(to));
                (first..end)
                    .map(|source| (source, 1.0 / (end - first) as f32))
                    .collect()
            }
            Interpolation::Bilinear => nearest((at as f64 + 0.5) * step, from, 1, triangle),
            Interpolation::Bicubic => {
                nearest((at as f64 + 0.5) * step, from, 2, |x| cubic(x, -0.75))
            }
            Interpolation::BicubicAntialias => {
                widened((at as f64 + 0.5) * step, from, step.max(1.0))
            }
        };
        Self((0..to).map(taps).collect())
    }

    /// Correlates with `weights`, an odd number of them, `dilation` pixels apart.
    pub fn correlate(length: usize, weights: &[f32], dilation: usize, border: Border) -> Self {
        let middle = (weights.len() / 2) as isize;
        let taps = |at: usize| {
            let place = |tap: usize| at as isize + (tap as isize - middle) * dilation as isize;
            (weights.iter().enumerate())
                .map(|(tap, &weight)| (border.inside(place(tap), length), weight))
                .collect()
        };
        Self((0..length).map(taps).collect())
    }

    /// Positions of the output.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Filters each row of a plane whose rows have `width` values.
    pub fn along_rows(&self, plane: &[f32], width: usize) -> Vec<f32> {
        // Whole rows at once, as vectors of the processor want it, after exchanging rows and columns.
        let height = plane.len() / width;
        transposed(
            &self.down_columns(&transposed(plane, width), height),
            height,
        )
    }

    /// Filters each column of a plane whose rows have `width` values.
    pub fn down_columns(&self, plane: &[f32], width: usize) -> Vec<f32> {
        let mut filtered = vec![0.0; self.len() * width];
        for (out, taps) in filtered.chunks_exact_mut(width).zip(&self.0) {
            for &(source, weight) in taps {
                let row = &plane[source * width..(source + 1) * width];
                for (sum, value) in out.iter_mut().zip(row) {
                    *sum += weight * value;
                }
            }
        }
        filtered
    }
}

/// A plane whose rows have `width` values, rows and columns exchanged.
fn transposed(plane: &[f32], width: usize) -> Vec<f32> {
    (0..width)
        .flat_map(|x| plane.iter().skip(x).step_by(width).copied())
        .collect()
}

/// The `2 * reach` pixels around `centre`, the border repeated.
fn nearest(
    centre: f64,
    length: usize,
    reach: isize,
    weight: impl Fn(f64) -> f64,
) -> Vec<(usize, f32)> {
    let base = (centre - 0.5).floor() as isize;
    (1 - reach..=reach)
        .map(|offset| {
            let distance = centre - 0.5 - (base + offset) as f64;
            let source = Border::Replicate.inside(base + offset, length);
            (source, weight(distance) as f32)
        })
        .collect()
}

/// All pixels below a cubic that is `scale` times wider; what is beyond the border has no weight.
fn widened(centre: f64, length: usize, scale: f64) -> Vec<(usize, f32)> {
    let first = (centre - 2.0 * scale + 0.5).floor().max(0.0) as usize;
    let end = ((centre + 2.0 * scale + 0.5).floor() as usize).min(length);
    let weights: Vec<f64> = (first..end)
        .map(|source| cubic((source as f64 + 0.5 - centre) / scale, -0.5))
        .collect();
    let sum: f64 = weights.iter().sum();
    (first..end)
        .zip(weights)
        .map(|(source, weight)| (source, (weight / sum) as f32))
        .collect()
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// Keys 1981, eq. 4 for a = −0.5.
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Interpolation; 4] = [
        Interpolation::Area,
        Interpolation::Bilinear,
        Interpolation::Bicubic,
        Interpolation::BicubicAntialias,
    ];

    #[test]
    fn weights_sum_to_one_and_constants_stay() {
        for interpolation in ALL {
            for (from, to) in [(96, 24), (24, 96), (13, 7), (7, 13), (1, 5), (5, 1), (6, 6)] {
                let axis = Axis::resample(from, to, interpolation);
                assert_eq!(axis.len(), to);
                for value in axis.along_rows(&vec![0.25; from], from) {
                    assert!(
                        (value - 0.25).abs() < 1e-6,
                        "{interpolation:?} {from} → {to}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_ramp_stays_a_ramp_away_from_the_border() {
        let ramp: Vec<f32> = (0..64).map(|at| at as f32 + 0.5).collect();
        for (interpolation, to) in [
            (Interpolation::Area, 16),
            (Interpolation::Bilinear, 16),
            (Interpolation::BicubicAntialias, 16),
            (Interpolation::BicubicAntialias, 256),
            (Interpolation::Bilinear, 256),
        ] {
            let step = 64.0 / to as f32;
            let found = Axis::resample(64, to, interpolation).along_rows(&ramp, 64);
            for (at, value) in found.iter().enumerate().take(to - to / 8).skip(to / 8) {
                let expected = (at as f32 + 0.5) * step;
                assert!(
                    (value - expected).abs() < 1e-3,
                    "{interpolation:?} {to}: {value} {expected}"
                );
            }
        }
    }

    /// What a filter that widens smooths away comes out of the others as a wave that was not there.
    #[test]
    fn only_the_widened_filter_keeps_fine_stripes_from_aliasing() {
        // A period of 3 pixels is too fine for a quarter of the pixels.
        let stripes: Vec<f32> = (0..88)
            .map(|at| (at as f32 * std::f32::consts::TAU / 3.0).sin())
            .collect();
        let energy = |interpolation| {
            let small = Axis::resample(88, 22, interpolation).along_rows(&stripes, 88);
            small[3..19].iter().map(|value| value * value).sum::<f32>() / 16.0
        };
        assert!(energy(Interpolation::BicubicAntialias) < 0.002);
        assert!(energy(Interpolation::Bicubic) > 0.1);
    }

    #[test]
    fn resampling_matches_values_of_pillow_and_pytorch() {
        let row = [0.0, 1.0, 0.0, 0.0, 0.5, 1.0, 0.25, 0.75];
        let near = |interpolation, to, expected: &[f32]| {
            let found = Axis::resample(8, to, interpolation).along_rows(&row, 8);
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 2e-6,
                    "{interpolation:?}: {found} {expected}"
                );
            }
        };
        // torch 2.9.0, `interpolate(mode="area" | "bilinear" | "bicubic", align_corners=False)`.
        near(Interpolation::Area, 3, &[0.3333333, 0.375, 0.6666667]);
        near(Interpolation::Bilinear, 3, &[0.8333333, 0.25, 0.3333333]);
        near(Interpolation::Bicubic, 3, &[0.943287, 0.203125, 0.2566551]);
        near(
            Interpolation::Bicubic,
            12,
            &[
                -0.0868056, 0.59375, 0.943287, 0.1608796, -0.140625, 0.0630787, 0.384838, 0.8671875,
            ],
        );
        // Pillow, `resize(BICUBIC)` of mode F; torch with `antialias=True` gives the same.
        near(
            Interpolation::BicubicAntialias,
            3,
            &[0.3656634, 0.341186, 0.6345955],
        );
        near(
            Interpolation::BicubicAntialias,
            12,
            &[
                -0.0657895, 0.5294118, 0.9375, 0.1319444, -0.09375, 0.0543981, 0.4108796, 0.828125,
            ],
        );
    }

    #[test]
    fn borders_mirror_and_repeat() {
        let places = |border: Border| (-4..8).map(|at| border.inside(at, 4)).collect::<Vec<_>>();
        assert_eq!(places(Border::Mirror), [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(
            places(Border::Replicate),
            [0, 0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3]
        );
        assert_eq!(Border::Mirror.inside(-3, 1), 0);
    }

    #[test]
    fn both_ways_of_walking_a_plane_agree() {
        let plane: Vec<f32> = (0..35).map(|at| ((at * 37) % 11) as f32).collect();
        let transposed: Vec<f32> = (0..35).map(|at| plane[at % 5 * 7 + at / 5]).collect();
        let axis = Axis::correlate(7, &[0.5, 0.25, 0.25], 2, Border::Mirror);
        let rows = axis.along_rows(&plane, 7);
        let columns = axis.down_columns(&transposed, 5);
        assert!((0..35).all(|at| rows[at] == columns[at % 7 * 5 + at / 7]));
    }
}
