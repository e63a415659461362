//! RGB pictures of floats, which degradations and colour corrections compute on.

use dsl_sdk::image::{Picture, Window};

use crate::filter::Axis;

/// Red, green and blue.
pub(crate) const CHANNELS: usize = 3;

/// An RGB picture: three planes of `height * width` values, rows from the top. Black is 0, white is 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Raster {
    pub width: usize,
    pub height: usize,
    /// `[3, height, width]`.
    pub values: Vec<f32>,
}

impl Raster {
    /// The part of `picture` inside `window`, mirrored left to right by `flip`.
    pub fn cut(picture: &Picture, window: Window, flip: bool) -> Self {
        let mut values = Vec::new();
        picture.append_chw(window, flip, &mut values);
        for value in &mut values {
            *value = (*value + 1.0) / 2.0;
        }
        Self {
            width: window.width as usize,
            height: window.height as usize,
            values,
        }
    }

    /// A whole picture.
    pub fn of(picture: &Picture) -> Self {
        let (width, height) = (picture.width(), picture.height());
        let window = Window {
            left: 0,
            top: 0,
            width,
            height,
        };
        Self::cut(picture, window, false)
    }

    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.width * self.height
    }

    /// Each value by itself.
    pub fn map(mut self, change: impl Fn(f32) -> f32) -> Self {
        for value in &mut self.values {
            *value = change(*value);
        }
        self
    }

    /// In 0..1.
    pub fn clamped(self) -> Self {
        self.map(|value| value.clamp(0.0, 1.0))
    }

    /// As a file of 8 bits holds it.
    pub fn rounded(self) -> Self {
        self.map(|value| f32::from(byte(value)) / 255.0)
    }

    /// Filtered along both axes, first along rows.
    pub fn filtered(&self, x: &Axis, y: &Axis) -> Self {
        let planes = self.values.chunks_exact(self.pixels());
        Self {
            width: x.len(),
            height: y.len(),
            values: planes
                .flat_map(|plane| y.down_columns(&x.along_rows(plane, self.width), x.len()))
                .collect(),
        }
    }

    /// Appends the values as networks read them, in −1..1.
    pub fn append_signed(&self, values: &mut Vec<f32>) {
        values.extend(self.values.iter().map(|value| 2.0 * value - 1.0));
    }
}

/// The nearest of the 256 levels.
pub(crate) fn byte(value: f32) -> u8 {
    (value * 255.0).round().clamp(0.0, 255.0) as u8
}
