//! Layers with a weight and perhaps a bias: what they keep for the backward pass, and which gradients they compute.

use std::fmt::Debug;

use burn::backend::DispatchTensor;
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use crate::buffer::Dense;
use crate::route::{self, CpuOperation};

/// A linear map of the input by the weight, plus a bias per output channel.
pub(crate) trait Layer: Debug + Clone + Send + 'static {
    /// The weight as the layer reads it.
    type Weight: Debug + Clone + Send + 'static;

    fn weight(&self, tensor: FlexTensor) -> Self::Weight;

    fn output(&self, x: &Dense, weight: &Self::Weight, bias: Option<&Dense>) -> FlexTensor;

    fn input_gradient(&self, weight: &Self::Weight, grad: &Dense) -> FlexTensor;

    fn weight_gradient(&self, x: &Dense, weight: &Self::Weight, grad: &Dense) -> FlexTensor;

    fn bias_gradient(&self, grad: &Dense) -> FlexTensor;
}

/// Runs a layer here, or `composed` where the inputs are not tensors of the CPU backend in float32.
pub(crate) fn run<L: Layer, const D: usize, const W: usize, const E: usize>(
    layer: L,
    x: Tensor<D>,
    weight: Tensor<W>,
    bias: Option<Tensor<1>>,
    composed: impl FnOnce(Tensor<D>, Tensor<W>, Option<Tensor<1>>) -> Tensor<E>,
) -> Tensor<E> {
    let operation = Operation(layer);
    let [x, weight] = [x.into_dispatch(), weight.into_dispatch()];
    let outcome = match bias {
        Some(bias) => route::run(operation, [x, weight, bias.into_dispatch()])
            .map_err(|[x, weight, bias]| ([x, weight], Some(bias))),
        None => route::run(operation, [x, weight]).map_err(|inputs| (inputs, None)),
    };
    match outcome {
        Ok(y) => Tensor::from_dispatch(y),
        Err(([x, weight], bias)) => {
            let bias = bias.map(|bias: DispatchTensor| Tensor::from_dispatch(bias));
            composed(
                Tensor::from_dispatch(x),
                Tensor::from_dispatch(weight),
                bias,
            )
        }
    }
}

#[derive(Debug, Clone)]
struct Operation<L>(L);

/// The input is kept for the weight's gradient alone: frozen layers keep none.
#[derive(Debug, Clone)]
struct Saved<W> {
    x: Option<Dense>,
    weight: W,
}

impl<L: Layer> Operation<L> {
    fn output(
        &self,
        [x, weight]: [FlexTensor; 2],
        bias: Option<FlexTensor>,
        for_weight: bool,
    ) -> (FlexTensor, Saved<L::Weight>) {
        let (x, weight) = (Dense::new(x), self.0.weight(weight));
        let y = self.0.output(&x, &weight, bias.map(Dense::new).as_ref());
        let x = for_weight.then_some(x);
        (y, Saved { x, weight })
    }

    fn gradients(
        &self,
        Saved { x, weight }: Saved<L::Weight>,
        grad: &Dense,
        [of_x, of_weight]: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let x = x.filter(|_| of_weight);
        [
            of_x.then(|| self.0.input_gradient(&weight, grad)),
            x.map(|x| self.0.weight_gradient(&x, &weight, grad)),
        ]
    }
}

impl<L: Layer> CpuOperation<2> for Operation<L> {
    type Saved = Saved<L::Weight>;

    fn forward(&self, inputs: [FlexTensor; 2], wanted: [bool; 2]) -> (FlexTensor, Self::Saved) {
        self.output(inputs, None, wanted[1])
    }

    fn backward(
        &self,
        saved: Self::Saved,
        grad: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        self.gradients(saved, &Dense::new(grad), wanted)
    }
}

impl<L: Layer> CpuOperation<3> for Operation<L> {
    type Saved = Saved<L::Weight>;

    fn forward(
        &self,
        [x, weight, bias]: [FlexTensor; 3],
        wanted: [bool; 3],
    ) -> (FlexTensor, Self::Saved) {
        self.output([x, weight], Some(bias), wanted[1])
    }

    fn backward(
        &self,
        saved: Self::Saved,
        grad: FlexTensor,
        [of_x, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let grad = Dense::new(grad);
        let [x, weight] = self.gradients(saved, &grad, [of_x, of_weight]);
        [x, weight, of_bias.then(|| self.0.bias_gradient(&grad))]
    }
}
