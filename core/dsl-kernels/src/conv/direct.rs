//! Convolution with stride 1 on pictures inside a border of zeros.
//!
//! Positions are counted along the rows of the bordered picture, the columns of the border included: then the input that a
//! tap of the kernel needs lies at a fixed distance from the output's position, all along the picture. Outputs at the
//! border's columns are nonsense and dropped; that costs `(width + kernel - 1) / width` times the work.

use pulp::{Simd, WithSimd};

use super::ConvShape;
use super::border::Border;
use crate::buffer;
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
const WIDE: usize = 8;
/// With 16 registers: 4 channels times 3 vectors of positions.
const NARROW: usize = 4;

/// Weights in the order in which they are used: `[blocks of channels_out][channels_in][taps][channels_out of a block]`.
pub(super) struct Packed {
    values: Vec<f32>,
    block: usize,
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
    fn gather<W: Iterator<Item = f32>>(
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
) -> Vec<f32> {
    let positions = shape.positions_out();
    let mut y = buffer::zeros(shape.batch * shape.channels_out * positions);
    if y.is_empty() {
        return y;
    }
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
    y
}

/// Some blocks of output channels of one sample.
fn convolve_sample(
    shape: &ConvShape,
    x: &[f32],
    weight: &Packed,
    bias: Option<&[f32]>,
    first_block: usize,
    y: &mut [f32],
) {
    let border = Border::new(shape.size_in, shape.padding);
    let [height, width] = shape.size_out;
    let reach = (height - 1) * border.width + width;
    let rounded = reach.next_multiple_of(VECTOR);
    // Without a border and with whole vectors there is nothing to prepare and nothing to drop.
    let as_is = shape.kernel == 1 && shape.padding == 0 && rounded == reach;
    let taps: Vec<usize> = (0..shape.kernel)
        .flat_map(|row| (0..shape.kernel).map(move |col| row * border.width + col))
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
                out: if in_place { &mut *y } else { &mut *rows_memory },
            };
            simd::arch().dispatch(rows);
            if !in_place {
                for (y, row) in y
                    .chunks_exact_mut(height * width)
                    .zip(rows_memory.chunks_exact(rounded))
                {
                    for (y, row) in y.chunks_exact_mut(width).zip(row.chunks(border.width)) {
                        y.copy_from_slice(&row[..width]);
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
struct Rows<'a> {
    x: &'a [f32],
    channels_in: usize,
    channel_stride: usize,
    /// Distance of each tap.
    taps: &'a [usize],
    weights: &'a [f32],
    start: &'a [f32],
    /// A multiple of [`VECTOR`].
    positions: usize,
    /// `[rows][positions]`.
    out: &'a mut [f32],
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
                    self.out
                        .as_mut_ptr()
                        .add(at)
                        .cast::<S::f32s>()
                        .write_unaligned(*sum);
                }
            }
        }
    }
}

/// Output channels of one tile of the weight gradient.
const TILE_OUT: usize = 4;
/// Input channels of one tile of the weight gradient.
const TILE_IN: usize = 4;
/// Positions that are summed up before the next tile: the rows of one tile stay in the first cache.
const STRETCH: usize = 1024;

/// `dw[o][i][tap] = Σ_samples Σ_positions grad[o][p] * x[i][p + tap]`.
pub(super) fn weight_gradient(shape: &ConvShape, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let taps = shape.kernel * shape.kernel;
    let mut dw = buffer::zeros(shape.channels_out * shape.channels_in * taps);
    let border = Border::new(shape.size_in, shape.padding);
    let [height, width] = shape.size_out;
    if height == 0 || width == 0 {
        return dw;
    }
    let reach = (height - 1) * border.width + width;
    let positions = reach.next_multiple_of(VECTOR);
    let sample_stride = border.channel_stride() * shape.channels_in;
    let stretches = stretches(shape.batch, positions);
    let distances: Vec<usize> = (0..shape.kernel)
        .flat_map(|row| (0..shape.kernel).map(move |col| row * border.width + col))
        .collect();
    let whole = shape.batch * shape.channels_in;
    border.with(x, whole, |x| {
        let pieces = parallel::pieces(&mut dw, TILE_OUT * shape.channels_in * taps);
        parallel::each(pieces, shape.work() / 16, |i, dw| {
            let first = i * TILE_OUT;
            let channels = dw.len() / (shape.channels_in * taps);
            // The gradients of this piece's channels, `[samples][channels of a tile][positions]`, in rows as long as those of
            // the bordered input, with zeros where that has its border.
            scratch::with(shape.batch * TILE_OUT * positions, |rows| {
                rows.fill(0.0);
                for (sample, rows) in rows.chunks_exact_mut(TILE_OUT * positions).enumerate() {
                    for (channel, row) in
                        rows.chunks_exact_mut(positions).take(channels).enumerate()
                    {
                        let at = (sample * shape.channels_out + first + channel) * height * width;
                        let picture = &grad[at..][..height * width];
                        for (row, picture) in row
                            .chunks_mut(border.width)
                            .zip(picture.chunks_exact(width))
                        {
                            row[..width].copy_from_slice(picture);
                        }
                    }
                }
                simd::arch().dispatch(Dots {
                    x,
                    sample_stride,
                    channel_stride: border.channel_stride(),
                    channels_in: shape.channels_in,
                    taps: &distances,
                    grad: rows,
                    positions,
                    stretches: &stretches,
                    dw,
                });
            });
        });
    });
    dw
}

/// Part of the positions of one sample.
#[derive(Debug, Clone, Copy)]
struct Part {
    sample: usize,
    from: usize,
    to: usize,
}

/// All positions of all samples, in stretches of about [`STRETCH`].
fn stretches(batch: usize, positions: usize) -> Vec<Vec<Part>> {
    let mut stretches: Vec<Vec<Part>> = Vec::new();
    let mut room = 0;
    for sample in 0..batch {
        for from in (0..positions).step_by(STRETCH) {
            let to = (from + STRETCH).min(positions);
            let part = Part { sample, from, to };
            match stretches.last_mut() {
                Some(stretch) if to - from <= room => {
                    stretch.push(part);
                    room -= to - from;
                }
                _ => {
                    stretches.push(vec![part]);
                    room = STRETCH.saturating_sub(to - from);
                }
            }
        }
    }
    stretches
}

/// The weight gradient of one tile's output channels.
struct Dots<'a> {
    /// `[samples][channels][bordered positions]` and what a vector may reach beyond.
    x: &'a [f32],
    sample_stride: usize,
    channel_stride: usize,
    channels_in: usize,
    taps: &'a [usize],
    /// `[samples][TILE_OUT][positions]`.
    grad: &'a [f32],
    positions: usize,
    stretches: &'a [Vec<Part>],
    /// `[channels of this tile][channels_in][taps]`.
    dw: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        assert!(VECTOR.is_multiple_of(S::F32_LANES));
        let furthest = self.taps.iter().copied().max().unwrap_or(0);
        for part in self.stretches.iter().flatten() {
            assert!(
                part.from.is_multiple_of(VECTOR)
                    && part.to.is_multiple_of(VECTOR)
                    && part.to <= self.positions
            );
            assert!((part.sample + 1) * TILE_OUT * self.positions <= self.grad.len());
            let last =
                part.sample * self.sample_stride + (self.channels_in - 1) * self.channel_stride;
            assert!(last + furthest + part.to <= self.x.len());
        }
        for i in 0..self.stretches.len() {
            let mut channel = 0;
            while channel + TILE_IN <= self.channels_in {
                self.tiles::<S, TILE_IN>(simd, i, channel);
                channel += TILE_IN;
            }
            while channel < self.channels_in {
                self.tiles::<S, 1>(simd, i, channel);
                channel += 1;
            }
        }
    }
}

impl Dots<'_> {
    /// All taps of `I` input channels, from one stretch.
    #[inline(always)]
    fn tiles<S: Simd, const I: usize>(&mut self, simd: S, stretch: usize, channel: usize) {
        for tap in 0..self.taps.len() {
            if S::REGISTER_COUNT >= 32 {
                self.tile::<S, I, TILE_OUT>(simd, stretch, channel, tap, 0);
            } else {
                self.tile::<S, I, 2>(simd, stretch, channel, tap, 0);
                self.tile::<S, I, 2>(simd, stretch, channel, tap, 2);
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const I: usize, const O: usize>(
        &mut self,
        simd: S,
        stretch: usize,
        channel: usize,
        tap: usize,
        first_out: usize,
    ) {
        let lanes = S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); I]; O];
        for part in &self.stretches[stretch] {
            let x =
                part.sample * self.sample_stride + channel * self.channel_stride + self.taps[tap];
            let grad = (part.sample * TILE_OUT + first_out) * self.positions;
            let mut position = part.from;
            while position < part.to {
                // SAFETY: `with_simd` has checked for each part that the last of all channels at the furthest tap and the
                // last row of gradients are inside their slices up to `part.to`, which is a whole number of vectors.
                unsafe {
                    let x = self.x.as_ptr().add(x + position);
                    let grad = self.grad.as_ptr().add(grad + position);
                    let mut inputs = [simd.splat_f32s(0.0); I];
                    for (i, input) in inputs.iter_mut().enumerate() {
                        *input = x
                            .add(i * self.channel_stride)
                            .cast::<S::f32s>()
                            .read_unaligned();
                    }
                    for (o, sums) in sums.iter_mut().enumerate() {
                        let grad = grad
                            .add(o * self.positions)
                            .cast::<S::f32s>()
                            .read_unaligned();
                        for (sum, input) in sums.iter_mut().zip(inputs) {
                            *sum = simd.mul_add_e_f32s(grad, input, *sum);
                        }
                    }
                }
                position += lanes;
            }
        }
        let taps = self.taps.len();
        let rows = self
            .dw
            .chunks_exact_mut(self.channels_in * taps)
            .skip(first_out);
        for (sums, dw) in sums.iter().zip(rows) {
            for (i, sum) in sums.iter().enumerate() {
                dw[(channel + i) * taps + tap] += simd.reduce_sum_f32s(*sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::Arch;

    use super::super::columns;
    use super::*;
    use crate::{sequential, simd};

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn assert_close(what: &str, ours: &[f32], reference: &[f32]) {
        assert_eq!(ours.len(), reference.len());
        for (i, (a, b)) in ours.iter().zip(reference).enumerate() {
            assert!((a - b).abs() < 1e-3, "{what} [{i}]: {a} instead of {b}");
        }
    }

    /// Every width of vectors that this processor can run, against products of matrices.
    #[test]
    fn narrow_vectors_give_the_same_numbers() {
        let mut widths = vec![Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        widths.extend(pulp::x86::V3::try_new().map(Arch::V3));
        widths.push(Arch::new());
        let shapes = [
            ([2, 5, 7, 9], [11, 5, 3, 3], 1),
            ([1, 8, 16, 16], [8, 8, 1, 1], 0),
            ([3, 1, 1, 1], [1, 1, 3, 3], 1),
            ([2, 6, 12, 10], [4, 6, 2, 2], 0),
        ];
        for (x_dims, w_dims, padding) in shapes {
            let shape = ConvShape::new(x_dims, w_dims, 1, padding).unwrap();
            let x = numbers(x_dims.iter().product(), 1);
            let w = numbers(w_dims.iter().product(), 2);
            let bias = numbers(w_dims[0], 3);
            let grad = numbers(shape.dims_out().iter().product(), 4);
            for arch in &widths {
                simd::FORCED.set(Some(*arch));
                let (y, dx, dw) = sequential(|| {
                    (
                        convolve(&shape, &x, &Packed::new(&w, &shape), Some(&bias)),
                        convolve(
                            &shape.transposed(),
                            &grad,
                            &Packed::turned_over(&w, &shape),
                            None,
                        ),
                        weight_gradient(&shape, &x, &grad),
                    )
                });
                simd::FORCED.set(None);
                let what = format!("{x_dims:?} {w_dims:?} {arch:?}");
                assert_close(&what, &y, &columns::convolve(&shape, &x, &w, Some(&bias)));
                assert_close(&what, &dx, &columns::input_gradient(&shape, &w, &grad));
                assert_close(&what, &dw, &columns::weight_gradient(&shape, &x, &grad));
            }
        }
    }
}
