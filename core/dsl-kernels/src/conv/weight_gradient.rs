//! The gradient for the weights: at each position, an outer product of the gradients of all output channels and the inputs
//! under the kernel.
//!
//! The gradients lie with a block of output channels side by side, so that they are loaded as vectors; the inputs are single
//! numbers, read from pictures inside a border of zeros, so that any stride and tap is an offset.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use pulp::{Simd, WithSimd};

use super::ConvShape;
use super::border::Border;
use crate::buffer::{self, Unfilled};
use crate::parallel;
use crate::scratch;
use crate::simd;

/// Positions, or one row of them if that is longer, whose products are summed up before they are added to the rest. Their
/// gradients stay in the first cache.
const STRETCH: usize = 128;

/// Input channels of one piece of work.
const CHANNELS: usize = 16;

/// `dw[o][i][tap] = Σ_samples Σ_positions grad[o][p] * x[i][stride * p + tap]`.
pub(super) fn weight_gradient(shape: &ConvShape, x: &[f32], grad: &[f32]) -> FlexTensor {
    let taps = shape.kernel * shape.kernel;
    let lanes = lanes(shape.channels_out);
    let blocks = shape.channels_out.div_ceil(lanes);
    let border = Border::new(shape.size_in, shape.padding, 1);
    let positions = shape.batch * shape.positions_out();
    let mut dw = Unfilled::new(shape.channels_out * shape.channels_in * taps);
    border.with(x, shape.batch * shape.channels_in, |x| {
        scratch::with(blocks * positions * lanes, |packed| {
            pack(shape, lanes, packed, grad);
            // `[blocks of channels_out][channels_in][taps][channels_out of a block]`.
            let mut sums = buffer::zeros(blocks * shape.channels_in * taps * lanes);
            let pieces: Vec<_> = sums
                .chunks_mut(shape.channels_in * taps * lanes)
                .zip(packed.chunks(positions * lanes))
                .flat_map(|(sums, grad)| {
                    sums.chunks_mut(CHANNELS * taps * lanes)
                        .enumerate()
                        .map(move |(group, sums)| (group * CHANNELS, grad, sums))
                })
                .collect();
            parallel::each(pieces, shape.work() / 16, |_, (first, grad, sums)| {
                let channels = first..first + sums.len() / (taps * lanes);
                simd::arch().dispatch(OuterProducts {
                    shape,
                    border,
                    channels,
                    x,
                    grad,
                    lanes,
                    sums,
                });
            });
            let rows = parallel::pieces(&mut dw, shape.channels_in * taps);
            parallel::each(
                rows,
                shape.channels_out * shape.channels_in * taps,
                |o, dw| {
                    let sums = &sums[o / lanes * shape.channels_in * taps * lanes..][o % lanes..];
                    for (dw, sum) in dw.iter_mut().zip(sums.iter().step_by(lanes)) {
                        dw.write(*sum);
                    }
                },
            );
        });
    });
    // SAFETY: the pieces are the output channels, and each has as many sums as elements.
    unsafe { dw.into_tensor(shape.dims_weight()) }
}

/// Output channels of a block: one vector, or two where that leaves enough registers.
fn lanes(channels_out: usize) -> usize {
    struct Lanes(usize);
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            if S::REGISTER_COUNT >= 32 && self.0 > S::F32_LANES {
                2 * S::F32_LANES
            } else {
                S::F32_LANES
            }
        }
    }
    simd::arch().dispatch(Lanes(channels_out))
}

/// From `[samples][channels_out][positions]` to `[blocks of channels_out][samples][positions][channels_out of a block]`;
/// channels beyond the last one are zero.
fn pack(shape: &ConvShape, lanes: usize, packed: &mut [f32], grad: &[f32]) {
    let (channels, positions) = (shape.channels_out, shape.positions_out());
    let work = packed.len();
    let pieces = parallel::pieces(packed, positions * lanes);
    parallel::each(pieces, work, |i, packed| {
        let (block, sample) = (i / shape.batch, i % shape.batch);
        let grad = &grad[sample * channels * positions..][..channels * positions];
        for (part, packed) in packed.chunks_mut(STRETCH * lanes).enumerate() {
            let count = packed.len() / lanes;
            for lane in 0..lanes {
                let places = packed[lane..].iter_mut().step_by(lanes);
                let channel = block * lanes + lane;
                if channel < channels {
                    let grad = &grad[channel * positions + part * STRETCH..][..count];
                    places.zip(grad).for_each(|(place, grad)| *place = *grad);
                } else {
                    places.for_each(|place| *place = 0.0);
                }
            }
        }
    });
}

/// The sums of some input channels and one block of output channels.
struct OuterProducts<'a> {
    shape: &'a ConvShape,
    border: Border,
    channels: Range<usize>,
    /// `[samples][channels_in]`, each inside its border.
    x: &'a [f32],
    /// `[samples][positions][lanes]`.
    grad: &'a [f32],
    lanes: usize,
    /// `[channels][taps][lanes]`.
    sums: &'a mut [f32],
}

impl WithSimd for OuterProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match (self.shape.kernel, self.lanes / S::F32_LANES) {
            (3, 1) => self.all::<S, 1, 3, 1>(simd),
            (3, _) => self.all::<S, 1, 3, 2>(simd),
            // Other kernels tap by tap.
            (_, 1) => self.all::<S, 8, 1, 1>(simd),
            (_, _) => self.all::<S, 8, 1, 2>(simd),
        }
    }
}

impl OuterProducts<'_> {
    /// Tiles of `I` input channels, `K * K` taps, which are one or all, and `V` vectors of output channels.
    #[inline(always)]
    fn all<S: Simd, const I: usize, const K: usize, const V: usize>(mut self, simd: S) {
        let shape = self.shape;
        let [height, width] = shape.size_out;
        let kernel = shape.kernel;
        assert!(height > 0 && width > 0 && (K == 1 || K == kernel));
        assert_eq!(self.lanes, V * S::F32_LANES);
        assert_eq!(
            self.sums.len(),
            self.channels.len() * kernel * kernel * self.lanes
        );
        assert!(self.grad.len() >= shape.batch * height * width * self.lanes);
        let channel = self.border.channel_stride();
        assert!(
            self.channels.end <= shape.channels_in
                && shape.batch * shape.channels_in * channel <= self.x.len()
                && (height - 1) * shape.stride + kernel <= shape.size_in[0] + 2 * shape.padding
                && (width - 1) * shape.stride + kernel <= self.border.width
        );
        let step = (STRETCH / width).max(1);
        for sample in 0..shape.batch {
            for top in (0..height).step_by(step) {
                let rows = top..(top + step).min(height);
                for tap in 0..kernel * kernel / (K * K) {
                    let mut channel = self.channels.start;
                    while channel + I <= self.channels.end {
                        self.tile::<S, I, K, V>(simd, sample, channel, rows.clone(), tap);
                        channel += I;
                    }
                    while channel < self.channels.end {
                        self.tile::<S, 1, K, V>(simd, sample, channel, rows.clone(), tap);
                        channel += 1;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const I: usize, const K: usize, const V: usize>(
        &mut self,
        simd: S,
        sample: usize,
        channel: usize,
        rows: Range<usize>,
        first_tap: usize,
    ) {
        let lanes = S::F32_LANES;
        let [height, width] = self.shape.size_out;
        let kernel = self.shape.kernel;
        let (stride, of_row, of_channel) = (
            self.shape.stride,
            self.border.width,
            self.border.channel_stride(),
        );
        let mut sums = [[[[simd.splat_f32s(0.0); V]; K]; K]; I];
        for row in rows {
            let x = (sample * self.shape.channels_in + channel) * of_channel
                + (row * stride + first_tap / kernel) * of_row
                + first_tap % kernel;
            let grad = (sample * height + row) * width * self.lanes;
            for col in 0..width {
                // SAFETY: `all` has checked that `x` holds all channels of all samples, `channel + I` at most among them,
                // that the last row and column at the last tap are inside a channel with its border, and that `grad` holds
                // a block for each position. Vectors hold any bits, and are read without alignment.
                unsafe {
                    let x = self.x.as_ptr().add(x + col * stride);
                    let grad = self.grad.as_ptr().add(grad + col * self.lanes);
                    let mut grads = [simd.splat_f32s(0.0); V];
                    for (v, vector) in grads.iter_mut().enumerate() {
                        *vector = grad.add(v * lanes).cast::<S::f32s>().read_unaligned();
                    }
                    for (i, sums) in sums.iter_mut().enumerate() {
                        for (tap_row, sums) in sums.iter_mut().enumerate() {
                            let x = x.add(i * of_channel + tap_row * of_row);
                            for (tap_col, sums) in sums.iter_mut().enumerate() {
                                let x = simd.splat_f32s(*x.add(tap_col));
                                for (sum, grad) in sums.iter_mut().zip(grads) {
                                    *sum = simd.mul_add_e_f32s(grad, x, *sum);
                                }
                            }
                        }
                    }
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let first = (channel - self.channels.start + i) * kernel * kernel + first_tap;
            let totals = &mut self.sums[first * self.lanes..][..K * K * V * lanes];
            for (v, sum) in sums.as_flattened().as_flattened().iter().enumerate() {
                // SAFETY: `totals` has as many elements as the vectors of `sums`, which are read and written without
                // alignment.
                unsafe {
                    let total = totals.as_mut_ptr().add(v * lanes).cast::<S::f32s>();
                    total.write_unaligned(simd.add_f32s(total.read_unaligned(), *sum));
                }
            }
        }
    }
}
