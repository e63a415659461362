//! Which implementation an operation runs on, and how ours take part in burn's automatic differentiation.

use std::fmt::Debug;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind, Flex,
    TensorMetadata,
};
use burn::tensor::DType;

/// A float tensor of the CPU backend with its place in an autodiff graph.
type Tracked = FloatTensor<Autodiff<Flex>>;

/// An operation of `N` inputs on the CPU backend in float32, with its own backward pass.
pub(crate) trait CpuOperation<const N: usize>: Debug + Clone + Send + 'static {
    /// What the backward pass needs beside the gradient of the output.
    type Saved: Debug + Clone + Send + 'static;

    /// The output, and what the backward pass needs for the gradients of those inputs that will be `wanted`.
    fn forward(&self, inputs: [FlexTensor; N], wanted: [bool; N]) -> (FlexTensor, Self::Saved);

    /// The gradients of those inputs that are `wanted`. What costs a pass of its own is not computed for the others.
    fn backward(
        &self,
        saved: Self::Saved,
        grad: FlexTensor,
        wanted: [bool; N],
    ) -> [Option<FlexTensor>; N];
}

/// Runs `operation` where all inputs are float32 tensors of the CPU backend; gives the inputs back where they are not.
pub(crate) fn run<const N: usize, O: CpuOperation<N>>(
    operation: O,
    inputs: [DispatchTensor; N],
) -> Result<DispatchTensor, [DispatchTensor; N]> {
    if !inputs.iter().all(is_ours) {
        return Err(inputs);
    }
    let context = inputs.iter().map(|input| input.autodiff).fold(
        DispatchAutodiffContext::Disabled,
        DispatchAutodiffContext::merge,
    );
    let kind = match context {
        DispatchAutodiffContext::Disabled => {
            let (output, _) = operation.forward(inputs.map(into_plain), [false; N]);
            flex(BackendTensor::Float(output))
        }
        DispatchAutodiffContext::Enabled(_) => {
            let output = run_tracked(operation, inputs.map(into_tracked));
            DispatchTensorKind::Autodiff(Box::new(flex(BackendTensor::Autodiff(output))))
        }
    };
    Ok(DispatchTensor {
        kind,
        autodiff: context,
    })
}

/// [`run`], for inputs that `fit` each other; else they come back, for burn to report the mistake.
pub(crate) fn run_if<const N: usize, O: CpuOperation<N>>(
    fit: bool,
    operation: O,
    inputs: [DispatchTensor; N],
) -> Result<DispatchTensor, [DispatchTensor; N]> {
    if fit {
        run(operation, inputs)
    } else {
        Err(inputs)
    }
}

/// The values of a float32 tensor of the CPU backend, off any graph.
pub(crate) fn plain(tensor: DispatchTensor) -> Option<FlexTensor> {
    is_ours(&tensor).then(|| into_plain(tensor))
}

/// Whether this is a float32 tensor of the CPU backend off any graph.
pub(crate) fn is_off_graph(tensor: &DispatchTensor) -> bool {
    is_ours(tensor) && tensor.autodiff == DispatchAutodiffContext::Disabled
}

/// The values of float32 tensors of the CPU backend that are off any graph; gives them back where one is not, or where
/// they do not `fit`.
pub(crate) fn off_graph_if<const N: usize>(
    fit: bool,
    inputs: [DispatchTensor; N],
) -> Result<[FlexTensor; N], [DispatchTensor; N]> {
    if fit && inputs.iter().all(is_off_graph) {
        Ok(inputs.map(into_plain))
    } else {
        Err(inputs)
    }
}

/// A result that is off any graph.
pub(crate) fn dispatched(tensor: FlexTensor) -> DispatchTensor {
    DispatchTensor {
        kind: flex(BackendTensor::Float(tensor)),
        autodiff: DispatchAutodiffContext::Disabled,
    }
}

fn flex(tensor: BackendTensor<Flex>) -> DispatchTensorKind {
    DispatchTensorKind::Flex(tensor)
}

// Without further backends in the build, the catch-all arms cannot be reached.
#[allow(unreachable_patterns)]
fn is_ours(tensor: &DispatchTensor) -> bool {
    let float = match &tensor.kind {
        DispatchTensorKind::Flex(BackendTensor::Float(_)) => true,
        DispatchTensorKind::Autodiff(inner) => {
            matches!(
                **inner,
                DispatchTensorKind::Flex(BackendTensor::Autodiff(_))
            )
        }
        _ => false,
    };
    float && tensor.kind.dtype() == DType::F32
}

#[allow(unreachable_patterns)]
fn into_plain(tensor: DispatchTensor) -> FlexTensor {
    match tensor.kind {
        DispatchTensorKind::Flex(tensor) => tensor.float(),
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Flex(tensor) => tensor.autodiff_inner(),
            _ => unreachable!("checked by is_ours"),
        },
        _ => unreachable!("checked by is_ours"),
    }
}

#[allow(unreachable_patterns)]
fn into_tracked(tensor: DispatchTensor) -> Tracked {
    match tensor.kind {
        // A tensor off the graph is a constant of it.
        DispatchTensorKind::Flex(tensor) => Tracked::new(tensor.float()),
        DispatchTensorKind::Autodiff(inner) => match *inner {
            DispatchTensorKind::Flex(tensor) => tensor.autodiff(),
            _ => unreachable!("checked by is_ours"),
        },
        _ => unreachable!("checked by is_ours"),
    }
}

fn run_tracked<const N: usize, O: CpuOperation<N>>(operation: O, inputs: [Tracked; N]) -> Tracked {
    let tracked = inputs.each_ref().map(Tracked::is_tracked);
    let guards = inputs.each_ref().map(Tracked::node);
    let (output, saved) = operation.forward(inputs.map(Tracked::into_primitive), tracked);
    if tracked == [false; N] {
        return Tracked::new(output);
    }
    let prepared = Step(operation)
        .prepare::<NoCheckpointing>(guards)
        .compute_bound()
        .stateful();
    match prepared {
        OpsKind::Tracked(prepared) => prepared.finish(saved, output),
        OpsKind::UnTracked(prepared) => prepared.finish(output),
    }
}

/// An operation as a step of burn's backward pass.
#[derive(Debug)]
struct Step<O>(O);

impl<const N: usize, O: CpuOperation<N>> Backward<Flex, N> for Step<O> {
    type State = O::Saved;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<Flex>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let gradients = self.0.backward(ops.state, grad, wanted);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}
