//! Pictures once for each column of the kernel, shifted by it, without a border at the sides.
//!
//! Then all positions of the output lie one after the other, whatever its width, and so do the inputs that a tap needs for
//! them. For pictures whose rows are not whole vectors: with a border, its columns would be a part of the work, and a large one
//! in small pictures.

use super::ConvShape;
use super::direct::VECTOR;

/// How a channel lies in memory: `[columns of the kernel][remainders of rows by the stride][rows][columns of the output]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    shape: ConvShape,
    /// Rows of each remainder.
    rows: usize,
}

impl Columns {
    pub fn new(shape: &ConvShape) -> Self {
        let height = shape.size_in[0] + 2 * shape.padding;
        Self {
            shape: *shape,
            rows: height.div_ceil(shape.stride),
        }
    }

    /// Length of a shifted picture.
    fn plane(&self) -> usize {
        self.shape.stride * self.rows * self.shape.size_out[1]
    }

    /// From one channel to the next.
    pub fn channel_stride(&self) -> usize {
        self.shape.kernel * self.plane()
    }

    /// Elements of a buffer for all channels, with what whole vectors may reach beyond the last one.
    pub fn len(&self) -> usize {
        self.shape.channels_in * self.channel_stride() + VECTOR
    }

    /// Distance of a tap.
    pub fn tap(&self, row: usize, col: usize) -> usize {
        let stride = self.shape.stride;
        col * self.plane() + (row % stride * self.rows + row / stride) * self.shape.size_out[1]
    }

    /// Copies all channels of a sample into a buffer of [`Self::len`] elements.
    pub fn fill(&self, columns: &mut [f32], x: &[f32]) {
        let positions = self.shape.positions_in();
        let (used, rest) = columns.split_at_mut(self.shape.channels_in * self.channel_stride());
        let channels = used
            .chunks_exact_mut(self.channel_stride())
            .zip(x.chunks_exact(positions));
        for (channel, picture) in channels {
            for (col, plane) in channel.chunks_exact_mut(self.plane()).enumerate() {
                if self.shape.stride == 1 && self.shape.size_out[1] == self.shape.size_in[1] {
                    self.shift(plane, picture, col);
                } else {
                    self.pick(plane, picture, col);
                }
            }
        }
        rest.fill(0.0);
    }

    /// Rows keep their length: one copy of the whole picture, moved by some elements.
    fn shift(&self, plane: &mut [f32], picture: &[f32], col: usize) {
        let (width, padding) = (self.shape.size_in[1], self.shape.padding);
        let (before, rest) = plane.split_at_mut(padding * width);
        let (inside, after) = rest.split_at_mut(picture.len());
        before.fill(0.0);
        after.fill(0.0);
        // What comes from the neighbouring row belongs to the border.
        if col < padding {
            let right = (padding - col).min(width);
            inside[right..].copy_from_slice(&picture[..picture.len() - right]);
            for row in inside.chunks_exact_mut(width) {
                row[..right].fill(0.0);
            }
        } else {
            let left = (col - padding).min(width);
            inside[..picture.len() - left].copy_from_slice(&picture[left..]);
            for row in inside.chunks_exact_mut(width) {
                row[width - left..].fill(0.0);
            }
        }
    }

    /// Row by row.
    fn pick(&self, plane: &mut [f32], picture: &[f32], col: usize) {
        let ConvShape {
            stride, padding, ..
        } = self.shape;
        let [height, width] = self.shape.size_in;
        // Columns of the output whose input lies left of the picture.
        let first = padding.saturating_sub(col).div_ceil(stride);
        let from = first * stride + col - padding;
        for (i, places) in plane.chunks_exact_mut(self.shape.size_out[1]).enumerate() {
            places.fill(0.0);
            let row = (i % self.rows * stride + i / self.rows).checked_sub(padding);
            let Some(row) = row.filter(|row| *row < height) else {
                continue;
            };
            let inputs = picture[row * width..][..width].iter().skip(from);
            let places = places.iter_mut().skip(first);
            for (place, input) in places.zip(inputs.step_by(stride)) {
                *place = *input;
            }
        }
    }
}
