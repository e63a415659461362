//! Pictures with a border of zeros, each channel one run of memory.

use crate::parallel;
use crate::scratch;
use crate::simd;

/// Elements that whole vectors may reach beyond the last one asked for.
const SLACK: usize = super::direct::VECTOR;

/// How a picture lies inside its border.
///
/// For a convolution of stride `s` a channel is laid out as `s * s` smaller pictures, one for each remainder of row and column
/// by `s`: the inputs that a tap needs for neighbouring outputs are neighbours there, as they are with stride 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Border {
    size: [usize; 2],
    padding: usize,
    stride: usize,
    /// Rows of each of the pictures of a channel.
    height: usize,
    /// Length of those rows.
    pub width: usize,
}

impl Border {
    /// A border of `padding` elements on all sides.
    pub fn new(size: [usize; 2], padding: usize, stride: usize) -> Self {
        let [height, width] = size.map(|size| (size + 2 * padding).div_ceil(stride));
        Self {
            size,
            padding,
            stride,
            height,
            width,
        }
    }

    /// From one channel to the next.
    pub fn channel_stride(&self) -> usize {
        self.stride * self.stride * self.height * self.width
    }

    /// Where the element at `row` and `col` of a bordered channel lies in it.
    pub fn offset(&self, row: usize, col: usize) -> usize {
        let s = self.stride;
        let picture = row % s * s + col % s;
        (picture * self.height + row / s) * self.width + col / s
    }

    /// Elements of a buffer for `channels` channels.
    pub fn len(&self, channels: usize) -> usize {
        channels * self.channel_stride() + SLACK
    }

    /// Copies one channel to its place; what is around it becomes zero.
    fn fill_channel(&self, bordered: &mut [f32], picture: &[f32]) {
        simd::wide(
            #[inline(always)]
            || {
                bordered.fill(0.0);
                for (y, row) in picture.chunks_exact(self.size[1]).enumerate() {
                    for first in 0..self.stride.min(row.len()) {
                        let at = self.offset(y + self.padding, first + self.padding);
                        let (places, values) = (&mut bordered[at..], &row[first..]);
                        match self.stride {
                            1 => copy_every::<1>(places, values),
                            2 => copy_every::<2>(places, values),
                            _ => {
                                let values = values.iter().step_by(self.stride);
                                places.iter_mut().zip(values).for_each(|(p, x)| *p = *x);
                            }
                        }
                    }
                }
            },
        );
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

/// Copies the first, the `STRIDE`-th after it, and so on, to places side by side.
#[inline(always)]
fn copy_every<const STRIDE: usize>(places: &mut [f32], values: &[f32]) {
    let count = values.len().div_ceil(STRIDE);
    let whole = values.chunks_exact(STRIDE);
    if let Some(last) = whole.remainder().first() {
        places[count - 1] = *last;
    }
    for (place, values) in places[..count].iter_mut().zip(whole) {
        *place = values[0];
    }
}
