//! Pictures as scores of pictures read them.

use crate::error::{MetricsError, finite};

/// A picture in float64: rows, then columns, then channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    pub(crate) values: Vec<f64>,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Picture {
    /// Values of any range, `[height, width, channels]`.
    ///
    /// # Errors
    /// Values that do not fill the shape, a picture without pixels, and values that are not finite.
    pub fn new(
        values: Vec<f64>,
        [height, width, channels]: [usize; 3],
    ) -> Result<Self, MetricsError> {
        let shape = format!("{height} × {width} × {channels} values, at least one");
        if values.is_empty() || values.len() != height * width * channels {
            return Err(MetricsError::shape("picture", shape, values.len()));
        }
        finite("picture", &values)?;
        Ok(Self {
            values,
            height,
            width,
            channels,
        })
    }

    /// An 8-bit RGB picture, in 0..255.
    ///
    /// # Errors
    /// As [`Picture::new`].
    pub fn from_rgb8(bytes: &[u8], height: usize, width: usize) -> Result<Self, MetricsError> {
        let values = bytes.iter().map(|&value| f64::from(value)).collect();
        Self::new(values, [height, width, 3])
    }

    /// Height, width, channels.
    pub fn shape(&self) -> [usize; 3] {
        [self.height, self.width, self.channels]
    }

    /// The luma of an RGB picture in 0..255 by BT.601: `(65.481 R + 128.553 G + 24.966 B) / 255 + 16`, in 16..235, not
    /// rounded. Papers on super-resolution measure on it.
    ///
    /// # Errors
    /// A picture that has not three channels.
    pub fn luma(&self) -> Result<Self, MetricsError> {
        if self.channels != 3 {
            return Err(MetricsError::shape("channels", 3, self.channels));
        }
        let pixels = self.values.chunks_exact(3);
        let luma = |p: &[f64]| (65.481 * p[0] + 128.553 * p[1] + 24.966 * p[2]) / 255.0 + 16.0;
        Self::new(pixels.map(luma).collect(), [self.height, self.width, 1])
    }

    /// Without `border` pixels on each side.
    ///
    /// # Errors
    /// A border that leaves nothing.
    pub fn cropped(&self, border: usize) -> Result<Self, MetricsError> {
        let inner = |side: usize| side.checked_sub(2 * border).filter(|&left| left > 0);
        let (Some(height), Some(width)) = (inner(self.height), inner(self.width)) else {
            let least = format!("more than {} pixels a side", 2 * border);
            let found = format!("{} × {}", self.height, self.width);
            return Err(MetricsError::shape("picture", least, found));
        };
        let row = self.width * self.channels;
        let rows = self.values.chunks_exact(row).skip(border).take(height);
        let (from, to) = (border * self.channels, (border + width) * self.channels);
        let values = rows.flat_map(|row| &row[from..to]).copied().collect();
        Self::new(values, [height, width, self.channels])
    }

    pub(crate) fn same_shape(&self, other: &Self) -> Result<(), MetricsError> {
        if self.shape() == other.shape() {
            return Ok(());
        }
        let (expected, found) = (
            format!("{:?}", self.shape()),
            format!("{:?}", other.shape()),
        );
        Err(MetricsError::shape("the second picture", expected, found))
    }
}
