//! Attention over tokens, the feed-forward layer, and the transformer block made of them.

use burn::module::Module;
use burn::nn::Identity;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use crate::gligen::GatedSelfAttentionDense;
use crate::layers::{LayerNorm, Linear};
use crate::lora::{ForEachLinear, LinearVisitor, impl_for_each_linear};
use crate::parameter_init::ParameterInit;
use crate::task_modules::MultiViewConfig;

/// Multi-head attention of tokens to tokens; projections of queries, keys and values have no bias.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[channels] -> [channels]`.
    pub to_q: Linear,
    /// `[context channels] -> [channels]`.
    pub to_k: Linear,
    /// `[context channels] -> [channels]`.
    pub to_v: Linear,
    /// One linear layer; a list because the reference keeps a dropout beside it.
    pub to_out: Vec<Linear>,
    #[module(skip)]
    heads: usize,
}

impl_for_each_linear!(Attention {
    to_q,
    to_k,
    to_v,
    to_out
});

impl Attention {
    pub(crate) fn new(
        init: &ParameterInit,
        channels: usize,
        context_channels: usize,
        heads: usize,
    ) -> Self {
        Self {
            to_q: Linear::without_bias(&init.at("to_q"), channels, channels),
            to_k: Linear::without_bias(&init.at("to_k"), context_channels, channels),
            to_v: Linear::without_bias(&init.at("to_v"), context_channels, channels),
            to_out: vec![Linear::new(&init.at("to_out").at(0), channels, channels)],
            heads,
        }
    }

    /// Self attention whose output starts at zero.
    pub(crate) fn with_zero_output(init: &ParameterInit, channels: usize, heads: usize) -> Self {
        let mut attention = Self::new(init, channels, channels, heads);
        let init = init.at("to_out").at(0);
        for layer in &mut attention.to_out {
            layer.weight = init.constant("weight", [channels, channels], 0.0);
            layer.bias = Some(init.constant("bias", [channels], 0.0));
        }
        attention
    }

    /// # Shapes
    /// - `x`, result: `[batch, tokens, channels]`; `context`: `[batch, context tokens, context channels]`
    pub fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let query = split_heads(self.to_q.forward(x), self.heads);
        let key = split_heads(self.to_k.forward(context.clone()), self.heads);
        let value = split_heads(self.to_v.forward(context), self.heads);
        let mut hidden = merge_heads(kernels::attention(query, key, value, None));
        for layer in &self.to_out {
            hidden = layer.forward(hidden);
        }
        hidden
    }
}

/// `[batch, tokens, channels]` to `[batch, heads, tokens, channels / heads]`.
pub(crate) fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, channels] = x.dims();
    x.reshape([batch, tokens, heads, channels / heads])
        .swap_dims(1, 2)
}

/// The inverse of [`split_heads`].
pub(crate) fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, head_size] = x.dims();
    x.swap_dims(1, 2)
        .reshape([batch, tokens, heads * head_size])
}

/// A linear layer whose output gates itself, see [`kernels::geglu`].
#[derive(Module, Debug)]
pub struct GeGlu {
    /// `[channels] -> [2 * inner]`, value half first.
    pub proj: Linear,
}

impl_for_each_linear!(GeGlu { proj });

/// GEGLU to four times the channels, and back.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// GEGLU, nothing (the reference's dropout), linear.
    pub net: (GeGlu, Identity, Linear),
}

impl FeedForward {
    pub(crate) fn new(init: &ParameterInit, channels: usize) -> Self {
        let init = init.at("net");
        let inner = channels * 4;
        let proj = Linear::new(&init.at("0.proj"), channels, inner * 2);
        Self {
            net: (
                GeGlu { proj },
                Identity::new(),
                Linear::new(&init.at(2), inner, channels),
            ),
        }
    }

    /// # Shapes
    /// - `x`, result: `[batch, tokens, channels]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.net
            .2
            .forward(kernels::geglu(self.net.0.proj.forward(x)))
    }
}

impl ForEachLinear for FeedForward {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        self.net
            .0
            .for_each_linear(&format!("{path}.net.0"), &mut *visit);
        self.net.2.for_each_linear(&format!("{path}.net.2"), visit);
    }
}

/// Self attention, cross attention, feed-forward, each behind a layer norm and with a skip connection.
#[derive(Module, Debug)]
pub struct BasicTransformerBlock {
    /// Before `attn1`.
    pub norm1: LayerNorm,
    /// Self attention.
    pub attn1: Attention,
    /// Before `attn2`.
    pub norm2: LayerNorm,
    /// Attention to `encoder_hidden_states`.
    pub attn2: Attention,
    /// Before `ff`.
    pub norm3: LayerNorm,
    /// Feed-forward.
    pub ff: FeedForward,
    /// Between `attn1` and `norm2`, in networks with gated layers for boxes (`attention_type`).
    pub fuser: Option<GatedSelfAttentionDense>,
    /// Before `attn_mv`.
    pub norm_mv: Option<LayerNorm>,
    /// Across views, right after `attn1`, in networks with `task_modules.multi_view`.
    pub attn_mv: Option<Attention>,
    #[module(skip)]
    multi_view: Option<MultiViewConfig>,
}

impl_for_each_linear!(BasicTransformerBlock {
    attn1,
    attn2,
    ff,
    fuser,
    attn_mv
});

/// Shape of a [`BasicTransformerBlock`].
#[derive(Debug, Clone)]
pub(crate) struct TransformerBlockConfig {
    pub channels: usize,
    pub cross_attention_dim: usize,
    pub heads: usize,
    /// Whether there are gated layers for boxes.
    pub gated: bool,
    /// Whether there is attention across views.
    pub multi_view: Option<MultiViewConfig>,
}

/// What the layers of a block read beside the picture and the timestep.
#[derive(Debug, Clone)]
pub struct AttentionContext {
    /// `[batch, tokens, cross_attention_dim]`.
    pub encoder_hidden_states: Tensor<3>,
    /// Tokens of boxes and what they hold, `[batch, tokens, cross_attention_dim]`; without them gated layers are skipped.
    pub objects: Option<Tensor<3>>,
    /// Features of a picture at the size of the block, `[batch, features, height, width]`, for residual blocks with spatial
    /// feature transforms.
    pub features: Option<Tensor<4>>,
    /// Features of a view volume by level, finest first, `[batch, features, depths, height, width]`; empty without one.
    pub volume: Vec<Tensor<5>>,
}

impl BasicTransformerBlock {
    pub(crate) fn new(init: &ParameterInit, config: &TransformerBlockConfig) -> Self {
        let &TransformerBlockConfig {
            channels,
            cross_attention_dim,
            heads,
            gated,
            ref multi_view,
        } = config;
        Self {
            norm1: LayerNorm::new(&init.at("norm1"), channels),
            attn1: Attention::new(&init.at("attn1"), channels, channels, heads),
            norm2: LayerNorm::new(&init.at("norm2"), channels),
            attn2: Attention::new(&init.at("attn2"), channels, cross_attention_dim, heads),
            norm3: LayerNorm::new(&init.at("norm3"), channels),
            ff: FeedForward::new(&init.at("ff"), channels),
            fuser: gated.then(|| {
                let init = init.at("fuser");
                GatedSelfAttentionDense::new(&init, channels, cross_attention_dim, heads)
            }),
            norm_mv: multi_view
                .as_ref()
                .map(|_| LayerNorm::new(&init.at("norm_mv"), channels)),
            attn_mv: multi_view
                .as_ref()
                .map(|_| Attention::with_zero_output(&init.at("attn_mv"), channels, heads)),
            multi_view: multi_view.clone(),
        }
    }

    /// # Shapes
    /// - `x`, result: `[batch, height * width, channels]`; `size`: height and width
    pub fn forward(&self, x: Tensor<3>, size: [usize; 2], context: &AttentionContext) -> Tensor<3> {
        let normed = self.norm1.forward(x.clone());
        let mut x = match &self.multi_view {
            Some(multi_view) => kernels::add(x, multi_view.within_views(&self.attn1, normed)),
            None => kernels::add(x, self.attn1.forward(normed.clone(), normed)),
        };
        if let (Some(multi_view), Some(norm), Some(attn)) =
            (&self.multi_view, &self.norm_mv, &self.attn_mv)
        {
            let normed = norm.forward(x.clone());
            x = kernels::add(x, multi_view.across_views(attn, normed, size));
        }
        if let (Some(fuser), Some(objects)) = (&self.fuser, &context.objects) {
            x = fuser.forward(x, objects);
        }
        let normed = self.norm2.forward(x.clone());
        let text = context.encoder_hidden_states.clone();
        let x = kernels::add(x, self.attn2.forward(normed, text));
        let normed = self.norm3.forward(x.clone());
        kernels::add(x, self.ff.forward(normed))
    }
}
