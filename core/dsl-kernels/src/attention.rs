//! Scaled dot-product attention that keeps one number per query for its backward pass, never a matrix of scores.
//!
//! Scores are made for a block of queries at a time; the backward pass makes them again from the logarithm of each row's
//! sum (Dao et al., FlashAttention, arXiv 2205.14135, section 3.1), here with whole rows: they fit in the cache.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Tensor, activation};

use crate::buffer::{Dense, Unfilled};
use crate::matrix::{Destination, Matrix, MatrixMut, product};
use crate::parallel;
use crate::route::{self, CpuOperation};
use crate::scalar;
use crate::scratch;
use crate::simd;

/// `softmax(query keyᵀ / sqrt(head_size) + bias) value`.
///
/// `bias` is a constant: no gradient reaches it. `-inf` masks a score out; a row must not be masked as a whole.
///
/// # Shapes
/// - `query`: `[batch, heads, tokens_q, head_size]`; `key`, `value`: `[batch, heads, tokens_kv, head_size]`; result as `query`
/// - `bias`: `[1 or batch, 1 or heads, tokens_q, tokens_kv]`
pub fn attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<Tensor<4>>,
) -> Tensor<4> {
    let [batch, heads, tokens_q, head_size] = query.dims();
    let tokens_kv = key.dims()[2];
    let scale = (head_size as f64).powf(-0.5);
    let bias = bias.map(Tensor::detach);
    let bias_fits = bias.as_ref().is_none_or(|bias| {
        let [samples, of_heads, rows, cols] = bias.dims();
        [1, batch].contains(&samples)
            && [1, heads].contains(&of_heads)
            && [rows, cols] == [tokens_q, tokens_kv]
    });
    let of_keys = [batch, heads, tokens_kv, head_size];
    let fits =
        tokens_q > 0 && tokens_kv > 0 && bias_fits && [key.dims(), value.dims()] == [of_keys; 2];
    // Nothing where this crate has no implementation; and a mistake is burn's to report.
    let operation = fits
        .then(|| match bias.clone() {
            None => Some(None),
            Some(bias) => route::plain(bias.into_dispatch()).map(|bias| Some(Dense::new(bias))),
        })
        .flatten()
        .map(|bias| Attention {
            scale: scale as f32,
            bias,
        });
    let inputs = [
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
    ];
    let outcome = match operation {
        Some(operation) => route::run(operation, inputs),
        None => Err(inputs),
    };
    match outcome {
        Ok(y) => Tensor::from_dispatch(y),
        Err(inputs) => {
            let [query, key, value] = inputs.map(Tensor::<4>::from_dispatch);
            let mut scores = (query * scale).matmul(key.swap_dims(2, 3));
            if let Some(bias) = bias {
                scores = scores + bias;
            }
            activation::softmax(scores, 3).matmul(value)
        }
    }
}

#[derive(Debug, Clone)]
struct Attention {
    scale: f32,
    bias: Option<Dense>,
}

#[derive(Debug, Clone)]
struct Saved {
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    output: FlexTensor,
    /// `ln Σ exp(scores)` of each row: `[batch, heads, tokens_q]`.
    row_logarithms: Vec<f32>,
}

/// Queries whose scores are held at a time.
const BLOCK: usize = 64;

/// A `[batch, heads, tokens, head_size]` tensor whose rows of `head_size` elements are dense.
struct Heads<'a> {
    values: &'a [f32],
    strides: [usize; 3],
    tokens: usize,
    head_size: usize,
}

/// Makes rows dense, by a copy where they are not.
fn with_dense_rows(tensor: FlexTensor) -> FlexTensor {
    let layout = tensor.layout();
    let ready = layout.strides().iter().all(|stride| *stride >= 0)
        && (layout.strides()[3] == 1 || layout.shape()[3] == 1);
    if ready {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

impl<'a> Heads<'a> {
    fn of(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let strides = layout.strides();
        let [_, _, tokens, head_size] = layout.shape().dims();
        Self {
            values: &tensor.storage::<f32>()[layout.start_offset()..],
            strides: [0, 1, 2].map(|axis| strides[axis] as usize),
            tokens,
            head_size,
        }
    }

    /// Rows `from..from + count` of one head.
    fn rows(&self, [sample, head]: [usize; 2], from: usize, count: usize) -> Matrix<'a> {
        let [of_sample, of_head, of_token] = self.strides;
        Matrix {
            values: &self.values[sample * of_sample + head * of_head + from * of_token..],
            rows: count,
            cols: self.head_size,
            row_stride: of_token,
            col_stride: 1,
        }
    }

    fn all_rows(&self, at: [usize; 2]) -> Matrix<'a> {
        self.rows(at, 0, self.tokens)
    }
}

/// A fresh `[batch, heads, tokens, head_size]` tensor that lies in memory as `[batch, tokens, heads, head_size]`, so that
/// joining the heads needs no copy.
struct HeadsOut {
    values: Unfilled,
    dims: [usize; 4],
}

impl HeadsOut {
    fn new(dims: [usize; 4]) -> Self {
        Self {
            values: Unfilled::new(dims.iter().product()),
            dims,
        }
    }

    fn writer(&mut self) -> HeadsWriter {
        HeadsWriter {
            values: self.values.as_mut_ptr().cast(),
            dims: self.dims,
        }
    }

    /// # Safety
    /// All rows of all heads have been written.
    unsafe fn into_tensor(self) -> FlexTensor {
        let [batch, heads, tokens, head_size] = self.dims;
        // SAFETY: by this function's contract.
        let tensor = unsafe { self.values.into_tensor([batch, tokens, heads, head_size]) };
        let layout: Layout = tensor.layout().transpose(1, 2);
        tensor.with_layout(layout)
    }
}

/// Hands out the rows of [`HeadsOut`] to several threads.
#[derive(Clone, Copy)]
struct HeadsWriter {
    values: *mut f32,
    dims: [usize; 4],
}

// SAFETY: the pointer is only used through `rows`, whose callers keep the rows apart.
unsafe impl Send for HeadsWriter {}
// SAFETY: as above.
unsafe impl Sync for HeadsWriter {}

impl HeadsWriter {
    /// Rows `from..from + count` of one head.
    ///
    /// # Safety
    /// The tensor outlives the view, and no other view of the same rows of the same head exists at the same time.
    unsafe fn rows<'a>(
        &self,
        [sample, head]: [usize; 2],
        from: usize,
        count: usize,
    ) -> MatrixMut<'a> {
        let [batch, heads, tokens, head_size] = self.dims;
        assert!(sample < batch && head < heads && from + count <= tokens);
        let row_stride = heads * head_size;
        let first = (sample * tokens + from) * row_stride + head * head_size;
        // SAFETY: inside the tensor by the assertion above; exclusive by this function's contract.
        unsafe { MatrixMut::strided(self.values.add(first), count, head_size, row_stride) }
    }
}

impl Attention {
    /// The bias of some rows of one head, or nothing.
    fn bias_row(&self, [sample, head]: [usize; 2], row: usize, tokens_kv: usize) -> Option<&[f32]> {
        let bias = self.bias.as_ref()?;
        let [samples, heads, tokens_q, _] = bias.dims::<4>();
        let sample = if samples == 1 { 0 } else { sample };
        let head = if heads == 1 { 0 } else { head };
        let start = ((sample * heads + head) * tokens_q + row) * tokens_kv;
        Some(&bias.values()[start..][..tokens_kv])
    }

    fn add_bias(&self, scores: &mut [f32], at: [usize; 2], from: usize, tokens_kv: usize) {
        if self.bias.is_none() {
            return;
        }
        for (row, scores) in scores.chunks_exact_mut(tokens_kv).enumerate() {
            if let Some(bias) = self.bias_row(at, from + row, tokens_kv) {
                scores
                    .iter_mut()
                    .zip(bias)
                    .for_each(|(score, bias)| *score += bias);
            }
        }
    }
}

/// Turns scores into weights that are not yet divided by their sum; gives the greatest score and the sum.
#[inline(always)]
fn soften(row: &mut [f32]) -> (f32, f32) {
    const LANES: usize = 16;
    let mut greatest = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (greatest, score) in greatest.iter_mut().zip(chunk) {
            *greatest = if *score > *greatest {
                *score
            } else {
                *greatest
            };
        }
    }
    let greatest = greatest
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    for score in row.iter_mut() {
        let weight = scalar::exp(*score - greatest);
        // Masked out: exactly nothing, where `exp` saturates.
        *score = if *score == f32::NEG_INFINITY {
            0.0
        } else {
            weight
        };
    }
    let row = &*row;
    (greatest, scalar::sum([row], |[weight]| weight))
}

impl CpuOperation<3> for Attention {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; 3], _: [bool; 3]) -> (FlexTensor, Saved) {
        let [query, key, value] = inputs.map(with_dense_rows);
        let [batch, heads, tokens_q, head_size] = query.layout().shape().dims();
        let tokens_kv = key.layout().shape()[2];
        let mut out = HeadsOut::new([batch, heads, tokens_q, head_size]);
        let mut row_logarithms = vec![0.0f32; batch * heads * tokens_q];
        let (q, k, v) = (Heads::of(&query), Heads::of(&key), Heads::of(&value));
        let writer = out.writer();
        // Pieces: one block of queries of one head each.
        let pieces: Vec<_> = row_logarithms
            .chunks_mut(tokens_q.max(1))
            .enumerate()
            .flat_map(|(head, rows)| {
                rows.chunks_mut(BLOCK)
                    .enumerate()
                    .map(move |(block, rows)| (head, block * BLOCK, rows))
            })
            .collect();
        let work = batch * heads * tokens_q * tokens_kv * (4 + head_size / 8);
        parallel::each(pieces, work, |_, (head, from, logarithms)| {
            let at = [head / heads, head % heads];
            let count = logarithms.len();
            scratch::with(count * tokens_kv, |scores| {
                product(
                    &mut MatrixMut::row_major(scores, count, tokens_kv),
                    Destination::Overwrite,
                    self.scale,
                    q.rows(at, from, count),
                    k.all_rows(at).transposed(),
                    gemm::Parallelism::None,
                );
                self.add_bias(scores, at, from, tokens_kv);
                let mut inverse_sums = [0.0f32; BLOCK];
                simd::wide(
                    #[inline(always)]
                    || {
                        for (i, row) in scores.chunks_exact_mut(tokens_kv).enumerate() {
                            let (greatest, sum) = soften(row);
                            logarithms[i] = greatest + sum.ln();
                            inverse_sums[i] = 1.0 / sum;
                        }
                    },
                );
                // SAFETY: `out` lives on, and every piece has rows of its own.
                let mut rows = unsafe { writer.rows(at, from, count) };
                product(
                    &mut rows,
                    Destination::Overwrite,
                    1.0,
                    Matrix::row_major(scores, count, tokens_kv),
                    v.all_rows(at),
                    gemm::Parallelism::None,
                );
                rows.scale_rows(&inverse_sums);
            });
        });
        // SAFETY: the pieces take in all rows of all heads, and the second product of each writes its own.
        let output = unsafe { out.into_tensor() };
        let saved = Saved {
            query,
            key,
            value,
            output: output.clone(),
            row_logarithms,
        };
        (output, saved)
    }

    fn backward(
        &self,
        saved: Saved,
        grad: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let grad = with_dense_rows(grad);
        let [batch, heads, tokens_q, head_size] = saved.query.layout().shape().dims();
        let tokens_kv = saved.key.layout().shape()[2];
        let (q, k, v) = (
            Heads::of(&saved.query),
            Heads::of(&saved.key),
            Heads::of(&saved.value),
        );
        let (o, g) = (Heads::of(&saved.output), Heads::of(&grad));
        let of_queries = [batch, heads, tokens_q, head_size];
        let of_keys = [batch, heads, tokens_kv, head_size];
        let mut outputs = [of_queries, of_keys, of_keys].map(HeadsOut::new);
        let [dq, dk, dv] = outputs.each_mut().map(HeadsOut::writer);
        let work = batch * heads * tokens_q * tokens_kv * (6 + head_size / 4);
        let none = gemm::Parallelism::None;
        parallel::each((0..batch * heads).collect(), work, |_, head: usize| {
            let at = [head / heads, head % heads];
            let size = BLOCK.min(tokens_q) * tokens_kv;
            scratch::with(2 * size, |memory| {
                let (weights, slopes) = memory.split_at_mut(size);
                for from in (0..tokens_q).step_by(BLOCK) {
                    let count = BLOCK.min(tokens_q - from);
                    let destination = if from == 0 {
                        Destination::Overwrite
                    } else {
                        Destination::Add
                    };
                    let weights = &mut weights[..count * tokens_kv];
                    let slopes = &mut slopes[..count * tokens_kv];
                    let (q_rows, g_rows) = (q.rows(at, from, count), g.rows(at, from, count));
                    product(
                        &mut MatrixMut::row_major(weights, count, tokens_kv),
                        Destination::Overwrite,
                        self.scale,
                        q_rows,
                        k.all_rows(at).transposed(),
                        none,
                    );
                    self.add_bias(weights, at, from, tokens_kv);
                    product(
                        &mut MatrixMut::row_major(slopes, count, tokens_kv),
                        Destination::Overwrite,
                        1.0,
                        g_rows,
                        v.all_rows(at).transposed(),
                        none,
                    );
                    let o_rows = o.rows(at, from, count);
                    let logarithms = &saved.row_logarithms[head * tokens_q + from..][..count];
                    simd::wide(
                        #[inline(always)]
                        || {
                            let rows = weights
                                .chunks_exact_mut(tokens_kv)
                                .zip(slopes.chunks_exact_mut(tokens_kv));
                            for (i, (weights, slopes)) in rows.enumerate() {
                                let o = &o_rows.values[i * o_rows.row_stride..][..head_size];
                                let g = &g_rows.values[i * g_rows.row_stride..][..head_size];
                                let mean = scalar::sum([o, g], |[o, g]| o * g);
                                for (weight, slope) in weights.iter_mut().zip(slopes) {
                                    let exp = scalar::exp(*weight - logarithms[i]);
                                    *weight = if *weight == f32::NEG_INFINITY {
                                        0.0
                                    } else {
                                        exp
                                    };
                                    *slope = *weight * (*slope - mean);
                                }
                            }
                        },
                    );
                    let weights = Matrix::row_major(weights, count, tokens_kv);
                    let slopes = Matrix::row_major(slopes, count, tokens_kv);
                    if wanted[0] {
                        // SAFETY: `outputs` lives on, and every piece has heads of its own.
                        let mut rows = unsafe { dq.rows(at, from, count) };
                        let all = k.all_rows(at);
                        product(
                            &mut rows,
                            Destination::Overwrite,
                            self.scale,
                            slopes,
                            all,
                            none,
                        );
                    }
                    if wanted[1] {
                        // SAFETY: as for the queries.
                        let mut rows = unsafe { dk.rows(at, 0, tokens_kv) };
                        let slopes = slopes.transposed();
                        product(&mut rows, destination, self.scale, slopes, q_rows, none);
                    }
                    if wanted[2] {
                        // SAFETY: as for the queries.
                        let mut rows = unsafe { dv.rows(at, 0, tokens_kv) };
                        product(
                            &mut rows,
                            destination,
                            1.0,
                            weights.transposed(),
                            g_rows,
                            none,
                        );
                    }
                }
            });
        });
        let mut wanted = wanted.into_iter();
        outputs.map(|output| {
            let wanted = wanted.next().unwrap_or(false);
            // SAFETY: of what is wanted, each block of queries has written its rows, and the first block of every head, which
            // there is, see `attention`, all rows of keys and values.
            wanted.then(|| unsafe { output.into_tensor() })
        })
    }
}
