//! A transformer over the positions of a picture.

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use crate::attention::{AttentionContext, BasicTransformerBlock, TransformerBlockConfig};
use crate::layers::{GroupNorm, Linear, PointwiseConv};
use crate::lora::{ForEachLinear, LinearVisitor, impl_for_each_linear};
use crate::parameter_init::ParameterInit;

/// The projection into or out of a transformer: the same computation, stored in one of two ways.
#[derive(Module, Debug)]
pub enum Projection {
    /// `use_linear_projection` is false.
    PointwiseConv(PointwiseConv),
    /// `use_linear_projection` is true.
    Linear(Linear),
}

impl Projection {
    fn new(init: &ParameterInit, channels: usize, use_linear_projection: bool) -> Self {
        if use_linear_projection {
            Self::Linear(Linear::new(init, channels, channels))
        } else {
            Self::PointwiseConv(PointwiseConv::new(init, channels, channels))
        }
    }

    fn forward_from_pixels(&self, x: Tensor<4>) -> Tensor<3> {
        match self {
            Self::PointwiseConv(conv) => conv.forward_from_pixels(x),
            Self::Linear(linear) => linear.forward_from_pixels(x),
        }
    }

    fn forward_to_pixels(&self, tokens: Tensor<3>, size: [usize; 2]) -> Tensor<4> {
        match self {
            Self::PointwiseConv(conv) => conv.forward_to_pixels(tokens, size),
            Self::Linear(linear) => linear.forward_to_pixels(tokens, size),
        }
    }
}

impl ForEachLinear for Projection {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        match self {
            Self::PointwiseConv(conv) => conv.for_each_linear(path, visit),
            Self::Linear(linear) => linear.for_each_linear(path, visit),
        }
    }
}

/// Norm, projection, transformer blocks over all positions, projection, with a skip connection.
#[derive(Module, Debug)]
pub struct Transformer2D {
    /// Norm before the tokens are made; its eps is 1e-6, unlike every other group norm of the network.
    pub norm: GroupNorm,
    /// Into the transformer.
    pub proj_in: Projection,
    /// The blocks.
    pub transformer_blocks: Vec<BasicTransformerBlock>,
    /// Out of the transformer.
    pub proj_out: Projection,
}

impl_for_each_linear!(Transformer2D {
    proj_in,
    transformer_blocks,
    proj_out
});

impl Transformer2D {
    const NORM_EPS: f64 = 1e-6;

    pub(crate) fn new(
        init: &ParameterInit,
        block: &TransformerBlockConfig,
        groups: usize,
        layers: usize,
        use_linear_projection: bool,
    ) -> Self {
        let channels = block.channels;
        let blocks = init.at("transformer_blocks");
        Self {
            norm: GroupNorm::new(&init.at("norm"), groups, channels, Self::NORM_EPS),
            proj_in: Projection::new(&init.at("proj_in"), channels, use_linear_projection),
            transformer_blocks: (0..layers)
                .map(|i| BasicTransformerBlock::new(&blocks.at(i), block))
                .collect(),
            proj_out: Projection::new(&init.at("proj_out"), channels, use_linear_projection),
        }
    }

    /// # Shapes
    /// - `x`, result: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>, context: &AttentionContext) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let size = [height, width];
        let normed = self.norm.forward(x.clone());
        let mut hidden = self.proj_in.forward_from_pixels(normed);
        for block in &self.transformer_blocks {
            hidden = block.forward(hidden, size, context);
        }
        kernels::add(x, self.proj_out.forward_to_pixels(hidden, size))
    }
}
