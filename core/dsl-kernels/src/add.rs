//! Sums: of two tensors, as skip connections have them, and of pictures and one number per channel.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use crate::buffer::{self, Dense};
use crate::parallel::{self, PIECE};
use crate::route::{self, CpuOperation};
use crate::scalar;
use crate::simd;

/// `a + b`.
///
/// # Shapes
/// - all alike
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let fits = a.dims() == b.dims();
    match route::run_if(fits, Add, [a.into_dispatch(), b.into_dispatch()]) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([a, b]) => Tensor::from_dispatch(a) + Tensor::<D>::from_dispatch(b),
    }
}

#[derive(Debug, Clone)]
struct Add;

impl CpuOperation<2> for Add {
    type Saved = ();

    /// Into the memory of `b`, if nobody else holds it.
    fn forward(&self, [a, b]: [FlexTensor; 2], _: [bool; 2]) -> (FlexTensor, ()) {
        let a = Dense::new(a);
        let work = a.values().len();
        let pieces = a.values().chunks(PIECE);
        let y = buffer::change(b, PIECE, pieces, work, |_, y, a: &[f32]| {
            simd::wide(
                #[inline(always)]
                || {
                    for (y, a) in y.iter_mut().zip(a) {
                        *y += a;
                    }
                },
            );
        });
        (y, ())
    }

    fn backward(&self, (): (), grad: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        wanted.map(|wanted| wanted.then(|| grad.clone()))
    }
}

/// `x[.., channel, .., ..] + shift[.., channel]`.
///
/// # Shapes
/// - `x`, result: `[batch, channels, height, width]`; `shift`: `[batch, channels]`
pub fn add_per_channel(x: Tensor<4>, shift: Tensor<2>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let fits = shift.dims() == [batch, channels] && height * width > 0;
    let inputs = [x.into_dispatch(), shift.into_dispatch()];
    match route::run_if(fits, AddPerChannel, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, shift]) => {
            let shift = Tensor::<2>::from_dispatch(shift);
            Tensor::from_dispatch(x) + shift.unsqueeze_dims::<4>(&[2, 3])
        }
    }
}

#[derive(Debug, Clone)]
struct AddPerChannel;

impl CpuOperation<2> for AddPerChannel {
    type Saved = ();

    /// Into the memory of `x`, if nobody else holds it.
    fn forward(&self, [x, shift]: [FlexTensor; 2], _: [bool; 2]) -> (FlexTensor, ()) {
        let shift = Dense::new(shift);
        let [_, _, height, width] = x.layout().shape().dims();
        let work = x.layout().num_elements();
        let shifts = shift.values().iter();
        let y = buffer::change(x, height * width, shifts, work, |_, y, shift: &f32| {
            simd::wide(
                #[inline(always)]
                || y.iter_mut().for_each(|y| *y += shift),
            );
        });
        (y, ())
    }

    fn backward(
        &self,
        (): (),
        grad: FlexTensor,
        [of_x, of_shift]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let grad = Dense::new(grad);
        let of_shift = of_shift.then(|| {
            let [batch, channels, height, width] = grad.dims::<4>();
            let mut sums = buffer::zeros(batch * channels);
            let pieces = sums
                .iter_mut()
                .zip(grad.values().chunks_exact(height * width))
                .collect();
            parallel::each(
                pieces,
                grad.values().len(),
                |_, (sum, grad): (&mut f32, &[f32])| {
                    *sum = simd::wide(
                        #[inline(always)]
                        || scalar::sum([grad], |[grad]| grad),
                    );
                },
            );
            buffer::tensor(sums, [batch, channels])
        });
        [of_x.then(|| grad.into_tensor()), of_shift]
    }
}

/// The gradient of one number per channel, for all samples and positions: `[batch, channels, ..]` to `[channels]`.
pub(crate) fn sum_per_channel(grad: &Dense) -> FlexTensor {
    let channels = grad.shape()[1];
    let positions = grad.shape()[2..].iter().product::<usize>();
    let mut totals = buffer::zeros(channels);
    let pieces = parallel::pieces(&mut totals, 1);
    parallel::each(pieces, grad.values().len(), |channel, total| {
        simd::wide(
            #[inline(always)]
            || {
                for sample in grad.values().chunks_exact((channels * positions).max(1)) {
                    let grad = &sample[channel * positions..][..positions];
                    total[0] += scalar::sum([grad], |[grad]| grad);
                }
            },
        );
    });
    buffer::tensor(totals, [channels])
}
