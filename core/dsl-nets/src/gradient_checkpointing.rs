//! Gradient checkpointing (Chen et al. 2016): a forward pass that keeps the inputs of each block and nothing else; the
//! backward pass runs one block at a time once more, with gradients.
//!
//! It costs one more forward pass. The values are those of the pass that keeps everything, bit for bit in float32 on the
//! CPU (elsewhere up to rounding: burn computes attention in another way where no graph is kept): blocks are recomputed by
//! the same operations, and gradients of what several layers read are added in the same order. The latter is
//! what [`Passed`] and [`boundary`] are for, in either kind of pass. Gradients of SDXL's text encoders are the exception: they
//! agree up to the order of a sum.
//!
//! Nothing of this needs an operation of its own in the automatic differentiation, so that it works on every device:
//! a block's inputs become leaves of a graph of their own, and the gradient `g` of its output `y` enters that graph as
//! the loss `sum(y * g)`.

use burn::module::Module;
use burn::tensor::{Gradients, Tensor};

use crate::attention::AttentionContext;
use crate::conditioning::{CameraEstimate, Conditioning};
use crate::denoiser::Denoiser;
use crate::parameters::count_trainable;
use crate::unet_2d_condition::UNetTape;

/// The same tensor as a node of its own in the graph, where the gradients of those that read it are added up before they
/// join the others.
pub(crate) fn boundary<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let shape = tensor.dims();
    tensor.reshape(shape)
}

/// A tensor that several parts of a network read one after the other.
///
/// Where a tensor has more than two readers, the order in which automatic differentiation adds their gradients up follows
/// from the whole graph, and sums of another order have other bits. Here each reader gets a node of its own, and the rest of
/// the tensor goes on to the next: no node has more than two readers, and the sum is `first + (second + (third + ..))`.
pub(crate) struct Passed<const D: usize>(Tensor<D>);

impl<const D: usize> Passed<D> {
    pub(crate) fn new(tensor: &Tensor<D>) -> Self {
        Self(tensor.clone())
    }

    /// For the next reader.
    pub(crate) fn next(&mut self) -> Tensor<D> {
        let own = boundary(self.0.clone());
        self.0 = boundary(self.0.clone());
        own
    }
}

/// [`Passed`] for all that the layers of a block read.
pub(crate) struct PassedContext {
    encoder_hidden_states: Passed<3>,
    objects: Option<Passed<3>>,
    features: Option<Passed<4>>,
    volume: Vec<Passed<5>>,
}

impl PassedContext {
    pub(crate) fn new(context: &AttentionContext) -> Self {
        Self {
            encoder_hidden_states: Passed::new(&context.encoder_hidden_states),
            objects: context.objects.as_ref().map(Passed::new),
            features: context.features.as_ref().map(Passed::new),
            volume: context.volume.iter().map(Passed::new).collect(),
        }
    }

    /// For the next transformer.
    pub(crate) fn next(&mut self) -> AttentionContext {
        AttentionContext {
            encoder_hidden_states: self.encoder_hidden_states.next(),
            objects: self.objects.as_mut().map(Passed::next),
            features: None,
            volume: Vec::new(),
        }
    }

    /// For the next residual block.
    pub(crate) fn next_features(&mut self) -> Option<Tensor<4>> {
        self.features.as_mut().map(Passed::next)
    }

    /// For the next that looks into the volume: all levels.
    pub(crate) fn next_volume(&mut self) -> Vec<Tensor<5>> {
        self.volume.iter_mut().map(Passed::next).collect()
    }
}

/// What a checkpointed forward pass leaves for the backward pass.
pub struct Tape(UNetTape);

impl Tape {
    /// Finishes a backward pass whose loss was made of what [`Denoiser::forward_checkpointed`] gave.
    ///
    /// `gradients` are those of the loss. `collect` is called after each block with the gradients of its parameters, and
    /// in the end with those of whatever lies before the network, such as a text encoder.
    pub fn backward(&self, gradients: &Gradients, collect: &mut dyn FnMut(&mut Gradients)) {
        self.0.backward(gradients, collect);
    }
}

impl Denoiser {
    /// [`Denoiser::forward_with_camera`] without keeping what its blocks compute. `weights` is the network in training, of which
    /// `self` may be a copy in another number format; `trains_conditioning` says whether a gradient is wanted of the
    /// features that `conditioning` holds.
    ///
    /// Only UNets have blocks; another network keeps everything, and has no tape.
    ///
    /// Dropout in adapters is not repeated: masks would be drawn anew.
    pub fn forward_checkpointed(
        &self,
        weights: &Self,
        x_t: Tensor<4>,
        timestep: Tensor<1>,
        conditioning: &Conditioning,
        trains_conditioning: bool,
    ) -> (Tensor<4>, Option<CameraEstimate>, Option<Tape>) {
        let (Self::Unet(unet), Self::Unet(weights)) = (self, weights) else {
            return (self.forward(x_t, timestep, conditioning), None, None);
        };
        let (output, camera, tape) =
            unet.forward_checkpointed(weights, x_t, timestep, conditioning, trains_conditioning);
        (output, camera, Some(Tape(tape)))
    }
}

/// Whether a part of a network has parameters in training.
pub(crate) fn trains<M: Module>(module: &M) -> bool {
    count_trainable(module) > 0
}
