//! Pictures with a border of zeros, each channel one run of memory.

use crate::parallel;
use crate::scratch;

/// Elements that whole vectors may reach beyond the last one asked for.
const SLACK: usize = 4 * super::direct::VECTOR;

/// How a picture lies inside its border.
#[derive(Debug, Clone, Copy)]
pub(super) struct Border {
    size: [usize; 2],
    padding: usize,
    /// Length of a row with its border.
    pub width: usize,
}

impl Border {
    /// A border of `padding` elements on all sides.
    pub fn new(size: [usize; 2], padding: usize) -> Self {
        Self {
            size,
            padding,
            width: size[1] + 2 * padding,
        }
    }

    /// From one channel to the next.
    pub fn channel_stride(&self) -> usize {
        (self.size[0] + 2 * self.padding) * self.width
    }

    /// Elements of a buffer for `channels` channels.
    pub fn len(&self, channels: usize) -> usize {
        channels * self.channel_stride() + SLACK
    }

    /// Copies one channel to its place; what is around it becomes zero.
    fn fill_channel(&self, bordered: &mut [f32], picture: &[f32]) {
        let [_, width] = self.size;
        let rows_end = bordered.len();
        let top = self.padding * self.width;
        bordered[..top].fill(0.0);
        let mut at = top;
        for row in picture.chunks_exact(width) {
            bordered[at..at + self.padding].fill(0.0);
            bordered[at + self.padding..at + self.padding + width].copy_from_slice(row);
            bordered[at + self.padding + width..at + self.width].fill(0.0);
            at += self.width;
        }
        bordered[at..rows_end].fill(0.0);
    }

    /// Copies `channels` channels into `bordered`, a buffer of [`Self::len`] elements.
    pub fn fill(&self, bordered: &mut [f32], pictures: &[f32], channels: usize) {
        let (stride, positions) = (self.channel_stride(), self.size[0] * self.size[1]);
        let (used, rest) = bordered.split_at_mut(channels * stride);
        for (bordered, picture) in used
            .chunks_exact_mut(stride.max(1))
            .zip(pictures.chunks_exact(positions.max(1)))
        {
            self.fill_channel(bordered, picture);
        }
        rest.fill(0.0);
    }

    /// Calls `job` with all `channels` channels inside the border.
    pub fn with<R>(&self, pictures: &[f32], channels: usize, job: impl FnOnce(&[f32]) -> R) -> R {
        scratch::with(self.len(channels), |bordered| {
            let (stride, positions) = (self.channel_stride(), self.size[0] * self.size[1]);
            let (used, rest) = bordered.split_at_mut(channels * stride);
            rest.fill(0.0);
            let work = used.len();
            parallel::each(parallel::pieces(used, stride), work, |channel, bordered| {
                self.fill_channel(bordered, &pictures[channel * positions..][..positions]);
            });
            job(bordered)
        })
    }
}
