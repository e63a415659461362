//! The stack of layers that both towers have: pre-norm attention and feed-forward.

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attention::{merge_heads, split_heads};
use crate::layers::{LayerNorm, Linear};
use crate::lora::{ForEachLinear, LinearVisitor, impl_for_each_linear};
use crate::parameter_init::ParameterInit;

/// Between the two layers of a feed-forward layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClipActivation {
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// The exact (erf) GELU.
    Gelu,
}

impl ClipActivation {
    fn forward(self, x: Tensor<3>) -> Tensor<3> {
        const QUICK: f64 = 1.702;
        match self {
            // silu(a x) / a, in one pass over the large tensor instead of two.
            Self::QuickGelu => kernels::silu(x * QUICK) / QUICK,
            Self::Gelu => kernels::gelu(x),
        }
    }
}

/// Shape of a stack of layers.
#[derive(Debug, Clone)]
pub(super) struct EncoderConfig {
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub heads: usize,
    pub activation: ClipActivation,
    pub layer_norm_eps: f64,
}

/// Multi-head self attention with biases.
#[derive(Module, Debug)]
pub struct ClipAttention {
    /// Keys.
    pub k_proj: Linear,
    /// Values.
    pub v_proj: Linear,
    /// Queries.
    pub q_proj: Linear,
    /// Output.
    pub out_proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl_for_each_linear!(ClipAttention {
    k_proj,
    v_proj,
    q_proj,
    out_proj
});

impl ClipAttention {
    fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let query = split_heads(self.q_proj.forward(x.clone()), self.heads);
        let key = split_heads(self.k_proj.forward(x.clone()), self.heads);
        let value = split_heads(self.v_proj.forward(x), self.heads);
        self.out_proj
            .forward(merge_heads(kernels::attention(query, key, value, bias)))
    }
}

/// Linear, activation, linear.
#[derive(Module, Debug)]
pub struct ClipMlp {
    /// Into the inner features.
    pub fc1: Linear,
    /// Back.
    pub fc2: Linear,
    #[module(skip)]
    activation: ClipActivation,
}

impl_for_each_linear!(ClipMlp { fc1, fc2 });

/// Attention and feed-forward, each behind a norm and with a skip connection.
#[derive(Module, Debug)]
pub struct ClipEncoderLayer {
    /// Attention.
    pub self_attn: ClipAttention,
    /// Before attention.
    pub layer_norm1: LayerNorm,
    /// Feed-forward.
    pub mlp: ClipMlp,
    /// Before feed-forward.
    pub layer_norm2: LayerNorm,
}

impl_for_each_linear!(ClipEncoderLayer { self_attn, mlp });

impl ClipEncoderLayer {
    fn new(init: &ParameterInit, config: &EncoderConfig) -> Self {
        let (attn, mlp) = (init.at("self_attn"), init.at("mlp"));
        let (features, inner) = (config.hidden_size, config.intermediate_size);
        let projection = |name: &str| Linear::new(&attn.at(name), features, features);
        let norm =
            |name: &str| LayerNorm::with_eps(&init.at(name), features, config.layer_norm_eps);
        Self {
            self_attn: ClipAttention {
                k_proj: projection("k_proj"),
                v_proj: projection("v_proj"),
                q_proj: projection("q_proj"),
                out_proj: projection("out_proj"),
                heads: config.heads,
            },
            layer_norm1: norm("layer_norm1"),
            mlp: ClipMlp {
                fc1: Linear::new(&mlp.at("fc1"), features, inner),
                fc2: Linear::new(&mlp.at("fc2"), inner, features),
                activation: config.activation,
            },
            layer_norm2: norm("layer_norm2"),
        }
    }

    fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let attended = self
            .self_attn
            .forward(self.layer_norm1.forward(x.clone()), bias);
        let x = x + attended;
        let inner = self.mlp.fc1.forward(self.layer_norm2.forward(x.clone()));
        x + self.mlp.fc2.forward(self.mlp.activation.forward(inner))
    }
}

/// The stack of layers.
#[derive(Module, Debug)]
pub struct ClipEncoder {
    /// First to last.
    pub layers: Vec<ClipEncoderLayer>,
}

impl ClipEncoder {
    pub(super) fn new(init: &ParameterInit, config: &EncoderConfig) -> Self {
        let init = init.at("layers");
        Self {
            layers: (0..config.layers)
                .map(|i| ClipEncoderLayer::new(&init.at(i), config))
                .collect(),
        }
    }

    /// The states before the first layer and after each one.
    ///
    /// # Shapes
    /// - `x`, results: `[batch, tokens, hidden_size]`; `bias`, added to the scores: `[1 or batch, 1, tokens, tokens]`
    pub(super) fn forward(&self, x: Tensor<3>, bias: Option<&Tensor<4>>) -> Vec<Tensor<3>> {
        let mut states = vec![x.clone()];
        let mut x = x;
        for layer in &self.layers {
            x = layer.forward(x, bias.cloned());
            states.push(x.clone());
        }
        states
    }
}

impl ForEachLinear for ClipEncoder {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        self.layers
            .for_each_linear(&format!("{path}.layers"), visit);
    }
}
