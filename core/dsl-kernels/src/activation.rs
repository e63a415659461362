//! SiLU, GELU and GEGLU: one pass forward, one pass backward, nothing kept but the input.

use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, activation};

use crate::buffer::{self, Dense, Unfilled};
use crate::parallel::{self, PIECE};
use crate::route::{self, CpuOperation};
use crate::scalar;
use crate::simd;

/// `x * sigmoid(x)`, element by element.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match route::run(Elementwise(Silu), [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => activation::silu(Tensor::<D>::from_dispatch(x)),
    }
}

/// The exact (erf) GELU, `x * Φ(x)`, element by element.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match route::run(Elementwise(Gelu), [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => activation::gelu(Tensor::<D>::from_dispatch(x)),
    }
}

/// `x_value * gelu(x_gate)`, the two halves of the last axis; the exact (erf) GELU, as diffusers' `GEGLU` has it.
///
/// # Shapes
/// - `x`: `[.., 2 * features]`, value half first; result: `[.., features]`
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let width = x.dims()[D - 1];
    let fits = width > 0 && width.is_multiple_of(2);
    match route::run_if(fits, Geglu, [x.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x]) => {
            let x = Tensor::<D>::from_dispatch(x);
            let features = x.dims()[D - 1] / 2;
            let value = x.clone().narrow(D - 1, 0, features);
            value * activation::gelu(x.narrow(D - 1, features, features))
        }
    }
}

/// A function of one number, with its derivative.
trait Curve: std::fmt::Debug + Clone + Send + 'static {
    fn value(x: f32) -> f32;
    fn derivative(x: f32) -> f32;
}

#[derive(Debug, Clone)]
struct Silu;

impl Curve for Silu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        scalar::silu(x)
    }

    #[inline(always)]
    fn derivative(x: f32) -> f32 {
        scalar::silu_derivative(x)
    }
}

#[derive(Debug, Clone)]
struct Gelu;

impl Curve for Gelu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        scalar::gelu(x)
    }

    #[inline(always)]
    fn derivative(x: f32) -> f32 {
        scalar::gelu_derivative(x)
    }
}

/// A curve, element by element.
#[derive(Debug, Clone)]
struct Elementwise<C>(C);

impl<C: Curve> CpuOperation<1> for Elementwise<C> {
    type Saved = Dense;

    fn forward(&self, [x]: [FlexTensor; 1], _: [bool; 1]) -> (FlexTensor, Dense) {
        let x = Dense::new(x);
        let values = x.values();
        let mut y = Unfilled::new(values.len());
        parallel::each(parallel::pieces(&mut y, PIECE), values.len() * 4, |i, y| {
            let x = &values[i * PIECE..][..y.len()];
            simd::wide(
                #[inline(always)]
                || {
                    for (y, x) in y.iter_mut().zip(x) {
                        y.write(C::value(*x));
                    }
                },
            );
        });
        // SAFETY: the pieces make up the whole buffer, and each was written from as many values.
        let y = unsafe { y.into_tensor(x.shape().clone()) };
        (y, x)
    }

    fn backward(&self, x: Dense, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let values = x.values();
        let dx = buffer::change(
            grad,
            PIECE,
            values.chunks(PIECE),
            values.len() * 4,
            |_, dx, x: &[f32]| {
                simd::wide(
                    #[inline(always)]
                    || {
                        for (dx, x) in dx.iter_mut().zip(x) {
                            *dx *= C::derivative(*x);
                        }
                    },
                );
            },
        );
        [Some(dx)]
    }
}

#[derive(Debug, Clone)]
struct Geglu;

impl CpuOperation<1> for Geglu {
    type Saved = Dense;

    fn forward(&self, [x]: [FlexTensor; 1], _: [bool; 1]) -> (FlexTensor, Dense) {
        let x = Dense::new(x);
        let mut shape = x.shape().to_vec();
        let last = shape.len() - 1;
        shape[last] /= 2;
        let features = shape[last];
        let values = x.values();
        let mut y = Unfilled::new(values.len() / 2);
        let rows = parallel::rows_per_piece(features);
        parallel::each(
            parallel::pieces(&mut y, rows * features),
            values.len() * 2,
            |i, y| {
                let x = &values[i * rows * 2 * features..];
                simd::wide(
                    #[inline(always)]
                    || {
                        for (y, x) in y
                            .chunks_exact_mut(features)
                            .zip(x.chunks_exact(2 * features))
                        {
                            let (value, gate) = x.split_at(features);
                            for ((y, value), gate) in y.iter_mut().zip(value).zip(gate) {
                                y.write(value * scalar::gelu(*gate));
                            }
                        }
                    },
                );
            },
        );
        // SAFETY: the pieces make up the whole buffer and hold whole rows, each written from a row of `x`.
        let y = unsafe { y.into_tensor(shape) };
        (y, x)
    }

    fn backward(&self, x: Dense, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let grad = Dense::new(grad);
        let shape = x.shape().to_vec();
        let features = shape[shape.len() - 1] / 2;
        let (values, grads) = (x.values(), grad.values());
        let mut dx = Unfilled::new(values.len());
        let rows = parallel::rows_per_piece(features);
        parallel::each(
            parallel::pieces(&mut dx, rows * 2 * features),
            values.len() * 2,
            |i, dx| {
                let x = &values[i * rows * 2 * features..];
                let grad = &grads[i * rows * features..];
                simd::wide(
                    #[inline(always)]
                    || {
                        let rows = dx
                            .chunks_exact_mut(2 * features)
                            .zip(x.chunks_exact(2 * features))
                            .zip(grad.chunks_exact(features));
                        for ((dx, x), grad) in rows {
                            let (d_value, d_gate) = dx.split_at_mut(features);
                            let (value, gate) = x.split_at(features);
                            for j in 0..features {
                                let (cumulative, density) = scalar::normal(gate[j]);
                                let slope = cumulative + gate[j] * density;
                                d_value[j].write(grad[j] * gate[j] * cumulative);
                                d_gate[j].write(grad[j] * value[j] * slope);
                            }
                        }
                    },
                );
            },
        );
        // SAFETY: the pieces make up the whole buffer and hold whole rows, of which both halves were written.
        [Some(unsafe { dx.into_tensor(shape) })]
    }
}
