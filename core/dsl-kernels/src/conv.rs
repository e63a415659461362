//! Two-dimensional convolution.
//!
//! It runs on vectors of positions, see [`direct`]: a vector of outputs is a sum of vectors of inputs, which are unaligned loads
//! from pictures inside a border of zeros, from pictures shifted by each column of the kernel where rows are not whole vectors
//! ([`columns`]), or from pictures as they are. With stride 1 (every convolution of a UNet but the few that halve the picture)
//! the gradient for the input is the same computation with the kernel turned over; for other strides see [`strided`]. The
//! gradient for the weights is a sum of outer products, see [`weight_gradient`].

mod border;
mod columns;
mod direct;
mod doubled;
mod strided;
mod weight_gradient;

pub use doubled::upsample_conv2d;

use burn::backend::flex::FlexTensor;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use crate::add;
use crate::buffer::Dense;
use crate::layer::{self, Layer};

/// Convolution with the same stride and zero padding on both axes; as PyTorch's `conv2d`.
///
/// # Shapes
/// - `x`: `[batch, channels_in, height, width]`, `weight`: `[channels_out, channels_in, kernel, kernel]`, `bias`: `[channels_out]`
/// - result: `[batch, channels_out, out_height, out_width]`, `out = (in + 2 padding - kernel) / stride + 1`, rounded down
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let bias_fits = bias
        .as_ref()
        .is_none_or(|bias| bias.dims()[0] == weight.dims()[0]);
    let shape = ConvShape::new(x.dims(), weight.dims(), stride, padding).filter(|_| bias_fits);
    // Sizes at which burn reports the mistake are burn's; so are kernels that are not square.
    let Some(shape) = shape else {
        return composed(x, weight, bias, stride, padding);
    };
    let composed = move |x, weight, bias| composed(x, weight, bias, stride, padding);
    layer::run(Conv { shape }, x, weight, bias, composed)
}

fn composed(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
    module::conv2d(x, weight, bias, options)
}

/// The sizes of one convolution.
#[derive(Debug, Clone, Copy)]
struct ConvShape {
    batch: usize,
    channels_in: usize,
    channels_out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    size_in: [usize; 2],
    size_out: [usize; 2],
}

impl ConvShape {
    /// Nothing where this crate has no implementation, or there is no such convolution.
    fn new(
        [batch, channels_in, height, width]: [usize; 4],
        [channels_out, weight_in, kernel, kernel_width]: [usize; 4],
        stride: usize,
        padding: usize,
    ) -> Option<Self> {
        let out = |size: usize| {
            let room = (size + 2 * padding).checked_sub(kernel)?;
            (stride > 0).then(|| room / stride + 1)
        };
        let fits = kernel == kernel_width && kernel > 0 && channels_in == weight_in;
        // A border wider than the kernel gives outputs that are the bias alone.
        let usual = padding < kernel
            && [batch, channels_in, channels_out, height, width]
                .iter()
                .all(|size| *size > 0);
        (fits && usual).then_some(())?;
        Some(Self {
            batch,
            channels_in,
            channels_out,
            kernel,
            stride,
            padding,
            size_in: [height, width],
            size_out: [out(height)?, out(width)?],
        })
    }

    /// Multiplications of one pass.
    fn work(&self) -> usize {
        self.batch
            * self.channels_out
            * self.positions_out()
            * self.channels_in
            * self.kernel
            * self.kernel
    }

    fn positions_in(&self) -> usize {
        self.size_in[0] * self.size_in[1]
    }

    fn positions_out(&self) -> usize {
        self.size_out[0] * self.size_out[1]
    }

    fn dims_in(&self) -> [usize; 4] {
        let [height, width] = self.size_in;
        [self.batch, self.channels_in, height, width]
    }

    fn dims_out(&self) -> [usize; 4] {
        let [height, width] = self.size_out;
        [self.batch, self.channels_out, height, width]
    }

    fn dims_weight(&self) -> [usize; 4] {
        [
            self.channels_out,
            self.channels_in,
            self.kernel,
            self.kernel,
        ]
    }

    /// The convolution that carries gradients back to the input, if this one has stride 1.
    fn transposed(&self) -> Self {
        Self {
            channels_in: self.channels_out,
            channels_out: self.channels_in,
            padding: self.kernel - 1 - self.padding,
            size_in: self.size_out,
            size_out: self.size_in,
            ..*self
        }
    }
}

#[derive(Debug, Clone)]
struct Conv {
    shape: ConvShape,
}

impl Layer for Conv {
    type Weight = Dense;

    fn weight(&self, tensor: FlexTensor) -> Dense {
        Dense::new(tensor)
    }

    fn output(&self, x: &Dense, weight: &Dense, bias: Option<&Dense>) -> FlexTensor {
        let shape = &self.shape;
        let (x, weight) = (x.values(), weight.values());
        let bias = bias.map(Dense::values);
        let weight = direct::Packed::new(weight, shape);
        direct::convolve(shape, x, &weight, bias)
    }

    fn input_gradient(&self, weight: &Dense, grad: &Dense) -> FlexTensor {
        let shape = &self.shape;
        let (weight, grad) = (weight.values(), grad.values());
        if shape.stride == 1 {
            let weight = direct::Packed::turned_over(weight, shape);
            direct::convolve(&shape.transposed(), grad, &weight, None)
        } else {
            strided::transposed(shape, weight, grad, None)
        }
    }

    fn weight_gradient(&self, x: &Dense, _: &Dense, grad: &Dense) -> FlexTensor {
        let shape = &self.shape;
        let (x, grad) = (x.values(), grad.values());
        weight_gradient::weight_gradient(shape, x, grad)
    }

    fn bias_gradient(&self, grad: &Dense) -> FlexTensor {
        add::sum_per_channel(grad)
    }
}

#[cfg(test)]
mod tests {
    use pulp::Arch;

    use super::*;
    use crate::{buffer, sequential, simd};

    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    fn assert_close(what: &str, ours: &FlexTensor, reference: &[f64]) {
        let ours = ours.storage::<f32>();
        assert_eq!(ours.len(), reference.len());
        for (i, (a, b)) in ours.iter().zip(reference).enumerate() {
            let error = (f64::from(*a) - b).abs();
            assert!(error < 1e-4 * (1.0 + b.abs()), "{what} [{i}]: {a}, not {b}");
        }
    }

    /// Output, input gradient and weight gradient as the definition has them, product by product.
    fn by_definition(
        shape: &ConvShape,
        [x, w, bias, grad]: [&Dense; 4],
    ) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
        let at = |dense: &Dense, i: usize| f64::from(dense.values()[i]);
        let [height, width] = shape.size_in;
        let mut y: Vec<f64> = (0..grad.values().len())
            .map(|i| at(bias, i / shape.positions_out() % shape.channels_out))
            .collect();
        let (mut dx, mut dw) = (vec![0.0; x.values().len()], vec![0.0; w.values().len()]);
        for (out, y) in y.iter_mut().enumerate() {
            let (col, row) = (
                out % shape.size_out[1],
                out / shape.size_out[1] % shape.size_out[0],
            );
            let channel_out = out / shape.positions_out() % shape.channels_out;
            let sample = out / shape.positions_out() / shape.channels_out;
            for weight in 0..shape.channels_in * shape.kernel * shape.kernel {
                let (tap_col, tap_row) =
                    (weight % shape.kernel, weight / shape.kernel % shape.kernel);
                let channel_in = weight / shape.kernel / shape.kernel;
                let place = |out: usize, tap: usize, size: usize| {
                    (out * shape.stride + tap)
                        .checked_sub(shape.padding)
                        .filter(|place| *place < size)
                };
                let (Some(row), Some(col)) =
                    (place(row, tap_row, height), place(col, tap_col, width))
                else {
                    continue;
                };
                let input =
                    ((sample * shape.channels_in + channel_in) * height + row) * width + col;
                let weight = channel_out * shape.channels_in * shape.kernel * shape.kernel + weight;
                *y += at(x, input) * at(w, weight);
                dx[input] += at(grad, out) * at(w, weight);
                dw[weight] += at(grad, out) * at(x, input);
            }
        }
        (y, dx, dw)
    }

    /// Every width of vectors that this processor can run.
    #[test]
    fn narrow_vectors_give_the_same_numbers() {
        let mut widths = vec![Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        widths.extend(pulp::x86::V3::try_new().map(Arch::V3));
        widths.push(Arch::new());
        let shapes = [
            ([2, 5, 7, 9], [11, 5, 3, 3], 1, 1),
            ([1, 8, 16, 16], [8, 8, 1, 1], 1, 0),
            ([3, 1, 1, 1], [1, 1, 3, 3], 1, 1),
            ([2, 6, 12, 10], [4, 6, 2, 2], 1, 0),
            ([2, 3, 9, 8], [37, 3, 3, 3], 2, 1),
            ([1, 18, 4, 300], [20, 18, 1, 1], 1, 0),
            ([1, 17, 3, 5], [33, 17, 1, 1], 2, 0),
            ([1, 2, 11, 13], [3, 2, 4, 4], 3, 2),
        ];
        for (x_dims, w_dims, stride, padding) in shapes {
            let shape = ConvShape::new(x_dims, w_dims, stride, padding).unwrap();
            let x = Dense::new(buffer::tensor(numbers(x_dims.iter().product(), 1), x_dims));
            let w = Dense::new(buffer::tensor(numbers(w_dims.iter().product(), 2), w_dims));
            let bias = Dense::new(buffer::tensor(numbers(w_dims[0], 3), [w_dims[0]]));
            let dims_out = shape.dims_out();
            let grad = Dense::new(buffer::tensor(
                numbers(dims_out.iter().product(), 4),
                dims_out,
            ));
            let reference = by_definition(&shape, [&x, &w, &bias, &grad]);
            let conv = Conv { shape };
            for arch in &widths {
                simd::FORCED.set(Some(*arch));
                let (y, dx, dw) = sequential(|| {
                    (
                        conv.output(&x, &w, Some(&bias)),
                        conv.input_gradient(&w, &grad),
                        conv.weight_gradient(&x, &w, &grad),
                    )
                });
                simd::FORCED.set(None);
                let what = format!("{x_dims:?} {w_dims:?} {arch:?}");
                assert_close(&what, &y, &reference.0);
                assert_close(&what, &dx, &reference.1);
                assert_close(&what, &dw, &reference.2);
            }
        }
    }
}
