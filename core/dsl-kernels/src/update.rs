//! What happens to weights after the gradients are there: AdamW, moving averages, the norm of all gradients. One pass over
//! memory each, where a chain of tensor operations makes a dozen.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};
use pulp::Arch;

use crate::buffer::{self, Dense};
use crate::parallel::{self, PIECE};
use crate::route;
use crate::scalar;

/// One step of AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2), as PyTorch's `AdamW` takes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// α.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
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

/// The factors of one step, as every element meets them.
struct Factors {
    kept: f32,
    rate: f32,
    correction_1: f32,
    correction_2: f32,
}

impl AdamW {
    fn factors(&self) -> Factors {
        let step = i32::try_from(self.step).unwrap_or(i32::MAX);
        Factors {
            kept: (1.0 - self.learning_rate * self.weight_decay) as f32,
            rate: self.learning_rate as f32,
            correction_1: 1.0 - self.beta_1.powi(step),
            correction_2: 1.0 - self.beta_2.powi(step),
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
        let inputs = [weight, grad, moment_1, moment_2].map(Tensor::into_dispatch);
        match route::off_graph(inputs) {
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
        let moment_1 = moment_1 * self.beta_1 + grad.clone() * (1.0 - self.beta_1);
        let moment_2 = moment_2 * self.beta_2 + grad.square() * (1.0 - self.beta_2);
        let root = (moment_2.clone() / factors.correction_2).sqrt() + self.epsilon;
        let direction = moment_1.clone() / factors.correction_1 / root;
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
        let (beta_1, beta_2) = (self.beta_1, self.beta_2);
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
                Arch::new().dispatch(|| {
                    for j in 0..new_weight.len() {
                        let g = grad[j];
                        let m = old_1[j] * beta_1 + g * (1.0 - beta_1);
                        let v = old_2[j] * beta_2 + g * g * (1.0 - beta_2);
                        let root = (v / factors.correction_2).sqrt() + self.epsilon;
                        let direction = m / factors.correction_1 / root;
                        new_weight[j] = weight[j] * factors.kept - direction * factors.rate;
                        new_1[j] = m;
                        new_2[j] = v;
                    }
                });
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
    match route::off_graph([average.into_dispatch(), weights.into_dispatch()]) {
        Ok(inputs) => {
            let [average, weights] = inputs.map(Dense::new);
            let (a, w) = (average.values(), weights.values());
            let mut blend = buffer::zeros(a.len());
            parallel::each(parallel::pieces(&mut blend, PIECE), a.len(), |i, blend| {
                let (a, w) = (
                    &a[i * PIECE..][..blend.len()],
                    &w[i * PIECE..][..blend.len()],
                );
                Arch::new().dispatch(|| {
                    for ((blend, a), w) in blend.iter_mut().zip(a).zip(w) {
                        *blend = a * kept + w * taken;
                    }
                });
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
    match route::off_graph([x.into_dispatch()]) {
        Ok([x]) => {
            let x = Dense::new(x);
            let mut sums = vec![0.0f32; x.values().len().div_ceil(PIECE)];
            let pieces = x.values().chunks(PIECE).zip(&mut sums).collect();
            parallel::each(
                pieces,
                x.values().len(),
                |_, (x, sum): (&[f32], &mut f32)| {
                    *sum = Arch::new().dispatch(|| scalar::sum(x.len(), |i| x[i] * x[i]));
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
