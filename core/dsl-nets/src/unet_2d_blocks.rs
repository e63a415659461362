//! The blocks of the UNet's down path, middle and up path.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::attention::{AttentionContext, TransformerBlockConfig};
use crate::gradient_checkpointing::{Passed, PassedContext};
use crate::lora::{ForEachLinear, LinearVisitor, impl_for_each_linear};
use crate::parameter_init::ParameterInit;
use crate::resnet::{Downsample2D, ResnetBlock2D, Upsample2D};
use crate::task_modules::{DepthAttention, DepthAttentionShape, MultiViewConfig, SftShape};
use crate::transformer_2d::Transformer2D;
use crate::unet_2d_condition::{DownBlockType, UpBlockType};

/// What the parts of one block have in common.
#[derive(Debug, Clone)]
pub(crate) struct BlockConfig {
    pub time_embed_dim: usize,
    pub layers: usize,
    pub groups: usize,
    pub norm_eps: f64,
    pub heads: usize,
    pub cross_attention_dim: usize,
    pub transformer_layers: usize,
    pub use_linear_projection: bool,
    pub gated: bool,
    pub sft: Option<SftShape>,
    pub multi_view: Option<MultiViewConfig>,
    pub depth_attention: Option<DepthAttentionShape>,
}

impl BlockConfig {
    fn resnet(&self, init: &ParameterInit, channels: [usize; 2]) -> ResnetBlock2D {
        let block = ResnetBlock2D::new(
            init,
            channels,
            Some(self.time_embed_dim),
            self.groups,
            self.norm_eps,
        );
        match self.sft {
            Some(shape) => block.with_sft(init, shape),
            None => block,
        }
    }

    fn attention(&self, init: &ParameterInit, channels: usize) -> Transformer2D {
        let block = TransformerBlockConfig {
            channels,
            cross_attention_dim: self.cross_attention_dim,
            heads: self.heads,
            gated: self.gated,
            multi_view: self.multi_view.clone(),
        };
        Transformer2D::new(
            init,
            &block,
            self.groups,
            self.transformer_layers,
            self.use_linear_projection,
        )
    }

    fn attentions(&self, init: &ParameterInit, channels: usize) -> Vec<Transformer2D> {
        let init = init.at("attentions");
        (0..self.layers)
            .map(|i| self.attention(&init.at(i), channels))
            .collect()
    }

    /// One for each layer, in a network with a view volume.
    fn depth_attentions(
        &self,
        init: &ParameterInit,
        layers: usize,
        channels: usize,
    ) -> Vec<DepthAttention> {
        let init = init.at("depth_attentions");
        let shapes = self
            .depth_attention
            .iter()
            .cycle()
            .take(self.depth_attention.map_or(0, |_| layers));
        shapes
            .enumerate()
            .map(|(i, shape)| DepthAttention::new(&init.at(i), *shape, channels))
            .collect()
    }

    fn down_resnets(&self, init: &ParameterInit, [from, to]: [usize; 2]) -> Vec<ResnetBlock2D> {
        let init = init.at("resnets");
        (0..self.layers)
            .map(|i| self.resnet(&init.at(i), [if i == 0 { from } else { to }, to]))
            .collect()
    }

    /// `previous` channels come from below, `skip` ones from the last skip connection, `to` ones from the others.
    fn up_resnets(
        &self,
        init: &ParameterInit,
        [previous, skip, to]: [usize; 3],
    ) -> Vec<ResnetBlock2D> {
        let init = init.at("resnets");
        let last = self.layers - 1;
        (0..self.layers)
            .map(|i| {
                let from = if i == 0 { previous } else { to } + if i == last { skip } else { to };
                self.resnet(&init.at(i), [from, to])
            })
            .collect()
    }
}

fn downsamplers(init: &ParameterInit, channels: usize, wanted: bool) -> Vec<Downsample2D> {
    wanted
        .then(|| Downsample2D::new(&init.at("downsamplers.0"), channels))
        .into_iter()
        .collect()
}

fn upsamplers(init: &ParameterInit, channels: usize, wanted: bool) -> Vec<Upsample2D> {
    wanted
        .then(|| Upsample2D::new(&init.at("upsamplers.0"), channels))
        .into_iter()
        .collect()
}

/// Residual blocks with a transformer after each, then half the size.
#[derive(Module, Debug)]
pub struct CrossAttnDownBlock2D {
    /// One per layer.
    pub resnets: Vec<ResnetBlock2D>,
    /// One per layer.
    pub attentions: Vec<Transformer2D>,
    /// One, or none in the last block.
    pub downsamplers: Vec<Downsample2D>,
}

impl_for_each_linear!(CrossAttnDownBlock2D {
    resnets,
    attentions,
    downsamplers
});

/// Residual blocks, then half the size.
#[derive(Module, Debug)]
pub struct DownBlock2D {
    /// One per layer.
    pub resnets: Vec<ResnetBlock2D>,
    /// One, or none in the last block.
    pub downsamplers: Vec<Downsample2D>,
}

impl_for_each_linear!(DownBlock2D {
    resnets,
    downsamplers
});

/// A block of the down path.
#[derive(Module, Debug)]
pub enum DownBlock {
    /// With transformers.
    CrossAttnDownBlock2D(CrossAttnDownBlock2D),
    /// Without.
    DownBlock2D(DownBlock2D),
}

impl DownBlock {
    pub(crate) fn new(
        init: &ParameterInit,
        kind: DownBlockType,
        config: &BlockConfig,
        [from, to]: [usize; 2],
        halve: bool,
    ) -> Self {
        let resnets = config.down_resnets(init, [from, to]);
        let downsamplers = downsamplers(init, to, halve);
        match kind {
            DownBlockType::CrossAttnDownBlock2D => {
                let attentions = config.attentions(init, to);
                Self::CrossAttnDownBlock2D(CrossAttnDownBlock2D {
                    resnets,
                    attentions,
                    downsamplers,
                })
            }
            DownBlockType::DownBlock2D => Self::DownBlock2D(DownBlock2D {
                resnets,
                downsamplers,
            }),
        }
    }

    /// Pushes the output of every layer and of the halving onto `skips`.
    ///
    /// # Shapes
    /// - `x`: `[batch, from, height, width]`; `temb`: `[batch, time_embed_dim]`, activated
    pub fn forward(
        &self,
        mut x: Tensor<4>,
        temb: &Tensor<2>,
        context: &AttentionContext,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        let (mut temb, mut context) = (Passed::new(temb), PassedContext::new(context));
        let downsamplers = match self {
            Self::CrossAttnDownBlock2D(block) => {
                for (resnet, attention) in block.resnets.iter().zip(&block.attentions) {
                    x = resnet.forward_with(x, &temb.next(), context.next_features());
                    x = attention.forward(x, &context.next());
                    skips.push(x.clone());
                }
                &block.downsamplers
            }
            Self::DownBlock2D(block) => {
                for resnet in &block.resnets {
                    x = resnet.forward_with(x, &temb.next(), context.next_features());
                    skips.push(x.clone());
                }
                &block.downsamplers
            }
        };
        for downsampler in downsamplers {
            x = downsampler.forward(x);
            skips.push(x.clone());
        }
        x
    }
}

impl DownBlock {
    /// Whether it reads text.
    pub(crate) fn attends(&self) -> bool {
        matches!(self, Self::CrossAttnDownBlock2D(_))
    }

    /// Skip connections that a forward pass adds.
    pub(crate) fn skips(&self) -> usize {
        match self {
            Self::CrossAttnDownBlock2D(block) => block.resnets.len() + block.downsamplers.len(),
            Self::DownBlock2D(block) => block.resnets.len() + block.downsamplers.len(),
        }
    }
}

impl ForEachLinear for DownBlock {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        match self {
            Self::CrossAttnDownBlock2D(block) => block.for_each_linear(path, visit),
            Self::DownBlock2D(block) => block.for_each_linear(path, visit),
        }
    }
}

/// Residual block, transformer, residual block.
#[derive(Module, Debug)]
pub struct UNetMidBlock2DCrossAttn {
    /// Two.
    pub resnets: Vec<ResnetBlock2D>,
    /// One.
    pub attentions: Vec<Transformer2D>,
    /// One after everything else, in networks with a view volume.
    pub depth_attentions: Vec<DepthAttention>,
}

impl_for_each_linear!(UNetMidBlock2DCrossAttn {
    resnets,
    attentions,
    depth_attentions
});

impl UNetMidBlock2DCrossAttn {
    pub(crate) fn new(init: &ParameterInit, config: &BlockConfig, channels: usize) -> Self {
        let resnets = init.at("resnets");
        Self {
            resnets: (0..2)
                .map(|i| config.resnet(&resnets.at(i), [channels, channels]))
                .collect(),
            attentions: vec![config.attention(&init.at("attentions.0"), channels)],
            depth_attentions: config.depth_attentions(init, 1, channels),
        }
    }

    /// # Shapes
    /// - `x`, result: `[batch, channels, height, width]`; `temb`: `[batch, time_embed_dim]`, activated
    pub fn forward(&self, x: Tensor<4>, temb: &Tensor<2>, context: &AttentionContext) -> Tensor<4> {
        let (mut temb, mut context) = (Passed::new(temb), PassedContext::new(context));
        let (first, rest) = self
            .resnets
            .split_first()
            .expect("the middle is built with two residual blocks");
        let mut x = first.forward_with(x, &temb.next(), context.next_features());
        for (attention, resnet) in self.attentions.iter().zip(rest) {
            x = attention.forward(x, &context.next());
            x = resnet.forward_with(x, &temb.next(), context.next_features());
        }
        for attention in &self.depth_attentions {
            x = attention.forward(x, &context.next_volume());
        }
        x
    }
}

/// Residual blocks over skip connections with a transformer after each, then twice the size.
#[derive(Module, Debug)]
pub struct CrossAttnUpBlock2D {
    /// One per layer.
    pub resnets: Vec<ResnetBlock2D>,
    /// One per layer.
    pub attentions: Vec<Transformer2D>,
    /// One, or none in the last block.
    pub upsamplers: Vec<Upsample2D>,
    /// One after each layer, in networks with a view volume; none in the first block of the up path.
    pub depth_attentions: Vec<DepthAttention>,
}

impl_for_each_linear!(CrossAttnUpBlock2D {
    resnets,
    attentions,
    upsamplers,
    depth_attentions
});

/// Residual blocks over skip connections, then twice the size.
#[derive(Module, Debug)]
pub struct UpBlock2D {
    /// One per layer.
    pub resnets: Vec<ResnetBlock2D>,
    /// One, or none in the last block.
    pub upsamplers: Vec<Upsample2D>,
    /// One after each layer, in networks with a view volume; none in the first block of the up path.
    pub depth_attentions: Vec<DepthAttention>,
}

impl_for_each_linear!(UpBlock2D {
    resnets,
    upsamplers,
    depth_attentions
});

/// A block of the up path.
#[derive(Module, Debug)]
pub enum UpBlock {
    /// With transformers.
    CrossAttnUpBlock2D(CrossAttnUpBlock2D),
    /// Without.
    UpBlock2D(UpBlock2D),
}

impl UpBlock {
    pub(crate) fn new(
        init: &ParameterInit,
        kind: UpBlockType,
        config: &BlockConfig,
        channels: [usize; 3],
        double: bool,
    ) -> Self {
        let [_, _, to] = channels;
        let resnets = config.up_resnets(init, channels);
        let upsamplers = upsamplers(init, to, double);
        let depth_attentions = config.depth_attentions(init, resnets.len(), to);
        match kind {
            UpBlockType::CrossAttnUpBlock2D => {
                let attentions = config.attentions(init, to);
                Self::CrossAttnUpBlock2D(CrossAttnUpBlock2D {
                    resnets,
                    attentions,
                    upsamplers,
                    depth_attentions,
                })
            }
            UpBlockType::UpBlock2D => Self::UpBlock2D(UpBlock2D {
                resnets,
                upsamplers,
                depth_attentions,
            }),
        }
    }

    /// Takes one skip connection per layer from the end of `skips`, and resizes to the size of the one after them.
    ///
    /// # Shapes
    /// - `x`: `[batch, previous, height, width]`; `temb`: `[batch, time_embed_dim]`, activated
    pub fn forward(
        &self,
        mut x: Tensor<4>,
        temb: &Tensor<2>,
        context: &AttentionContext,
        skips: &mut Vec<Tensor<4>>,
    ) -> Tensor<4> {
        let (mut temb, mut context) = (Passed::new(temb), PassedContext::new(context));
        let mut join = |x: Tensor<4>| {
            let skip = skips
                .pop()
                .expect("the down path leaves one skip connection per layer of the up path");
            Tensor::cat(vec![x, skip], 1)
        };
        let upsamplers = match self {
            Self::CrossAttnUpBlock2D(block) => {
                let layers = block.resnets.iter().zip(&block.attentions);
                for (layer, (resnet, attention)) in layers.enumerate() {
                    x = resnet.forward_with(join(x), &temb.next(), context.next_features());
                    x = attention.forward(x, &context.next());
                    x = look(x, block.depth_attentions.get(layer), &mut context);
                }
                &block.upsamplers
            }
            Self::UpBlock2D(block) => {
                for (layer, resnet) in block.resnets.iter().enumerate() {
                    x = resnet.forward_with(join(x), &temb.next(), context.next_features());
                    x = look(x, block.depth_attentions.get(layer), &mut context);
                }
                &block.upsamplers
            }
        };
        for upsampler in upsamplers {
            // Twice the size, except where the down path had rounded an odd size up.
            let [_, _, height, width] = skips
                .last()
                .map_or_else(|| x.dims().map(|n| n * 2), Tensor::dims);
            x = upsampler.forward(x, [height, width]);
        }
        x
    }
}

impl UpBlock {
    /// Skip connections that a forward pass takes.
    pub(crate) fn skips(&self) -> usize {
        match self {
            Self::CrossAttnUpBlock2D(block) => block.resnets.len(),
            Self::UpBlock2D(block) => block.resnets.len(),
        }
    }
}

/// `x` after it has looked into the volume, in blocks that do.
fn look(
    x: Tensor<4>,
    attention: Option<&DepthAttention>,
    context: &mut PassedContext,
) -> Tensor<4> {
    match attention {
        Some(attention) => attention.forward(x, &context.next_volume()),
        None => x,
    }
}

impl ForEachLinear for UpBlock {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        match self {
            Self::CrossAttnUpBlock2D(block) => block.for_each_linear(path, visit),
            Self::UpBlock2D(block) => block.for_each_linear(path, visit),
        }
    }
}
