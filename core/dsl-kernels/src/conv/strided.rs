//! The gradient for the input of a convolution whose stride is not 1.
//!
//! Rows and columns of the bordered input that leave the same remainder by the stride meet the same taps of the kernel. For
//! each pair of remainders the gradient is a convolution of stride 1 of the outputs' gradients with those taps.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;

use super::ConvShape;
use super::border::Border;
use super::direct::{Packed, Rows, VECTOR, WIDE};
use crate::buffer::{self, Unfilled};
use crate::parallel;
use crate::scratch;
use crate::simd;

/// The inputs of one pair of remainders, and what leads to them.
struct Part {
    row: usize,
    col: usize,
    /// Distances in the bordered gradients.
    taps: Vec<usize>,
    weights: Packed,
}

/// `dx[i][y] = Σ_o Σ_taps grad[o][(y + padding - tap) / stride] * w[o][i][tap]`, over the taps for which that is a position.
pub(super) fn input_gradient(shape: &ConvShape, weight: &[f32], grad: &[f32]) -> FlexTensor {
    let (stride, kernel) = (shape.stride, shape.kernel);
    // Rows and columns of each part.
    let size = shape
        .size_in
        .map(|size| (size + 2 * shape.padding).div_ceil(stride));
    let missing = [0, 1].map(|axis| size[axis].saturating_sub(shape.size_out[axis]));
    let around = (kernel.div_ceil(stride) - 1)
        .max(missing[0])
        .max(missing[1]);
    let border = Border::new(shape.size_out, around, 1);
    let parts: Vec<Part> = (0..stride * stride)
        .map(|part| {
            let (row, col) = (part / stride, part % stride);
            let taps: Vec<[usize; 2]> = (row..kernel)
                .step_by(stride)
                .flat_map(|tap_row| (col..kernel).step_by(stride).map(move |col| [tap_row, col]))
                .collect();
            let weights = Packed::gather(
                shape.channels_in,
                shape.channels_out * taps.len(),
                |channel_in| {
                    let taps = &taps;
                    (0..shape.channels_out).flat_map(move |channel_out| {
                        let of_pair =
                            (channel_out * shape.channels_in + channel_in) * kernel * kernel;
                        taps.iter()
                            .map(move |[row, col]| weight[of_pair + row * kernel + col])
                    })
                },
            );
            let distance = |[row, col]: &[usize; 2]| {
                border.offset(around - row / stride, around - col / stride)
            };
            Part {
                row,
                col,
                taps: taps.iter().map(distance).collect(),
                weights,
            }
        })
        .collect();
    let mut dx = Unfilled::new(shape.batch * shape.channels_in * shape.positions_in());
    let samples = parallel::pieces(&mut dx, shape.channels_in * shape.positions_in());
    parallel::each(samples, shape.work() / 16, |sample, dx| {
        let of_sample = shape.channels_out * shape.positions_out();
        let grad = &grad[sample * of_sample..][..of_sample];
        scratch::with(border.len(shape.channels_out), |bordered| {
            border.fill(bordered, grad, shape.channels_out);
            for part in &parts {
                part.fill(shape, border, size, bordered, dx);
            }
        });
    });
    // SAFETY: the pieces are the samples, and every element of one leaves some pair of remainders.
    unsafe { dx.into_tensor(shape.dims_in()) }
}

impl Part {
    /// Writes this part's inputs of all channels of one sample.
    fn fill(
        &self,
        shape: &ConvShape,
        border: Border,
        [rows, cols]: [usize; 2],
        bordered: &[f32],
        dx: &mut [MaybeUninit<f32>],
    ) {
        let block = self.weights.block;
        let positions = ((rows - 1) * border.width + cols).next_multiple_of(VECTOR);
        let vectors: Vec<usize> = (0..positions).step_by(VECTOR).collect();
        let per_block = block * shape.channels_out * self.taps.len();
        let [height, width] = shape.size_in;
        scratch::with(block * positions, |memory| {
            for (i, dx) in dx.chunks_mut(block * height * width).enumerate() {
                simd::arch().dispatch(Rows {
                    x: bordered,
                    channels_in: shape.channels_out,
                    channel_stride: border.channel_stride(),
                    taps: &self.taps,
                    weights: &self.weights.values[i * per_block..][..per_block],
                    start: &[0.0; WIDE][..block],
                    vectors: &vectors,
                    // SAFETY: nothing but numbers is written to `out`.
                    out: unsafe { buffer::to_be_filled(memory) },
                });
                for (dx, memory) in dx
                    .chunks_exact_mut(height * width)
                    .zip(memory.chunks_exact(positions))
                {
                    for row in 0..rows {
                        let Some(y) = (row * shape.stride + self.row)
                            .checked_sub(shape.padding)
                            .filter(|y| *y < height)
                        else {
                            continue;
                        };
                        // The first column of this part that lies inside the picture.
                        let skipped = shape
                            .padding
                            .saturating_sub(self.col)
                            .div_ceil(shape.stride);
                        let x = skipped * shape.stride + self.col - shape.padding;
                        if x >= width {
                            continue;
                        }
                        let places = dx[y * width..][x..width].iter_mut().step_by(shape.stride);
                        let values = &memory[row * border.width..][skipped..cols];
                        for (place, value) in places.zip(values) {
                            place.write(*value);
                        }
                    }
                }
            }
        });
    }
}
