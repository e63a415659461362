//! The text tower: causal, with learned positions.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

use super::config::ClipConfig;
use super::encoder::ClipEncoder;
use crate::error::NetsError;
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::learned_tokens::{LearnedTokens, append_rows, look_up};
use crate::lora::{ForEachLinear, LinearVisitor, impl_for_each_linear};
use crate::parameter_init::ParameterInit;

/// Added to a score that must not count: enough to vanish from a softmax, and no infinity, of which sums may be NaN.
const MASKED: f32 = -1e9;

/// Token and position tables.
#[derive(Module, Debug)]
pub struct ClipTextEmbeddings {
    /// One vector per token.
    pub token_embedding: Embedding,
    /// One vector per position.
    pub position_embedding: Embedding,
}

/// Tables, layers and the last norm.
#[derive(Module, Debug)]
pub struct ClipTextTransformer {
    /// Tables.
    pub embeddings: ClipTextEmbeddings,
    /// Layers.
    pub encoder: ClipEncoder,
    /// After the last layer.
    pub final_layer_norm: LayerNorm,
    #[module(skip)]
    end_token_id: Option<i64>,
}

impl_for_each_linear!(ClipTextTransformer { encoder });

/// A text encoder: transformers' `CLIPTextModel`, or `CLIPTextModelWithProjection`.
#[derive(Module, Debug)]
pub struct ClipTextModel {
    /// Everything but the projection.
    pub text_model: ClipTextTransformer,
    /// `[hidden_size] -> [projection_dim]`, without a bias.
    pub text_projection: Option<Linear>,
}

impl ForEachLinear for ClipTextModel {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        let below = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        self.text_model
            .for_each_linear(&below("text_model"), &mut *visit);
        self.text_projection
            .for_each_linear(&below("text_projection"), visit);
    }
}

/// What a text encoder makes of a batch of texts.
#[derive(Debug, Clone)]
pub struct ClipTextOutput {
    /// The states before the first layer and after each one, none of them normed: `layers + 1` times
    /// `[batch, tokens, hidden_size]`.
    pub hidden_states: Vec<Tensor<3>>,
    /// The last state, normed: what Stable Diffusion 1 and 2 attend to.
    pub last_hidden_state: Tensor<3>,
    /// `last_hidden_state` at each text's end token, `[batch, hidden_size]`.
    pub pooled: Tensor<2>,
    /// `pooled`, projected, in models with a projection: `[batch, projection_dim]`.
    pub text_embeds: Option<Tensor<2>>,
}

impl ClipTextOutput {
    /// The state before the last layer, not normed: what SDXL attends to. The only state, where there is no layer.
    pub fn penultimate(&self) -> Tensor<3> {
        let index = self.hidden_states.len().saturating_sub(2);
        self.hidden_states[index].clone()
    }
}

impl ClipTextModel {
    /// Builds the network with fresh values.
    ///
    /// # Errors
    /// As [`ClipTextConfig::validate`](super::ClipTextConfig::validate).
    pub fn new(config: &ClipConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        let text = &config.text;
        text.validate()?;
        Ok(Self {
            text_model: ClipTextTransformer::new(config, &init.at("text_model")),
            text_projection: config.with_projection.then(|| {
                let init = init.at("text_projection");
                Linear::without_bias(&init, text.hidden_size, text.projection_dim)
            }),
        })
    }

    /// Every token sees itself and those before it; padding is not masked, as Stable Diffusion has it.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, tokens]`, ids in `0..vocab_size`, at most `max_position_embeddings` tokens
    pub fn forward(&self, token_ids: Tensor<2, Int>) -> ClipTextOutput {
        self.run(token_ids, None, None)
    }

    /// As [`Self::forward`], with new words, whose ids follow those of the table.
    pub fn forward_with(
        &self,
        token_ids: Tensor<2, Int>,
        learned: &LearnedTokens,
    ) -> ClipTextOutput {
        self.run(token_ids, None, Some(learned))
    }

    /// [`Self::forward`] or [`Self::forward_with`].
    pub(crate) fn encode(
        &self,
        token_ids: Tensor<2, Int>,
        learned: Option<&LearnedTokens>,
    ) -> ClipTextOutput {
        self.run(token_ids, None, learned)
    }

    /// `count` new words for [`Self::forward_with`], all of which start from the mean embedding of the tokens in `initializer`.
    ///
    /// # Errors
    /// As [`LearnedTokens::from_table`].
    pub fn learned_tokens(
        &self,
        count: usize,
        initializer: &[u32],
    ) -> Result<LearnedTokens, NetsError> {
        let table = &self.text_model.embeddings.token_embedding;
        LearnedTokens::from_table(table, "learned_tokens", count, initializer)
    }

    /// As [`Self::forward`], with tokens that nobody sees where `attention_mask` is 0.
    ///
    /// # Shapes
    /// - `attention_mask`: `[batch, tokens]`, 0 or 1
    pub fn forward_masked(
        &self,
        token_ids: Tensor<2, Int>,
        attention_mask: Tensor<2>,
    ) -> ClipTextOutput {
        self.run(token_ids, Some(attention_mask), None)
    }

    fn run(
        &self,
        token_ids: Tensor<2, Int>,
        mask: Option<Tensor<2>>,
        learned: Option<&LearnedTokens>,
    ) -> ClipTextOutput {
        let (hidden_states, last_hidden_state) =
            self.text_model.forward(token_ids.clone(), mask, learned);
        // New words are no end of a text, whatever their ids.
        let token_ids = match learned {
            Some(_) => {
                let vocab_size = self.vocab_size() as i64;
                let is_new = token_ids.clone().greater_equal_elem(vocab_size);
                token_ids.mask_fill(is_new, 0)
            }
            None => token_ids,
        };
        let pooled = self.text_model.pool(&last_hidden_state, token_ids);
        let text_embeds = self
            .text_projection
            .as_ref()
            .map(|projection| projection.forward(pooled.clone()));
        ClipTextOutput {
            hidden_states,
            last_hidden_state,
            pooled,
            text_embeds,
        }
    }

    /// Number of tokens in the table; ids are below it.
    pub fn vocab_size(&self) -> usize {
        let table = &self.text_model.embeddings.token_embedding.weight;
        table.lazy_shape().dims::<2>()[0]
    }

    /// Longest text, in tokens.
    pub fn max_tokens(&self) -> usize {
        let table = &self.text_model.embeddings.position_embedding.weight;
        table.lazy_shape().dims::<2>()[0]
    }

    /// Features of each token.
    pub fn hidden_size(&self) -> usize {
        let table = &self.text_model.embeddings.token_embedding.weight;
        table.lazy_shape().dims::<2>()[1]
    }

    /// The model with `rows` appended to its token table, whose ids start at the old [`Self::vocab_size`].
    ///
    /// The table keeps its id and whether it trains.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] when the rows are not `[tokens, hidden_size]`.
    pub fn with_tokens(mut self, rows: Tensor<2>) -> Result<Self, NetsError> {
        let features = self.hidden_size();
        if rows.dims()[1] != features {
            let reason = format!("this text encoder's tokens have {features} features");
            return Err(NetsError::config("learned embeddings", rows.dims(), reason));
        }
        append_rows(&mut self.text_model.embeddings.token_embedding, rows);
        Ok(self)
    }
}

impl ClipTextTransformer {
    pub(super) fn new(config: &ClipConfig, init: &ParameterInit) -> Self {
        let config = &config.text;
        let features = config.hidden_size;
        let tables = init.at("embeddings");
        let table = |name: &str, entries| Embedding::new(&tables.at(name), entries, features);
        Self {
            embeddings: ClipTextEmbeddings {
                token_embedding: table("token_embedding", config.vocab_size),
                position_embedding: table("position_embedding", config.max_position_embeddings),
            },
            encoder: ClipEncoder::new(&init.at("encoder"), &config.encoder()),
            final_layer_norm: LayerNorm::with_eps(
                &init.at("final_layer_norm"),
                features,
                config.layer_norm_eps,
            ),
            end_token_id: config.end_token_id(),
        }
    }

    /// All states, and the last one normed.
    pub(super) fn forward(
        &self,
        token_ids: Tensor<2, Int>,
        mask: Option<Tensor<2>>,
        learned: Option<&LearnedTokens>,
    ) -> (Vec<Tensor<3>>, Tensor<3>) {
        let [_, tokens] = token_ids.dims();
        let positions = self.embeddings.position_embedding.weight.val();
        let positions = positions.narrow(0, 0, tokens).unsqueeze::<3>();
        let x = look_up(&self.embeddings.token_embedding, learned, token_ids) + positions;
        let bias = causal_bias(&x, mask);
        let states = self.encoder.forward(x.clone(), Some(&bias));
        let last = states.last().cloned().unwrap_or(x);
        let normed = self.final_layer_norm.forward(last);
        (states, normed)
    }

    /// The states at the end tokens.
    ///
    /// # Shapes
    /// - `states`: `[batch, tokens, hidden_size]`; `token_ids`: `[batch, tokens]`; result: `[batch, hidden_size]`
    pub(super) fn pool(&self, states: &Tensor<3>, token_ids: Tensor<2, Int>) -> Tensor<2> {
        let [batch, tokens, features] = states.dims();
        let marked = match self.end_token_id {
            Some(end) => token_ids.equal_elem(end).int(),
            None => token_ids,
        };
        // The first of several equal ids wins, on every device: earlier places count a little more.
        let places: Vec<i64> = (0..tokens as i64).rev().collect();
        let places = TensorData::new(places, [1, tokens]);
        let places = Tensor::<2, Int>::from_data(places, &marked.device());
        let end = (marked * tokens as i64 + places).argmax(1);
        let index = end.reshape([batch, 1, 1]).expand([batch, 1, features]);
        states.clone().gather(1, index).reshape([batch, features])
    }
}

/// What is added to attention's scores: nothing where a token may look, [`MASKED`] where it must not.
fn causal_bias(x: &Tensor<3>, mask: Option<Tensor<2>>) -> Tensor<4> {
    let [batch, tokens, _] = x.dims();
    let (device, dtype) = (x.device().inner(), x.dtype());
    let later: Vec<f32> = (0..tokens * tokens)
        .map(|i| if i % tokens > i / tokens { 1.0 } else { 0.0 })
        .collect();
    let later = TensorData::new(later, [1, 1, tokens, tokens]);
    let later = Tensor::<4>::from_data(later, &device);
    let hidden = match mask {
        None => later,
        Some(mask) => {
            let unseen = mask.inner().reshape([batch, 1, 1, tokens]).neg() + 1.0;
            (later + unseen).clamp_max(1.0)
        }
    };
    let bias = (hidden * MASKED).cast(dtype);
    if x.device().is_autodiff() {
        Tensor::from_inner(bias)
    } else {
        bias
    }
}
