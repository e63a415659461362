//! Linear layers: products over the last axis, with the gradients that are asked for and no others.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Shape, Tensor, module};

use crate::buffer::{self, Dense, Unfilled};
use crate::matrix::{Destination, Matrix, MatrixMut, product};
use crate::parallel;
use crate::route::{self, CpuOperation};
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
    // A mistake is burn's to report.
    let fits = D > 1
        && input.dims()[D - 1] == weight.dims()[0]
        && weight.dims().into_iter().all(|width| width > 0)
        && bias
            .as_ref()
            .is_none_or(|bias| bias.dims()[0] == weight.dims()[1]);
    if !fits {
        return module::linear(input, weight, bias);
    }
    let inputs = (
        [input.into_dispatch(), weight.into_dispatch()],
        bias.map(Tensor::into_dispatch),
    );
    match route::run_layer(Linear, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err(inputs) => {
            let ([input, weight], bias) = *inputs;
            module::linear(
                Tensor::from_dispatch(input),
                Tensor::from_dispatch(weight),
                bias.map(Tensor::from_dispatch),
            )
        }
    }
}

#[derive(Debug, Clone)]
struct Linear;

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

fn forward(input: &Dense, weight: &Weight, bias: Option<&Dense>) -> FlexTensor {
    let weight = weight.matrix();
    let rows = input.values().len() / weight.rows.max(1);
    let mut y = Unfilled::new(rows * weight.cols);
    let destination = match bias {
        Some(bias) => {
            for y in y.chunks_exact_mut(weight.cols.max(1)) {
                y.write_copy_of_slice(bias.values());
            }
            Destination::Add
        }
        None => Destination::Overwrite,
    };
    product(
        &mut MatrixMut::unfilled(&mut y, rows, weight.cols),
        destination,
        1.0,
        Matrix::row_major(input.values(), rows, weight.rows),
        weight,
        parallel::for_gemm(rows * weight.rows * weight.cols),
    );
    let mut shape = input.shape().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = weight.cols;
    }
    // SAFETY: the product writes every element.
    unsafe { y.into_tensor(shape) }
}

fn input_gradient(shape: &Shape, weight: &Weight, grad: &Dense) -> FlexTensor {
    let weight = weight.matrix();
    let rows = grad.values().len() / weight.cols.max(1);
    let mut dx = Unfilled::new(rows * weight.rows);
    product(
        &mut MatrixMut::unfilled(&mut dx, rows, weight.rows),
        Destination::Overwrite,
        1.0,
        Matrix::row_major(grad.values(), rows, weight.cols),
        weight.transposed(),
        parallel::for_gemm(rows * weight.rows * weight.cols),
    );
    // SAFETY: the product writes every element.
    unsafe { dx.into_tensor(shape.clone()) }
}

fn weight_gradient(input: &Dense, weight: &Weight, grad: &Dense) -> FlexTensor {
    let Matrix {
        rows: d_input,
        cols: d_output,
        ..
    } = weight.matrix();
    let rows = input.values().len() / d_input.max(1);
    let mut dw = Unfilled::new(d_input * d_output);
    product(
        &mut MatrixMut::unfilled(&mut dw, d_input, d_output),
        Destination::Overwrite,
        1.0,
        Matrix::row_major(input.values(), rows, d_input).transposed(),
        Matrix::row_major(grad.values(), rows, d_output),
        parallel::for_gemm(rows * d_input * d_output),
    );
    // SAFETY: the product writes every element.
    unsafe { dw.into_tensor([d_input, d_output]) }
}

/// Rows summed before the sums are: keeps rounding errors small, and the order independent of threads.
const ROWS: usize = 256;

fn bias_gradient(grad: &Dense) -> FlexTensor {
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

/// The input is kept for the weight's gradient alone: frozen layers keep none.
#[derive(Debug, Clone)]
struct Saved {
    input: Option<Dense>,
    shape: Shape,
    weight: Weight,
}

impl Saved {
    fn new(input: Dense, weight: Weight, for_weight: bool) -> Self {
        Self {
            shape: input.shape().clone(),
            input: for_weight.then_some(input),
            weight,
        }
    }

    fn gradients(self, grad: &Dense, [of_input, of_weight]: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let input = self.input.filter(|_| of_weight);
        [
            of_input.then(|| input_gradient(&self.shape, &self.weight, grad)),
            input.map(|input| weight_gradient(&input, &self.weight, grad)),
        ]
    }
}

impl CpuOperation<2> for Linear {
    type Saved = Saved;

    fn forward(&self, [input, weight]: [FlexTensor; 2], wanted: [bool; 2]) -> (FlexTensor, Saved) {
        let (input, weight) = (Dense::new(input), Weight::new(weight));
        let y = forward(&input, &weight, None);
        (y, Saved::new(input, weight, wanted[1]))
    }

    fn backward(
        &self,
        saved: Saved,
        grad: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        saved.gradients(&Dense::new(grad), wanted)
    }
}

impl CpuOperation<3> for Linear {
    type Saved = Saved;

    fn forward(
        &self,
        [input, weight, bias]: [FlexTensor; 3],
        wanted: [bool; 3],
    ) -> (FlexTensor, Saved) {
        let (input, weight) = (Dense::new(input), Weight::new(weight));
        let y = forward(&input, &weight, Some(&Dense::new(bias)));
        (y, Saved::new(input, weight, wanted[1]))
    }

    fn backward(
        &self,
        saved: Saved,
        grad: FlexTensor,
        [of_input, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let grad = Dense::new(grad);
        let [input, weight] = saved.gradients(&grad, [of_input, of_weight]);
        [input, weight, of_bias.then(|| bias_gradient(&grad))]
    }
}
