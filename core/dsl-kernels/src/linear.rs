//! Linear layers: products over the last axis, with the gradients that are asked for and no others; and from pictures to
//! tokens and back, without a copy in the other order.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, Tensor, module};

use crate::add;
use crate::buffer::{self, Dense, Unfilled};
use crate::layer::{self, Layer};
use crate::matrix::{Destination, Matrix, MatrixMut, product};
use crate::parallel;
use crate::simd;

/// `input @ weight + bias`.
///
/// # Shapes
/// - `input`: `[.., d_input]`, `weight`: `[d_input, d_output]`, `bias`: `[d_output]`
/// - result: `[.., d_output]`
pub fn linear<const D: usize>(
    input: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let dims = input.dims();
    // A mistake is burn's to report.
    if D < 2 || !fits(dims[D - 1], &weight, bias.as_ref()) {
        return module::linear(input, weight, bias);
    }
    let mut dims_out = dims;
    dims_out[D - 1] = weight.dims()[1];
    let layer = Linear {
        samples: 1,
        positions: dims[..D - 1].iter().product(),
        from: Order::Tokens,
        to: Order::Tokens,
        dims_in: Shape::from(dims),
        dims_out: Shape::from(dims_out),
    };
    layer::run(layer, input, weight, bias, module::linear)
}

/// [`linear`] over the channels of each position: from a picture to tokens.
///
/// # Shapes
/// - `x`: `[batch, d_input, height, width]`, `weight`: `[d_input, d_output]`, `bias`: `[d_output]`
/// - result: `[batch, height * width, d_output]`
pub fn linear_from_pixels(x: Tensor<4>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<3> {
    let [batch, channels, height, width] = x.dims();
    let composed = |x: Tensor<4>, weight, bias| {
        let tokens = x.flatten::<3>(2, 3).swap_dims(1, 2);
        module::linear(tokens, weight, bias)
    };
    if !fits(channels, &weight, bias.as_ref()) {
        return composed(x, weight, bias);
    }
    let layer = Linear {
        samples: batch,
        positions: height * width,
        from: Order::Channels,
        to: Order::Tokens,
        dims_in: Shape::from(x.dims()),
        dims_out: Shape::from([batch, height * width, weight.dims()[1]]),
    };
    layer::run(layer, x, weight, bias, composed)
}

/// [`linear`] from tokens to the channels of a picture: the way back from [`linear_from_pixels`].
///
/// # Shapes
/// - `tokens`: `[batch, size[0] * size[1], d_input]`, `weight`: `[d_input, d_output]`, `bias`: `[d_output]`
/// - result: `[batch, d_output, size[0], size[1]]`
pub fn linear_to_pixels(
    tokens: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    [height, width]: [usize; 2],
) -> Tensor<4> {
    let [batch, positions, d_input] = tokens.dims();
    let dims_out = [batch, weight.dims()[1], height, width];
    let composed = |tokens: Tensor<3>, weight, bias| {
        module::linear(tokens, weight, bias)
            .swap_dims(1, 2)
            .reshape(dims_out)
    };
    if positions != height * width || !fits(d_input, &weight, bias.as_ref()) {
        return composed(tokens, weight, bias);
    }
    let layer = Linear {
        samples: batch,
        positions,
        from: Order::Tokens,
        to: Order::Channels,
        dims_in: Shape::from(tokens.dims()),
        dims_out: Shape::from(dims_out),
    };
    layer::run(layer, tokens, weight, bias, composed)
}

/// Whether there is such a layer.
fn fits(d_input: usize, weight: &Tensor<2>, bias: Option<&Tensor<1>>) -> bool {
    d_input == weight.dims()[0]
        && weight.dims().into_iter().all(|width| width > 0)
        && bias.is_none_or(|bias| bias.dims()[0] == weight.dims()[1])
}

/// How the features of the positions of one sample lie in memory.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// `[positions, features]`.
    Tokens,
    /// `[features, positions]`.
    Channels,
}

impl Order {
    /// The `[positions, features]` matrix of one sample.
    fn matrix(self, values: &[f32], positions: usize, features: usize) -> Matrix<'_> {
        match self {
            Self::Tokens => Matrix::row_major(values, positions, features),
            Self::Channels => Matrix::row_major(values, features, positions).transposed(),
        }
    }

    /// Writes `[start +] lhs @ rhs`, of positions times features, to one sample.
    fn write(
        self,
        values: &mut [MaybeUninit<f32>],
        destination: Destination,
        lhs: Matrix<'_>,
        rhs: Matrix<'_>,
        parallelism: gemm::Parallelism,
    ) {
        // With channels first it is the transposed product.
        let (lhs, rhs) = match self {
            Self::Tokens => (lhs, rhs),
            Self::Channels => (rhs.transposed(), lhs.transposed()),
        };
        let mut dst = MatrixMut::unfilled(values, lhs.rows, rhs.cols);
        product(&mut dst, destination, 1.0, lhs, rhs, parallelism);
    }
}

/// A linear layer over `positions` of each of `samples`.
#[derive(Debug, Clone)]
struct Linear {
    samples: usize,
    positions: usize,
    from: Order,
    to: Order,
    dims_in: Shape,
    dims_out: Shape,
}

/// A weight in whatever order it lies: pointwise convolutions come transposed.
#[derive(Debug, Clone)]
struct Weight(FlexTensor);

impl Weight {
    fn new(tensor: FlexTensor) -> Self {
        let usable = tensor.layout().strides().iter().all(|stride| *stride >= 0);
        Self(if usable {
            tensor
        } else {
            tensor.to_contiguous()
        })
    }

    fn matrix(&self) -> Matrix<'_> {
        let layout = self.0.layout();
        let [rows, cols] = layout.shape().dims();
        Matrix {
            values: &self.0.storage::<f32>()[layout.start_offset()..],
            rows,
            cols,
            row_stride: layout.strides()[0] as usize,
            col_stride: layout.strides()[1] as usize,
        }
    }
}

impl Linear {
    /// Calls `job` with the index and the values of each sample: one after the other with all threads where there are too few
    /// samples for them and each is large enough, else all at once.
    fn each_sample(
        &self,
        values: &mut [MaybeUninit<f32>],
        work: usize,
        job: impl Fn(usize, &mut [MaybeUninit<f32>], gemm::Parallelism) + Sync + Send,
    ) {
        let samples = parallel::pieces(values, values.len() / self.samples.max(1));
        let of_sample = work / self.samples.max(1);
        let few = self.samples < parallel::threads() && of_sample >= parallel::GEMM_GRAIN;
        if few || self.samples == 1 {
            let parallelism = parallel::for_gemm(of_sample);
            for (sample, values) in samples.into_iter().enumerate() {
                job(sample, values, parallelism);
            }
        } else {
            parallel::each(samples, work / 64, |sample, values| {
                job(sample, values, gemm::Parallelism::None);
            });
        }
    }

    /// Writes the bias to every position.
    fn fill(&self, y: &mut [MaybeUninit<f32>], bias: &[f32]) {
        let work = y.len();
        match self.to {
            Order::Tokens => {
                let rows = parallel::rows_per_piece(bias.len());
                parallel::each(parallel::pieces(y, rows * bias.len()), work, |_, y| {
                    for y in y.chunks_exact_mut(bias.len()) {
                        y.write_copy_of_slice(bias);
                    }
                });
            }
            Order::Channels => {
                parallel::each(parallel::pieces(y, self.positions), work, |channel, y| {
                    y.fill(MaybeUninit::new(bias[channel % bias.len()]));
                });
            }
        }
    }
}

impl Layer for Linear {
    type Weight = Weight;

    fn weight(&self, tensor: FlexTensor) -> Weight {
        Weight::new(tensor)
    }

    fn output(&self, input: &Dense, weight: &Weight, bias: Option<&Dense>) -> FlexTensor {
        let weight = weight.matrix();
        let mut y = Unfilled::new(self.dims_out.num_elements());
        let destination = match bias {
            Some(bias) => {
                self.fill(&mut y, bias.values());
                Destination::Add
            }
            None => Destination::Overwrite,
        };
        let work = self.samples * self.positions * weight.rows * weight.cols;
        self.each_sample(&mut y, work, |sample, y, parallelism| {
            let len = self.positions * weight.rows;
            let input = &input.values()[sample * len..][..len];
            let input = self.from.matrix(input, self.positions, weight.rows);
            self.to.write(y, destination, input, weight, parallelism);
        });
        // SAFETY: the products write every element.
        unsafe { y.into_tensor(self.dims_out.clone()) }
    }

    fn input_gradient(&self, weight: &Weight, grad: &Dense) -> FlexTensor {
        let weight = weight.matrix();
        let mut dx = Unfilled::new(self.dims_in.num_elements());
        let work = self.samples * self.positions * weight.rows * weight.cols;
        self.each_sample(&mut dx, work, |sample, dx, parallelism| {
            let len = self.positions * weight.cols;
            let grad = &grad.values()[sample * len..][..len];
            let grad = self.to.matrix(grad, self.positions, weight.cols);
            let weight = weight.transposed();
            self.from
                .write(dx, Destination::Overwrite, grad, weight, parallelism);
        });
        // SAFETY: the products write every element.
        unsafe { dx.into_tensor(self.dims_in.clone()) }
    }

    fn weight_gradient(&self, input: &Dense, weight: &Weight, grad: &Dense) -> FlexTensor {
        let Matrix { rows, cols, .. } = weight.matrix();
        let mut dw = Unfilled::new(rows * cols);
        let (input, grad) = (input.values(), grad.values());
        if self.samples * self.positions == 0 {
            dw.fill(MaybeUninit::new(0.0));
        }
        // Products too small to be shared out are made by some rows of the weight at a time. Which rows must not depend on the
        // threads, nor must this choice.
        let work = self.positions * rows * cols;
        let whole = self.samples == 1 || work >= parallel::GEMM_GRAIN;
        let rows_at_a_time = if whole { rows } else { ROWS_OF_WEIGHT };
        let parallelism = match whole {
            true => parallel::for_gemm(work),
            false => gemm::Parallelism::None,
        };
        let pieces = parallel::pieces(&mut dw, rows_at_a_time * cols);
        parallel::each(pieces, self.samples * work / 64, |piece, dw| {
            let count = dw.len() / cols;
            for sample in 0..self.samples {
                let input = &input[sample * self.positions * rows..][..self.positions * rows];
                let grad = &grad[sample * self.positions * cols..][..self.positions * cols];
                let destination = match sample {
                    0 => Destination::Overwrite,
                    _ => Destination::Add,
                };
                let input = self.from.matrix(input, self.positions, rows).transposed();
                product(
                    &mut MatrixMut::unfilled(dw, count, cols),
                    destination,
                    1.0,
                    input.rows_from(piece * rows_at_a_time, count),
                    self.to.matrix(grad, self.positions, cols),
                    parallelism,
                );
            }
        });
        // SAFETY: the first product writes every element, or they were filled.
        unsafe { dw.into_tensor([rows, cols]) }
    }

    fn bias_gradient(&self, grad: &Dense) -> FlexTensor {
        match self.to {
            Order::Tokens => sum_of_rows(grad),
            Order::Channels => add::sum_per_channel(grad),
        }
    }
}

/// Rows of a weight whose gradients are summed together.
const ROWS_OF_WEIGHT: usize = 32;

/// Rows summed before the sums are: keeps rounding errors small, and the order independent of threads.
const ROWS: usize = 256;

fn sum_of_rows(grad: &Dense) -> FlexTensor {
    let features = grad.shape().last().copied().unwrap_or(1);
    let blocks = grad.values().chunks((ROWS * features).max(1));
    let mut partial = buffer::zeros(blocks.len() * features);
    let pieces = partial.chunks_exact_mut(features.max(1)).zip(blocks);
    parallel::each(
        pieces.collect(),
        grad.values().len(),
        |_, (partial, block): (&mut [f32], &[f32])| {
            simd::wide(
                #[inline(always)]
                || {
                    for row in block.chunks_exact(features) {
                        for (sum, value) in partial.iter_mut().zip(row) {
                            *sum += value;
                        }
                    }
                },
            );
        },
    );
    let mut total = buffer::zeros(features);
    for partial in partial.chunks_exact(features.max(1)) {
        for (total, sum) in total.iter_mut().zip(partial) {
            *total += sum;
        }
    }
    buffer::tensor(total, [features])
}
