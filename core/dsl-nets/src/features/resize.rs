//! The resizes that feature networks are fed through. Distances of features are not comparable across them.
//!
//! All are separable: a row of outputs is a weighted sum of inputs, with a table of weights for each axis; they differ in
//! the table, and in what is kept between the two passes. Pillow's are exact to the last bits of float32.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pictures are resized for Inception-v3. FIDs are not comparable across them (Parmar et al. 2022).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResizeMode {
    /// clean-fid: Pillow's bicubic with antialias on float channels, clipped to 0..255, not rounded.
    #[default]
    Clean,
    /// The original TensorFlow evaluation, torch-fidelity, ADM: bilinear, no antialias, no half-pixel offset.
    Tf1Bilinear,
    /// pytorch-fid: bilinear with half-pixel centres, no antialias, and its own scaling to −1..1 (by 127.5).
    TorchBilinear,
    /// torchmetrics: bilinear with half-pixel centres and antialias.
    TorchAntialias,
}

impl ResizeMode {
    /// The rule behind the name.
    pub fn resample(self) -> Resample {
        match self {
            Self::Clean => Resample::Pillow(Filter::Bicubic),
            Self::Tf1Bilinear => Resample::Tf1Bilinear,
            Self::TorchBilinear => Resample::Bilinear,
            Self::TorchAntialias => Resample::Antialias(Filter::Bilinear),
        }
    }
}

/// Shape of the weights of a resize with antialias, as Pillow names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Mean over the area of an output pixel.
    Box,
    /// Triangle.
    Bilinear,
    /// Keys' cubic with a = −0.5.
    Bicubic,
    /// Windowed sinc, three lobes.
    Lanczos,
}

/// How a plane of numbers in 0..255 is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resample {
    /// Pillow on float channels: antialias, result clipped to 0..255.
    Pillow(Filter),
    /// Pillow on 8-bit channels: weights of 22 bits, rounded and clipped after each pass.
    Pillow8Bit(Filter),
    /// As [`Resample::Pillow`], not clipped: PyTorch with `antialias=True`.
    Antialias(Filter),
    /// Two neighbours at half-pixel centres, no antialias: PyTorch with `align_corners=False`.
    Bilinear,
    /// Two neighbours at `output index · in / out`, no antialias: TensorFlow 1.
    Tf1Bilinear,
}

/// Resizes one plane from `size` to `target`, both height and width.
///
/// # Shapes
/// - `plane`: `height · width` numbers, row-major; result likewise in the target's size
pub fn resize_plane(
    plane: &[f32],
    [height, width]: [usize; 2],
    [target_height, target_width]: [usize; 2],
    resample: Resample,
) -> Vec<f32> {
    let keep = |value: f64| match resample {
        Resample::Pillow8Bit(_) => (value + 0.5).floor().clamp(0.0, 255.0) as f32,
        _ => value as f32,
    };
    let columns = Taps::new(width, target_width, resample);
    let mut between = Vec::with_capacity(height * target_width);
    for row in plane.chunks_exact(width) {
        between.extend(columns.taps.iter().map(|tap| keep(tap.sum(row, 1))));
    }
    let rows = Taps::new(height, target_height, resample);
    let mut result = Vec::with_capacity(target_height * target_width);
    for tap in &rows.taps {
        result.extend((0..target_width).map(|x| keep(tap.sum(&between[x..], target_width))));
    }
    if let Resample::Pillow(_) = resample {
        for value in &mut result {
            *value = value.clamp(0.0, 255.0);
        }
    }
    result
}

/// One output: the first input that counts, and the weights from there on.
struct Tap {
    first: usize,
    weights: Vec<f64>,
}

impl Tap {
    /// With weights as Pillow's integers hold them.
    fn fixed_point(mut self) -> Self {
        const ONE: f64 = (1 << 22) as f64;
        for weight in &mut self.weights {
            *weight = (*weight * ONE).round() / ONE;
        }
        self
    }

    fn sum(&self, values: &[f32], step: usize) -> f64 {
        let inputs = values.iter().skip(self.first * step).step_by(step);
        inputs
            .zip(&self.weights)
            .map(|(&value, weight)| f64::from(value) * weight)
            .sum()
    }
}

/// The outputs along one axis.
struct Taps {
    taps: Vec<Tap>,
}

impl Taps {
    fn new(from: usize, to: usize, resample: Resample) -> Self {
        let scale = from as f64 / to as f64;
        let tap = |index: usize| match resample {
            Resample::Pillow(filter) | Resample::Antialias(filter) => {
                filtered(index, scale, from, filter)
            }
            Resample::Pillow8Bit(filter) => filtered(index, scale, from, filter).fixed_point(),
            Resample::Bilinear => between((index as f64 + 0.5) * scale - 0.5, from),
            Resample::Tf1Bilinear => between(index as f64 * scale, from),
        };
        Self {
            taps: (0..to).map(tap).collect(),
        }
    }
}

/// The two neighbours of a position; beyond the border, the border.
fn between(position: f64, from: usize) -> Tap {
    let position = position.max(0.0);
    let first = (position.floor() as usize).min(from - 1);
    let weight = position - first as f64;
    let weights = if first + 1 < from {
        vec![1.0 - weight, weight]
    } else {
        vec![1.0]
    };
    Tap { first, weights }
}

/// All inputs below the filter, which widens where the picture shrinks; weights sum to 1.
fn filtered(index: usize, scale: f64, from: usize, filter: Filter) -> Tap {
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    let centre = (index as f64 + 0.5) * scale;
    let first = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(from);
    let mut weights: Vec<f64> = (first..end)
        .map(|input| filter.weight((input as f64 - centre + 0.5) / stretch))
        .collect();
    let sum: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= sum;
    }
    Tap { first, weights }
}

impl Filter {
    /// Half the width, in inputs.
    fn support(self) -> f64 {
        match self {
            Self::Box => 0.5,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let distance = x.abs();
        match self {
            Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - distance).max(0.0),
            Self::Bicubic if distance < 1.0 => (1.5 * distance - 2.5) * distance * distance + 1.0,
            Self::Bicubic if distance < 2.0 => {
                ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
            }
            Self::Lanczos if distance < 3.0 => sinc(distance) * sinc(distance / 3.0),
            Self::Bicubic | Self::Lanczos => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    (PI * x).sin() / (PI * x)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Resample; 8] = [
        Resample::Pillow(Filter::Box),
        Resample::Pillow(Filter::Bilinear),
        Resample::Pillow(Filter::Bicubic),
        Resample::Pillow(Filter::Lanczos),
        Resample::Pillow8Bit(Filter::Bicubic),
        Resample::Antialias(Filter::Bilinear),
        Resample::Bilinear,
        Resample::Tf1Bilinear,
    ];

    #[test]
    fn a_size_that_stays_leaves_the_picture() {
        let plane: Vec<f32> = (0..35).map(|i| (i * 7 % 256) as f32).collect();
        for resample in ALL {
            let same = resize_plane(&plane, [5, 7], [5, 7], resample);
            for (a, b) in same.iter().zip(&plane) {
                assert!((a - b).abs() < 1e-4, "{resample:?}");
            }
        }
    }

    #[test]
    fn a_plain_colour_stays_that_colour_at_every_size() {
        for resample in ALL {
            for size in [[1, 1], [3, 9], [40, 2]] {
                let resized = resize_plane(&[77.0; 12], [3, 4], size, resample);
                assert_eq!(resized.len(), size[0] * size[1]);
                let worst = resized.iter().map(|v| (v - 77.0).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-4, "{resample:?} {size:?}");
            }
        }
    }

    #[test]
    fn centres_are_where_each_rule_puts_them() {
        let ramp = [0.0, 10.0, 20.0, 30.0];
        let row = |resample| resize_plane(&ramp, [1, 4], [1, 2], resample);
        assert_eq!(row(Resample::Tf1Bilinear), [0.0, 20.0]);
        assert_eq!(row(Resample::Bilinear), [5.0, 25.0]);
        assert_eq!(row(Resample::Pillow(Filter::Box)), [5.0, 25.0]);
    }
}
