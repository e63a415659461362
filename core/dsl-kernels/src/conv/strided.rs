//! Transposed convolutions: the gradient for the input of a convolution whose stride is not 1, and the convolution of a
//! picture of twice the size, see [`super::doubled`].
//!
//! Rows and columns of the bordered input that leave the same remainder by the stride meet the same taps of the kernel. For
//! each pair of remainders the gradient is a convolution of stride 1 of the outputs' gradients with those taps.

use std::mem::MaybeUninit;
use std::ops::Range;

use burn::backend::flex::FlexTensor;

use super::ConvShape;
use super::border::Border;
use super::direct::{self, Packed, Rows, VECTOR, WIDE};
use crate::buffer::{self, Unfilled};
use crate::parallel;
use crate::scratch;
use crate::simd;

/// The inputs of one pair of remainders, and what leads to them.
struct Part {
    row: usize,
    col: usize,
    /// Those that lie inside the picture; input `i` of them is at `i * stride + row - padding`.
    rows: Range<usize>,
    cols: Range<usize>,
    /// Distances in the bordered gradients.
    taps: Vec<usize>,
    weights: Packed,
}

/// See [`Part::rows`].
fn inside(shape: &ConvShape, size: usize, remainder: usize) -> Range<usize> {
    let first = shape
        .padding
        .saturating_sub(remainder)
        .div_ceil(shape.stride);
    let end = (size + shape.padding)
        .saturating_sub(remainder)
        .div_ceil(shape.stride);
    first..end.max(first)
}

/// `dx[i][y] = bias[i] + Σ_o Σ_taps grad[o][(y + padding - tap) / stride] * w[o][i][tap]`, over the taps for which that is a
/// position.
pub(super) fn transposed(
    shape: &ConvShape,
    weight: &[f32],
    grad: &[f32],
    bias: Option<&[f32]>,
) -> FlexTensor {
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
                rows: inside(shape, shape.size_in[0], row),
                cols: inside(shape, shape.size_in[1], col),
                taps: taps.iter().map(distance).collect(),
                weights,
            }
        })
        .collect();
    let mut dx = Unfilled::new(shape.batch * shape.channels_in * shape.positions_in());
    let block = parts[0].weights.block;
    let blocks_per_piece = direct::blocks_per_piece(shape.batch, shape.channels_in.div_ceil(block));
    let pieces: Vec<_> = dx
        .chunks_exact_mut(shape.channels_in * shape.positions_in())
        .enumerate()
        .flat_map(|(sample, dx)| {
            dx.chunks_mut(blocks_per_piece * block * shape.positions_in())
                .enumerate()
                .map(move |(piece, dx)| (sample, piece * blocks_per_piece, dx))
        })
        .collect();
    parallel::each(
        pieces,
        shape.work() / 16,
        |_, (sample, first_block, dx): (_, usize, &mut [MaybeUninit<f32>])| {
            let of_sample = shape.channels_out * shape.positions_out();
            let grad = &grad[sample * of_sample..][..of_sample];
            scratch::with(border.len(shape.channels_out), |bordered| {
                border.fill(bordered, grad, shape.channels_out);
                let blocks = dx.chunks_mut(block * shape.positions_in());
                for (i, dx) in (first_block..).zip(blocks) {
                    let mut start = [0.0; WIDE];
                    if let Some(bias) = bias {
                        let bias = bias[i * block..].iter().take(block);
                        start.iter_mut().zip(bias).for_each(|(s, b)| *s = *b);
                    }
                    for part in &parts {
                        part.fill(shape, border, i, bordered, &start[..block], dx);
                    }
                }
            });
        },
    );
    // SAFETY: the pieces make up all samples, and every element of one leaves some pair of remainders.
    unsafe { dx.into_tensor(shape.dims_in()) }
}

impl Part {
    /// Writes this part's inputs of one block of channels of one sample.
    fn fill(
        &self,
        shape: &ConvShape,
        border: Border,
        block: usize,
        bordered: &[f32],
        start: &[f32],
        dx: &mut [MaybeUninit<f32>],
    ) {
        let (rows, cols) = (self.rows.len(), self.cols.len());
        if rows == 0 || cols == 0 {
            return;
        }
        // Rows of whole vectors are computed as they are, others with what lies between them in the bordered picture.
        let whole_rows = cols.is_multiple_of(VECTOR);
        let of_row = if whole_rows { cols } else { border.width };
        let positions = ((rows - 1) * of_row + cols).next_multiple_of(VECTOR);
        let first = self.rows.start * border.width + self.cols.start;
        let vectors: Vec<usize> = (0..positions)
            .step_by(VECTOR)
            .map(|at| match whole_rows {
                true => first + at / cols * border.width + at % cols,
                false => first + at,
            })
            .collect();
        let per_block = self.weights.block * shape.channels_out * self.taps.len();
        let [height, width] = shape.size_in;
        scratch::with(self.weights.block * positions, |memory| {
            simd::arch().dispatch(Rows {
                x: bordered,
                channels_in: shape.channels_out,
                channel_stride: border.channel_stride(),
                taps: &self.taps,
                weights: &self.weights.values[block * per_block..][..per_block],
                start,
                vectors: &vectors,
                // SAFETY: nothing but numbers is written to `out`.
                out: unsafe { buffer::to_be_filled(memory) },
            });
            let y = self.rows.start * shape.stride + self.row - shape.padding;
            let x = self.cols.start * shape.stride + self.col - shape.padding;
            for (dx, memory) in dx
                .chunks_exact_mut(height * width)
                .zip(memory.chunks_exact(positions))
            {
                let places = dx[y * width..]
                    .chunks_mut(shape.stride * width)
                    .zip(memory.chunks(of_row))
                    .take(rows);
                for (places, values) in places {
                    let places = places[x..].iter_mut().step_by(shape.stride);
                    for (place, value) in places.zip(&values[..cols]) {
                        place.write(*value);
                    }
                }
            }
        });
    }
}
