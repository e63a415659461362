//! What happens to weights after the gradients are there: AdamW, moving averages, the norm of all gradients. One pass over
//! memory each, where a chain of tensor operations makes a dozen.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};

use crate::buffer::{self, Dense};
use crate::parallel::{self, PIECE};
use crate::route;
use crate::scalar;
use crate::simd;

/// One step of AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2), as PyTorch's `AdamW` takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// α.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Multiplied by the learning rate, then by the weights.
    pub weight_decay: f64,
    /// Which step this is, from 1: the correction of the moments' bias.
    pub step: usize,
}

/// A weight and its two moments.
#[derive(Debug, Clone)]
pub struct Moved<const D: usize> {
    /// The weight.
    pub weight: Tensor<D>,
    /// The first moment.
    pub moment_1: Tensor<D>,
    /// The second moment.
    pub moment_2: Tensor<D>,
}

/// The numbers of one step, as every element meets them.
struct Factors {
    kept: f32,
    rate: f32,
    betas: [f32; 2],
    /// `1 - beta`.
    taken: [f32; 2],
    /// Of the moments' bias.
    corrections: [f32; 2],
    epsilon: f32,
}

impl AdamW {
    /// Rounded last: differences from 1 would lose most of their digits.
    fn factors(&self) -> Factors {
        let betas = [self.beta_1, self.beta_2];
        let step = i32::try_from(self.step).unwrap_or(i32::MAX);
        Factors {
            kept: (1.0 - self.learning_rate * self.weight_decay) as f32,
            rate: self.learning_rate as f32,
            betas: betas.map(|beta| beta as f32),
            taken: betas.map(|beta| (1.0 - beta) as f32),
            corrections: betas.map(|beta| (1.0 - beta.powi(step)) as f32),
            epsilon: self.epsilon as f32,
        }
    }

    /// Moves a weight; `moments` is nothing at the first step. All tensors are off the autodiff graph.
    ///
    /// # Shapes
    /// - all alike
    pub fn apply<const D: usize>(
        &self,
        weight: Tensor<D>,
        grad: Tensor<D>,
        moments: Option<[Tensor<D>; 2]>,
    ) -> Moved<D> {
        let [moment_1, moment_2] = moments.unwrap_or_else(|| {
            let zeros = grad.zeros_like();
            [zeros.clone(), zeros]
        });
        let same_shape = [&grad, &moment_1, &moment_2]
            .iter()
            .all(|tensor| tensor.dims() == weight.dims());
        let inputs = [weight, grad, moment_1, moment_2].map(Tensor::into_dispatch);
        // A mistake is burn's to report.
        match route::off_graph_if(same_shape, inputs) {
            Ok(inputs) => {
                let [weight, moment_1, moment_2] = self
                    .apply_here(inputs)
                    .map(route::dispatched)
                    .map(Tensor::from_dispatch);
                Moved {
                    weight,
                    moment_1,
                    moment_2,
                }
            }
            Err(inputs) => self.composed(inputs.map(Tensor::from_dispatch)),
        }
    }

    fn composed<const D: usize>(
        &self,
        [weight, grad, moment_1, moment_2]: [Tensor<D>; 4],
    ) -> Moved<D> {
        let factors = self.factors();
        let moment_1 = moment_1 * factors.betas[0] + grad.clone() * factors.taken[0];
        let moment_2 = moment_2 * factors.betas[1] + grad.square() * factors.taken[1];
        let root = (moment_2.clone() / factors.corrections[1]).sqrt() + factors.epsilon;
        let direction = moment_1.clone() / factors.corrections[0] / root;
        Moved {
            weight: weight * factors.kept - direction * factors.rate,
            moment_1,
            moment_2,
        }
    }

    /// In place, where nobody else holds a weight or its moments.
    fn apply_here(&self, [weight, grad, moment_1, moment_2]: [FlexTensor; 4]) -> [FlexTensor; 3] {
        let grad = Dense::new(grad);
        let mut moments = [moment_1, moment_2].map(Dense::new);
        let [moment_1, moment_2] = moments.each_mut().map(Dense::values_mut);
        let companions = moment_1
            .chunks_mut(PIECE)
            .zip(moment_2.chunks_mut(PIECE))
            .zip(grad.values().chunks(PIECE));
        let factors = self.factors();
        type Companion<'a> = ((&'a mut [f32], &'a mut [f32]), &'a [f32]);
        let weight = buffer::change(
            weight,
            PIECE,
            companions,
            grad.values().len() * 3,
            |_, weight, ((moment_1, moment_2), grad): Companion<'_>| {
                simd::wide(
                    #[inline(always)]
                    || {
                        let elements = weight.iter_mut().zip(&mut *moment_1).zip(&mut *moment_2);
                        for (((weight, m), v), g) in elements.zip(grad) {
                            *m = *m * factors.betas[0] + g * factors.taken[0];
                            *v = *v * factors.betas[1] + g * g * factors.taken[1];
                            let root = (*v / factors.corrections[1]).sqrt() + factors.epsilon;
                            let direction = *m / factors.corrections[0] / root;
                            *weight = *weight * factors.kept - direction * factors.rate;
                        }
                    },
                );
            },
        );
        let [moment_1, moment_2] = moments.map(Dense::into_tensor);
        [weight, moment_1, moment_2]
    }
}

/// `decay * average + (1 - decay) * weights`. Both are off the autodiff graph.
///
/// # Shapes
/// - all alike
pub fn moving_average<const D: usize>(
    average: Tensor<D>,
    weights: Tensor<D>,
    decay: f64,
) -> Tensor<D> {
    let (kept, taken) = (decay as f32, (1.0 - decay) as f32);
    let same_shape = average.dims() == weights.dims();
    match route::off_graph_if(
        same_shape,
        [average.into_dispatch(), weights.into_dispatch()],
    ) {
        Ok(inputs) => {
            let [average, weights] = inputs;
            let weights = Dense::new(weights);
            let work = weights.values().len();
            let pieces = weights.values().chunks(PIECE);
            let blend = buffer::change(average, PIECE, pieces, work, |_, blend, w: &[f32]| {
                simd::wide(
                    #[inline(always)]
                    || {
                        for (blend, w) in blend.iter_mut().zip(w) {
                            *blend = *blend * kept + w * taken;
                        }
                    },
                );
            });
            Tensor::from_dispatch(route::dispatched(blend))
        }
        Err(inputs) => {
            let [average, weights] = inputs.map(Tensor::<D>::from_dispatch);
            average * kept + weights * taken
        }
    }
}

/// The sum of the squares of all elements, in float32.
///
/// # Shapes
/// - result: `[1]`
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    match route::off_graph_if(true, [x.into_dispatch()]) {
        Ok([x]) => {
            let x = Dense::new(x);
            let mut sums = vec![0.0f32; x.values().len().div_ceil(PIECE)];
            let pieces = x.values().chunks(PIECE).zip(&mut sums).collect();
            parallel::each(
                pieces,
                x.values().len(),
                |_, (x, sum): (&[f32], &mut f32)| {
                    *sum = simd::wide(
                        #[inline(always)]
                        || scalar::sum([x], |[x]| x * x),
                    );
                },
            );
            let total = scalar::sum([&sums], |[sum]| sum);
            Tensor::from_dispatch(route::dispatched(buffer::tensor(vec![total], [1])))
        }
        Err([x]) => {
            let x = Tensor::<D>::from_dispatch(x).cast(DType::F32);
            (x.clone() * x).sum()
        }
    }
}
