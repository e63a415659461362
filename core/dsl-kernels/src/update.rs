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

    fn apply_here(&self, inputs: [FlexTensor; 4]) -> [FlexTensor; 3] {
        let [weight, grad, moment_1, moment_2] = inputs.map(Dense::new);
        let shape = weight.shape().clone();
        let count = weight.values().len();
        let mut outputs = [(); 3].map(|()| buffer::zeros(count));
        let [new_weight, new_1, new_2] = &mut outputs;
        let pieces = parallel::pieces(new_weight, PIECE)
            .into_iter()
            .zip(parallel::pieces(new_1, PIECE))
            .zip(parallel::pieces(new_2, PIECE))
            .collect();
        let factors = self.factors();
        type Piece<'a> = ((&'a mut [f32], &'a mut [f32]), &'a mut [f32]);
        parallel::each(
            pieces,
            count * 3,
            |i, ((new_weight, new_1), new_2): Piece<'_>| {
                let range = i * PIECE..i * PIECE + new_weight.len();
                let (weight, grad) = (
                    &weight.values()[range.clone()],
                    &grad.values()[range.clone()],
                );
                let (old_1, old_2) = (&moment_1.values()[range.clone()], &moment_2.values()[range]);
                simd::wide(
                    #[inline(always)]
                    || {
                        for j in 0..new_weight.len() {
                            let g = grad[j];
                            let m = old_1[j] * factors.betas[0] + g * factors.taken[0];
                            let v = old_2[j] * factors.betas[1] + g * g * factors.taken[1];
                            let root = (v / factors.corrections[1]).sqrt() + factors.epsilon;
                            let direction = m / factors.corrections[0] / root;
                            new_weight[j] = weight[j] * factors.kept - direction * factors.rate;
                            new_1[j] = m;
                            new_2[j] = v;
                        }
                    },
                );
            },
        );
        outputs.map(|values| buffer::tensor(values, shape.clone()))
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
            let [average, weights] = inputs.map(Dense::new);
            let (a, w) = (average.values(), weights.values());
            let mut blend = buffer::zeros(a.len());
            parallel::each(parallel::pieces(&mut blend, PIECE), a.len(), |i, blend| {
                let (a, w) = (
                    &a[i * PIECE..][..blend.len()],
                    &w[i * PIECE..][..blend.len()],
                );
                simd::wide(
                    #[inline(always)]
                    || {
                        for ((blend, a), w) in blend.iter_mut().zip(a).zip(w) {
                            *blend = a * kept + w * taken;
                        }
                    },
                );
            });
            Tensor::from_dispatch(route::dispatched(buffer::tensor(
                blend,
                average.shape().clone(),
            )))
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
                        || scalar::sum(x.len(), |i| x[i] * x[i]),
                    );
                },
            );
            let total = scalar::sum(sums.len(), |i| sums[i]);
            Tensor::from_dispatch(route::dispatched(buffer::tensor(vec![total], [1])))
        }
        Err([x]) => {
            let x = Tensor::<D>::from_dispatch(x).cast(DType::F32);
            (x.clone() * x).sum()
        }
    }
}
