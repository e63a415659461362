//! Convolution by vectors of positions: a vector of outputs is a sum of vectors of inputs, one for each channel and tap.
//!
//! Where rows are made of whole vectors, pictures lie inside a border of zeros. Others lie as [`Columns`].

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use pulp::{Simd, WithSimd};

use super::ConvShape;
use super::border::Border;
use super::columns::Columns;
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
        let len = shape.channels_in * shape.kernel * shape.kernel;
        let block = block();
        if block != WIDE || !shape.channels_out.is_multiple_of(WIDE) {
            return Self::gather(shape.channels_out, len, |row| {
                weight[row * len..][..len].iter().copied()
            });
        }
        let mut values = Unfilled::new(weight.len());
        let pieces = parallel::pieces(&mut values, WIDE * len);
        parallel::each(pieces, weight.len(), |i, values| {
            turn::<WIDE>(values, &weight[i * WIDE * len..][..WIDE * len], len);
        });
        // SAFETY: the pieces are the blocks, of which `turn` writes every element.
        let values = unsafe { values.into_vec() };
        Self { values, block }
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

/// From `[R][len]` to `[len][R]`.
fn turn<const R: usize>(turned: &mut [MaybeUninit<f32>], values: &[f32], len: usize) {
    let rows: [&[f32]; R] = std::array::from_fn(|r| &values[r * len..][..len]);
    let (squares, rest) = turned[..len * R]
        .as_chunks_mut::<R>()
        .0
        .as_chunks_mut::<R>();
    let whole = squares.len() * R;
    simd::wide(
        #[inline(always)]
        || {
            for (i, square) in squares.iter_mut().enumerate() {
                // Slices of a length that the compiler sees become shuffles of vectors.
                let parts: [&[f32; R]; R] =
                    std::array::from_fn(|r| rows[r][i * R..][..R].as_array().expect("R elements"));
                for (j, turned) in square.iter_mut().enumerate() {
                    *turned = std::array::from_fn(|r| MaybeUninit::new(parts[r][j]));
                }
            }
        },
    );
    for (j, turned) in rest.iter_mut().enumerate() {
        *turned = std::array::from_fn(|r| MaybeUninit::new(rows[r][whole + j]));
    }
}

/// How many of the blocks of channels of one sample a thread takes at a time. Each piece of work lays out its inputs anew, so
/// there should be few; but not fewer than the threads want.
pub(super) fn blocks_per_piece(samples: usize, blocks: usize) -> usize {
    let wanted = match parallel::threads() {
        1 => 1,
        threads => 4 * threads,
    };
    let groups = wanted.div_ceil(samples).min(blocks);
    blocks.div_ceil(groups)
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
    let blocks_per_group = blocks_per_piece(shape.batch, blocks);
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

/// How the inputs of one sample are laid out for the vectors of outputs.
enum Inputs {
    /// As they are: kernels of one tap.
    AsIs,
    Bordered(Border),
    Columns(Columns),
}

impl Inputs {
    fn new(shape: &ConvShape) -> Self {
        let whole_rows = shape.size_out[1].is_multiple_of(VECTOR);
        let single_tap = shape.kernel == 1 && shape.stride == 1 && shape.padding == 0;
        if single_tap && shape.positions_in().is_multiple_of(VECTOR) {
            Self::AsIs
        } else if whole_rows {
            Self::Bordered(Border::new(shape.size_in, shape.padding, shape.stride))
        } else {
            Self::Columns(Columns::new(shape))
        }
    }

    fn channel_stride(&self, shape: &ConvShape) -> usize {
        match self {
            Self::AsIs => shape.positions_in(),
            Self::Bordered(border) => border.channel_stride(),
            Self::Columns(columns) => columns.channel_stride(),
        }
    }

    /// The distance of each tap within a channel.
    fn taps(&self, kernel: usize) -> Vec<usize> {
        let distance = |row, col| match self {
            Self::AsIs => 0,
            Self::Bordered(border) => border.offset(row, col),
            Self::Columns(columns) => columns.tap(row, col),
        };
        (0..kernel)
            .flat_map(|row| (0..kernel).map(move |col| distance(row, col)))
            .collect()
    }

    /// Where the inputs of each vector of outputs lie within a channel, for the first tap.
    fn vectors(&self, [height, width]: [usize; 2]) -> Vec<usize> {
        match self {
            Self::AsIs | Self::Columns(_) => (0..height * width).step_by(VECTOR).collect(),
            Self::Bordered(border) => (0..height)
                .flat_map(|row| {
                    let first = row * border.width;
                    (first..first + width).step_by(VECTOR)
                })
                .collect(),
        }
    }

    /// Calls `job` with the inputs of one sample.
    fn with<R>(&self, shape: &ConvShape, x: &[f32], job: impl FnOnce(&[f32]) -> R) -> R {
        match self {
            Self::AsIs => job(x),
            Self::Bordered(border) => scratch::with(border.len(shape.channels_in), |bordered| {
                border.fill(bordered, x, shape.channels_in);
                job(bordered)
            }),
            Self::Columns(columns) => scratch::with(columns.len(), |filled| {
                columns.fill(filled, x);
                job(filled)
            }),
        }
    }
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
    let inputs = Inputs::new(shape);
    let taps = inputs.taps(shape.kernel);
    let vectors = inputs.vectors(shape.size_out);
    let positions = shape.positions_out();
    let rounded = vectors.len() * VECTOR;
    let per_block = weight.block * shape.channels_in * taps.len();
    inputs.with(shape, x, |x| {
        scratch::with(weight.block * rounded, |memory| {
            let blocks = y.chunks_mut(weight.block * positions).enumerate();
            for (i, y) in blocks {
                let first_channel = (first_block + i) * weight.block;
                let channels = y.len() / positions;
                let mut start = [0.0; WIDE];
                if let Some(bias) = bias {
                    start[..channels].copy_from_slice(&bias[first_channel..][..channels]);
                }
                let in_place = rounded == positions && channels == weight.block;
                let rows = Rows {
                    x,
                    channels_in: shape.channels_in,
                    channel_stride: inputs.channel_stride(shape),
                    taps: &taps,
                    weights: &weight.values[(first_block + i) * per_block..][..per_block],
                    start: &start[..weight.block],
                    vectors: &vectors,
                    out: if in_place {
                        &mut *y
                    } else {
                        // SAFETY: nothing but numbers is written to `out`.
                        unsafe { buffer::to_be_filled(memory) }
                    },
                };
                simd::arch().dispatch(rows);
                if !in_place {
                    for (y, row) in y
                        .chunks_exact_mut(positions)
                        .zip(memory.chunks_exact(rounded))
                    {
                        y.write_copy_of_slice(&row[..positions]);
                    }
                }
            }
        });
    });
}

/// The widest vectors; buffers of positions are whole ones.
pub(super) const VECTOR: usize = 16;

/// `out[r][v] = start[r] + Σ_channels Σ_taps weights[channel][tap][r] * x[channel][vectors[v] + tap]`, for the rows of one
/// block; `out[r]` is made of vectors.
pub(super) struct Rows<'a> {
    pub x: &'a [f32],
    pub channels_in: usize,
    pub channel_stride: usize,
    /// Distance of each tap.
    pub taps: &'a [usize],
    pub weights: &'a [f32],
    pub start: &'a [f32],
    /// Where the inputs of each vector of [`VECTOR`] positions begin, for a tap at distance 0.
    pub vectors: &'a [usize],
    /// `[rows][vectors]`, to be written.
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
        let furthest = |distances: &[usize]| distances.iter().copied().max().unwrap_or(0);
        assert_eq!(self.weights.len(), self.channels_in * self.taps.len() * R);
        assert!(self.start.len() == R && self.out.len() >= R * self.vectors.len() * VECTOR);
        assert!(
            self.channels_in == 0
                || (self.channels_in - 1) * self.channel_stride
                    + furthest(self.taps)
                    + furthest(self.vectors)
                    + VECTOR
                    <= self.x.len()
        );
        // Counted in vectors of this processor.
        let count = self.vectors.len() * (VECTOR / S::F32_LANES);
        let mut first = 0;
        while first < count {
            first += match count - first {
                1 => self.tile::<S, R, 1>(simd, first),
                // Two times two keep more sums in flight than three and one.
                2 | 4 => self.tile::<S, R, 2>(simd, first),
                _ => self.tile::<S, R, 3>(simd, first),
            };
        }
    }

    /// `R` rows at `V` vectors of this processor, which is what it returns.
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, first: usize) -> usize {
        let lanes = S::F32_LANES;
        let parts = VECTOR / lanes;
        let offsets: [usize; V] = std::array::from_fn(|v| {
            let vector = first + v;
            self.vectors[vector / parts] + vector % parts * lanes
        });
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        for (sums, start) in sums.iter_mut().zip(self.start) {
            *sums = [simd.splat_f32s(*start); V];
        }
        let mut weights = self.weights.as_ptr();
        for channel in 0..self.channels_in {
            for tap in self.taps {
                // SAFETY: `all` has checked that the last channel's furthest vector at the furthest tap is inside `x`, and
                // that `weights` holds `R` values per channel and tap, which is how often it is advanced by `R`. Vectors
                // hold any bits, and are read without alignment.
                unsafe {
                    let x = self.x.as_ptr().add(channel * self.channel_stride + tap);
                    let mut inputs = [simd.splat_f32s(0.0); V];
                    for (input, offset) in inputs.iter_mut().zip(offsets) {
                        *input = x.add(offset).cast::<S::f32s>().read_unaligned();
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
                let at = r * self.vectors.len() * VECTOR + (first + v) * lanes;
                // SAFETY: `all` has checked that `out` holds `R` rows of vectors, and calls with those alone.
                unsafe {
                    let out = self.out.as_mut_ptr().add(at);
                    out.cast::<S::f32s>().write_unaligned(*sum);
                }
            }
        }
        V
    }
}
