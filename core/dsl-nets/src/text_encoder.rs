//! A small text encoder that is trained along with the denoiser.
//!
//! The layout and the key names are those of transformers' `CLIPTextModel` (pre-norm transformer, final norm), with two
//! differences that suit short captions: tokens attend in both directions, and the activation is the exact GELU. Padding is not
//! masked: the pad token is a token like any other, as in Stable Diffusion.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use dsl_kernels as kernels;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attention::{merge_heads, split_heads};
use crate::error::NetsError;
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::learned_tokens::{LearnedTokens, look_up};
use crate::parameter_init::ParameterInit;

/// Shape of a [`TextEncoder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextEncoderConfig {
    /// Number of tokens the tokenizer knows.
    pub vocab_size: usize,
    /// Features of each token; the denoiser's `cross_attention_dim`.
    pub hidden_size: usize,
    /// Number of layers; 0 leaves embeddings and the final norm.
    pub num_hidden_layers: usize,
    /// Heads of each attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Inner features of each feed-forward layer.
    pub intermediate_size: usize,
    /// Longest text, in tokens.
    pub max_position_embeddings: usize,
}

impl Default for TextEncoderConfig {
    fn default() -> Self {
        Self {
            vocab_size: 2048,
            hidden_size: 96,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            intermediate_size: 192,
            max_position_embeddings: 16,
        }
    }
}

impl TextEncoderConfig {
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a size of 0, or heads that do not divide the features.
    pub fn validate(&self) -> Result<(), NetsError> {
        for (field, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 {
                return Err(NetsError::config(field, value, "it must be at least 1"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let reason = format!("it must divide hidden_size = {}", self.hidden_size);
            return Err(NetsError::config(
                "num_attention_heads",
                self.num_attention_heads,
                reason,
            ));
        }
        Ok(())
    }
}

/// Token and position tables.
#[derive(Module, Debug)]
pub struct TextEmbeddings {
    /// One vector per token.
    pub token_embedding: Embedding,
    /// One vector per position.
    pub position_embedding: Embedding,
}

/// Self attention with biases, as CLIP has it.
#[derive(Module, Debug)]
pub struct TextAttention {
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

/// Linear, GELU, linear.
#[derive(Module, Debug)]
pub struct TextMlp {
    /// Into the inner features.
    pub fc1: Linear,
    /// Back.
    pub fc2: Linear,
}

/// One layer: attention and feed-forward, each behind a norm and with a skip connection.
#[derive(Module, Debug)]
pub struct TextEncoderLayer {
    /// Attention.
    pub self_attn: TextAttention,
    /// Before attention.
    pub layer_norm1: LayerNorm,
    /// Feed-forward.
    pub mlp: TextMlp,
    /// Before feed-forward.
    pub layer_norm2: LayerNorm,
}

/// The stack of layers.
#[derive(Module, Debug)]
pub struct TextEncoderLayers {
    /// First to last.
    pub layers: Vec<TextEncoderLayer>,
}

/// Token ids to features for cross-attention.
#[derive(Module, Debug)]
pub struct TextEncoder {
    /// Tables.
    pub embeddings: TextEmbeddings,
    /// Layers.
    pub encoder: TextEncoderLayers,
    /// The last norm.
    pub final_layer_norm: LayerNorm,
}

impl TextEncoder {
    /// Builds the network with fresh values.
    ///
    /// # Errors
    /// As [`TextEncoderConfig::validate`].
    pub fn new(config: &TextEncoderConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        config.validate()?;
        let features = config.hidden_size;
        let layers = init.at("encoder.layers");
        let layer = |init: &ParameterInit| {
            let (attn, mlp) = (init.at("self_attn"), init.at("mlp"));
            TextEncoderLayer {
                self_attn: TextAttention {
                    k_proj: Linear::new(&attn.at("k_proj"), features, features),
                    v_proj: Linear::new(&attn.at("v_proj"), features, features),
                    q_proj: Linear::new(&attn.at("q_proj"), features, features),
                    out_proj: Linear::new(&attn.at("out_proj"), features, features),
                    heads: config.num_attention_heads,
                },
                layer_norm1: LayerNorm::new(&init.at("layer_norm1"), features),
                mlp: TextMlp {
                    fc1: Linear::new(&mlp.at("fc1"), features, config.intermediate_size),
                    fc2: Linear::new(&mlp.at("fc2"), config.intermediate_size, features),
                },
                layer_norm2: LayerNorm::new(&init.at("layer_norm2"), features),
            }
        };
        let tables = init.at("embeddings");
        Ok(Self {
            embeddings: TextEmbeddings {
                token_embedding: Embedding::new(
                    &tables.at("token_embedding"),
                    config.vocab_size,
                    features,
                ),
                position_embedding: Embedding::new(
                    &tables.at("position_embedding"),
                    config.max_position_embeddings,
                    features,
                ),
            },
            encoder: TextEncoderLayers {
                layers: (0..config.num_hidden_layers)
                    .map(|i| layer(&layers.at(i)))
                    .collect(),
            },
            final_layer_norm: LayerNorm::new(&init.at("final_layer_norm"), features),
        })
    }

    /// # Shapes
    /// - `token_ids`: `[batch, tokens]`, ids in `0..vocab_size`, at most `max_position_embeddings` tokens
    /// - result: `[batch, tokens, hidden_size]`
    pub fn forward(&self, token_ids: Tensor<2, Int>) -> Tensor<3> {
        self.forward_with(token_ids, None)
    }

    /// As [`Self::forward`], with new words, whose ids follow those of the table.
    pub fn forward_with(
        &self,
        token_ids: Tensor<2, Int>,
        learned: Option<&LearnedTokens>,
    ) -> Tensor<3> {
        let [_, tokens] = token_ids.dims();
        let positions = self
            .embeddings
            .position_embedding
            .weight
            .val()
            .narrow(0, 0, tokens);
        let embedded = look_up(&self.embeddings.token_embedding, learned, token_ids);
        let mut hidden = embedded + positions.unsqueeze::<3>();
        for layer in &self.encoder.layers {
            hidden = layer.forward(hidden);
        }
        self.final_layer_norm.forward(hidden)
    }
}

impl TextEncoderLayer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x));
        let inner = kernels::gelu(self.mlp.fc1.forward(self.layer_norm2.forward(x.clone())));
        x + self.mlp.fc2.forward(inner)
    }
}

impl TextAttention {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let query = split_heads(self.q_proj.forward(x.clone()), self.heads);
        let key = split_heads(self.k_proj.forward(x.clone()), self.heads);
        let value = split_heads(self.v_proj.forward(x), self.heads);
        self.out_proj
            .forward(merge_heads(kernels::attention(query, key, value, None)))
    }
}
