//! Convolution on pictures inside a border of zeros.
//!
//! Positions are counted along the rows of the bordered picture, the columns of the border included: then the input that a
//! tap of the kernel needs lies at a fixed distance from the output's position, all along the picture. Outputs at the
//! border's columns are nonsense and dropped; that costs `(width + kernel - 1) / width` times the work.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use pulp::{Simd, WithSimd};

use super::ConvShape;
use super::border::Border;
use crate::buffer::{self, Unfilled};
use crate::parallel;
use crate::scratch;
use crate::simd;

/// Outputs' channels computed together; their weights lie side by side.
fn block() -> usize {
    struct Block;
    impl WithSimd for Block {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if S::REGISTER_COUNT >= 32 {
                WIDE
            } else {
                NARROW
            }
        }
    }
    simd::arch().dispatch(Block)
}

/// With 32 registers: 8 channels times 3 vectors of positions.
pub(super) const WIDE: usize = 8;
/// With 16 registers: 4 channels times 3 vectors of positions.
const NARROW: usize = 4;

/// Weights in the order in which they are used: `[blocks of channels_out][channels_in][taps][channels_out of a block]`.
pub(super) struct Packed {
    pub values: Vec<f32>,
    pub block: usize,
}

impl Packed {
    /// For the convolution itself.
    pub fn new(weight: &[f32], shape: &ConvShape) -> Self {
        let taps = shape.kernel * shape.kernel;
        let (rows, cols) = (shape.channels_out, shape.channels_in);
        Self::gather(rows, cols * taps, |row| {
            weight[row * cols * taps..][..cols * taps].iter().copied()
        })
    }

    /// For the convolution that carries gradients back to the input: inputs and outputs change places, the kernel is
    /// turned by half a turn.
    pub fn turned_over(weight: &[f32], shape: &ConvShape) -> Self {
        let taps = shape.kernel * shape.kernel;
        let (rows, cols) = (shape.channels_in, shape.channels_out);
        Self::gather(rows, cols * taps, |row| {
            let kernel = move |col| &weight[(col * rows + row) * taps..][..taps];
            (0..cols).flat_map(move |col| kernel(col).iter().rev().copied())
        })
    }

    /// `of_row` gives the `len` weights of one row.
    pub fn gather<W: Iterator<Item = f32>>(
        rows: usize,
        len: usize,
        of_row: impl Fn(usize) -> W + Sync + Send,
    ) -> Self {
        let block = block();
        // Rows beyond the last one are zero.
        let mut values = buffer::zeros(rows.next_multiple_of(block) * len);
        let pieces = parallel::pieces(&mut values, block * len);
        parallel::each(pieces, rows * len, |i, values| {
            for r in 0..block.min(rows - i * block) {
                let weights = of_row(i * block + r);
                for (value, weight) in values[r..].iter_mut().step_by(block).zip(weights) {
                    *value = weight;
                }
            }
        });
        Self { values, block }
    }
}

/// `y = convolution of x + bias`.
pub(super) fn convolve(
    shape: &ConvShape,
    x: &[f32],
    weight: &Packed,
    bias: Option<&[f32]>,
) -> FlexTensor {
    let positions = shape.positions_out();
    let mut y = Unfilled::new(shape.batch * shape.channels_out * positions);
    let blocks = shape.channels_out.div_ceil(weight.block);
    // Pieces: some blocks of channels of one sample each. Each piece makes its own border, so they should be few; but not
    // fewer than the threads want.
    let wanted = match parallel::threads() {
        1 => 1,
        threads => 4 * threads,
    };
    let groups = wanted.div_ceil(shape.batch).min(blocks);
    let blocks_per_group = blocks.div_ceil(groups);
    let group_channels = blocks_per_group * weight.block;
    let pieces: Vec<_> = y
        .chunks_exact_mut(shape.channels_out * positions)
        .enumerate()
        .flat_map(|(sample, y)| {
            y.chunks_mut(group_channels * positions)
                .enumerate()
                .map(move |(group, y)| (sample, group * blocks_per_group, y))
        })
        .collect();
    parallel::each(pieces, shape.work() / 16, |_, (sample, first_block, y)| {
        let x = &x[sample * shape.channels_in * shape.positions_in()..]
            [..shape.channels_in * shape.positions_in()];
        convolve_sample(shape, x, weight, bias, first_block, y);
    });
    // SAFETY: the pieces make up the whole buffer, and each was written.
    unsafe { y.into_tensor(shape.dims_out()) }
}

/// Some blocks of output channels of one sample; writes all of `y`.
fn convolve_sample(
    shape: &ConvShape,
    x: &[f32],
    weight: &Packed,
    bias: Option<&[f32]>,
    first_block: usize,
    y: &mut [MaybeUninit<f32>],
) {
    let border = Border::new(shape.size_in, shape.padding, shape.stride);
    let [height, width] = shape.size_out;
    let reach = (height - 1) * border.width + width;
    let rounded = reach.next_multiple_of(VECTOR);
    // Without a border and with whole vectors there is nothing to prepare and nothing to drop.
    let as_is = shape.kernel == 1 && shape.stride == 1 && shape.padding == 0 && rounded == reach;
    let taps: Vec<usize> = (0..shape.kernel)
        .flat_map(|row| (0..shape.kernel).map(move |col| border.offset(row, col)))
        .collect();
    let per_block = weight.block * shape.channels_in * taps.len();
    let mut run = |bordered: &[f32], rows_memory: &mut [f32]| {
        let blocks = y.chunks_mut(weight.block * height * width).enumerate();
        for (i, y) in blocks {
            let first_channel = (first_block + i) * weight.block;
            let channels = y.len() / (height * width);
            let mut start = [0.0; WIDE];
            if let Some(bias) = bias {
                start[..channels].copy_from_slice(&bias[first_channel..][..channels]);
            }
            let in_place = as_is && channels == weight.block;
            let rows = Rows {
                x: bordered,
                channels_in: shape.channels_in,
                channel_stride: border.channel_stride(),
                taps: &taps,
                weights: &weight.values[(first_block + i) * per_block..][..per_block],
                start: &start[..weight.block],
                positions: rounded,
                out: if in_place {
                    &mut *y
                } else {
                    // SAFETY: nothing but numbers is written to `out`.
                    unsafe { buffer::to_be_filled(rows_memory) }
                },
            };
            simd::arch().dispatch(rows);
            if !in_place {
                for (y, row) in y
                    .chunks_exact_mut(height * width)
                    .zip(rows_memory.chunks_exact(rounded))
                {
                    for (y, row) in y.chunks_exact_mut(width).zip(row.chunks(border.width)) {
                        y.write_copy_of_slice(&row[..width]);
                    }
                }
            }
        }
    };
    scratch::with(weight.block * rounded, |rows_memory| {
        if as_is {
            run(x, rows_memory);
        } else {
            scratch::with(border.len(shape.channels_in), |bordered| {
                border.fill(bordered, x, shape.channels_in);
                run(bordered, rows_memory);
            });
        }
    });
}

/// The widest vectors; buffers of positions are whole ones.
pub(super) const VECTOR: usize = 16;

/// `out[r][p] = start[r] + Σ_channels Σ_taps weights[channel][tap][r] * x[channel][p + tap]`, for the rows of one block.
pub(super) struct Rows<'a> {
    pub x: &'a [f32],
    pub channels_in: usize,
    pub channel_stride: usize,
    /// Distance of each tap.
    pub taps: &'a [usize],
    pub weights: &'a [f32],
    pub start: &'a [f32],
    /// A multiple of [`VECTOR`].
    pub positions: usize,
    /// `[rows][positions]`, to be written.
    pub out: &'a mut [MaybeUninit<f32>],
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.all::<S, WIDE>(simd);
        } else {
            self.all::<S, NARROW>(simd);
        }
    }
}

impl Rows<'_> {
    #[inline(always)]
    fn all<S: Simd, const R: usize>(mut self, simd: S) {
        assert!(VECTOR.is_multiple_of(S::F32_LANES));
        let furthest = self.taps.iter().copied().max().unwrap_or(0);
        assert_eq!(self.weights.len(), self.channels_in * self.taps.len() * R);
        assert!(self.start.len() == R && self.positions.is_multiple_of(VECTOR));
        assert!(self.out.len() >= R * self.positions);
        assert!(
            self.channels_in == 0
                || (self.channels_in - 1) * self.channel_stride + furthest + self.positions
                    <= self.x.len()
        );
        let lanes = S::F32_LANES;
        let mut position = 0;
        while position + 3 * lanes <= self.positions {
            self.tile::<S, R, 3>(simd, position);
            position += 3 * lanes;
        }
        if position + 2 * lanes <= self.positions {
            self.tile::<S, R, 2>(simd, position);
            position += 2 * lanes;
        }
        while position < self.positions {
            self.tile::<S, R, 1>(simd, position);
            position += lanes;
        }
    }

    /// `R` rows at `V` vectors of positions.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, position: usize) {
        let lanes = S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (sums, start) in sums.iter_mut().zip(self.start) {
            *sums = [simd.splat_f32s(*start); V];
        }
        let mut weights = self.weights.as_ptr();
        for channel in 0..self.channels_in {
            for tap in self.taps {
                // SAFETY: `all` has checked that the last channel's last position at the furthest tap is inside `x`, and
                // that `weights` holds `R` values per channel and tap, which is how often it is advanced by `R`. Vectors
                // hold any bits, and are read without alignment.
                unsafe {
                    let x = self
                        .x
                        .as_ptr()
                        .add(channel * self.channel_stride + tap + position);
                    let mut inputs = [simd.splat_f32s(0.0); V];
                    for (v, input) in inputs.iter_mut().enumerate() {
                        *input = x.add(v * lanes).cast::<S::f32s>().read_unaligned();
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let weight = simd.splat_f32s(*weights.add(r));
                        for (sum, input) in sums.iter_mut().zip(inputs) {
                            *sum = simd.mul_add_e_f32s(weight, input, *sum);
                        }
                    }
                    weights = weights.add(R);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let at = r * self.positions + position + v * lanes;
                // SAFETY: `all` has checked that `out` holds `R` rows of `positions`, and calls with whole vectors only.
                unsafe {
                    let out = self.out.as_mut_ptr().add(at);
                    out.cast::<S::f32s>().write_unaligned(*sum);
                }
            }
        }
    }
}
