//! Everything that is trained as the generator: a denoiser, the text encoder that feeds it, and new words of the latter.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditioning::Conditioning;
use crate::denoiser::{Denoiser, DenoiserConfig};
use crate::error::NetsError;
use crate::learned_tokens::{LearnedTokens, append_rows};
use crate::parameter_init::ParameterInit;
use crate::pipeline_text::{PipelineText, PipelineTextConfig, PipelineTextOutput};
use crate::text_encoder::{TextEncoder, TextEncoderConfig};
use crate::weights::{self, LoadReport, WeightDType, WeightFile};

/// Shape of a [`Model`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The denoiser.
    pub denoiser: DenoiserConfig,
    /// The text encoder, for a denoiser that attends to text.
    #[serde(default)]
    pub text_encoder: Option<TextEncoderConfig>,
    /// The text encoders of a pipeline, where they learn something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_text: Option<PipelineTextConfig>,
}

impl ModelConfig {
    /// Builds the model with fresh values.
    ///
    /// Values are a function of `seed` and each parameter's path alone: not of the device, of burn's generator, or of the order.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] when the fields do not fit together.
    pub fn init(&self, seed: u64, device: &Device) -> Result<Model, NetsError> {
        self.build(&ParameterInit::new(seed, device))
    }

    /// The model on a place of one's own, such as one that [defers](ParameterInit::deferred) its values.
    ///
    /// # Errors
    /// As [`Self::init`].
    pub fn build(&self, init: &ParameterInit) -> Result<Model, NetsError> {
        if let (Some(wanted), Some(text)) =
            (self.denoiser.cross_attention_dim(), &self.text_encoder)
            && wanted != text.hidden_size
        {
            let reason =
                format!("the denoiser's cross_attention_dim is {wanted}, and they must be equal");
            return Err(NetsError::config("hidden_size", text.hidden_size, reason));
        }
        Ok(Model {
            denoiser: self.denoiser.init(&init.at("denoiser"))?,
            text_encoder: match &self.text_encoder {
                Some(config) => Some(TextEncoder::new(config, &init.at("text_encoder"))?),
                None => None,
            },
            pipeline_text: match &self.pipeline_text {
                Some(config) => Some(PipelineText::new(config, &init.at(PipelineText::PLACE))?),
                None => None,
            },
            learned_tokens: None,
            learned_tokens_2: None,
        })
    }

    /// The shape of [`Model::with_words_in_tables`]: `count` tokens more in each text encoder.
    pub fn with_tokens(mut self, count: usize) -> Self {
        if let Some(encoder) = &mut self.text_encoder {
            encoder.vocab_size += count;
        }
        self.pipeline_text = self.pipeline_text.map(|text| text.with_tokens(count));
        self
    }
}

/// Names of new words among the parameters.
const WORDS: &str = "learned_tokens";
const WORDS_2: &str = "learned_tokens_2";

/// A denoiser with its text encoder, and new words of the latter.
#[derive(Module, Debug)]
pub struct Model {
    /// Predicts from x_t.
    pub denoiser: Denoiser,
    /// Makes features of tokens.
    pub text_encoder: Option<TextEncoder>,
    /// The text encoders of a pipeline, where they learn something; elsewhere features of their texts come ready made.
    pub pipeline_text: Option<PipelineText>,
    /// New words, whose token ids follow those that the text encoder knows: the model's own, or a pipeline's first.
    pub learned_tokens: Option<LearnedTokens>,
    /// The same words for SDXL's second text encoder.
    pub learned_tokens_2: Option<LearnedTokens>,
}

impl Model {
    /// Conditioning from token ids; none when the model has no text encoder.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, tokens]`; ids from the text encoder's `vocab_size` on are those of new words
    pub fn encode_text(&self, token_ids: Tensor<2, Int>) -> Conditioning {
        match &self.text_encoder {
            Some(encoder) => {
                Conditioning::text(encoder.forward_with(token_ids, self.learned_tokens.as_ref()))
            }
            None => Conditioning::none(),
        }
    }

    /// What the pipeline's text encoders make of texts; none when they are not part of the model.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, tokens]`, one for each encoder
    pub fn encode_pipeline_text(&self, token_ids: &[Tensor<2, Int>]) -> Option<PipelineTextOutput> {
        let text = self.pipeline_text.as_ref()?;
        Some(text.forward(token_ids, self.words()))
    }

    /// One vector for each phrase of a box: of a pipeline's first encoder its pooled state, as GLIGEN has it; of an own encoder
    /// the mean over all tokens. None when the model has no text encoder.
    ///
    /// # Shapes
    /// - `token_ids`: `[phrases, tokens]`; result: `[phrases, features]`
    pub fn encode_phrases(&self, token_ids: Tensor<2, Int>) -> Option<Tensor<2>> {
        if let Some(text) = &self.pipeline_text {
            let output = text
                .text_encoder
                .encode(token_ids, self.learned_tokens.as_ref());
            return Some(output.pooled);
        }
        let states = self.encode_text(token_ids).encoder_hidden_states?;
        let [phrases, _, features] = states.dims();
        Some(states.mean_dim(1).reshape([phrases, features]))
    }

    fn words(&self) -> [Option<&LearnedTokens>; 2] {
        [self.learned_tokens.as_ref(), self.learned_tokens_2.as_ref()]
    }

    /// The model with `count` new words, whose ids are `vocab_size..vocab_size + count` of its text encoder. All start from the
    /// mean embedding of the tokens in `initializer`; nothing else changes. New words that it had are replaced.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a model without a text encoder, and as [`LearnedTokens::from_table`].
    pub fn with_learned_tokens(
        mut self,
        count: usize,
        initializer: &[u32],
    ) -> Result<Self, NetsError> {
        let Some(encoder) = &self.text_encoder else {
            let reason = "the model has no text encoder that could read them";
            return Err(NetsError::config("learned_tokens", count, reason));
        };
        let table = &encoder.embeddings.token_embedding;
        let words = LearnedTokens::from_table(table, WORDS, count, initializer)?;
        self.learned_tokens = Some(words);
        Ok(self)
    }

    /// As [`Self::with_learned_tokens`], for the text encoders of a pipeline: each has ids of its own for the words and for the
    /// tokens in `initializers`.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a model without a pipeline's text encoders or with more of them than `initializers`, and
    /// as [`LearnedTokens::from_table`].
    pub fn with_pipeline_words(
        mut self,
        count: usize,
        initializers: &[Vec<u32>],
    ) -> Result<Self, NetsError> {
        let encoders: Vec<_> = match &self.pipeline_text {
            Some(text) => text.encoders().map(|(_, encoder)| encoder).collect(),
            None => Vec::new(),
        };
        if encoders.is_empty() || encoders.len() != initializers.len() {
            let reason = format!(
                "the model has {} text encoders of a pipeline",
                encoders.len()
            );
            return Err(NetsError::config(
                "initializers",
                initializers.len(),
                reason,
            ));
        }
        let mut words = Vec::new();
        for ((encoder, initializer), name) in
            encoders.iter().zip(initializers).zip([WORDS, WORDS_2])
        {
            let table = &encoder.text_model.embeddings.token_embedding;
            words.push(LearnedTokens::from_table(table, name, count, initializer)?);
        }
        let mut words = words.into_iter();
        (self.learned_tokens, self.learned_tokens_2) = (words.next(), words.next());
        Ok(self)
    }

    /// The same model with its new words in the token tables of its text encoders, under the ids that they have: it knows them
    /// like any other word, and can be taught further ones.
    pub fn with_words_in_tables(mut self) -> Self {
        if let (Some(encoder), Some(words)) = (&mut self.text_encoder, &self.learned_tokens) {
            append_rows(&mut encoder.embeddings.token_embedding, words.weight.val());
        }
        if let Some(text) = self.pipeline_text.take() {
            self.pipeline_text = Some(text.with_words(self.words()));
        }
        (self.learned_tokens, self.learned_tokens_2) = (None, None);
        self
    }

    /// The same model without adapters: what they compute is added to the weights.
    pub fn merge_lora(&self) -> Self {
        Self {
            denoiser: self.denoiser.merge_lora(),
            pipeline_text: self.pipeline_text.as_ref().map(PipelineText::merge_lora),
            ..self.clone()
        }
    }

    /// Writes everything to one safetensors file, keys `denoiser.…`, `text_encoder.…`, `pipeline_text.…`, `learned_tokens.…`, whole
    /// or not at all.
    ///
    /// # Errors
    /// [`NetsError::Io`] when the file cannot be written.
    pub fn save(
        &self,
        path: &Path,
        dtype: WeightDType,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), NetsError> {
        weights::save(self, path, dtype, metadata)
    }

    /// Takes the values of a file written by [`save`](Self::save), or by a pipeline that calls its denoiser `unet`.
    ///
    /// # Errors
    /// As [`weights::load`]; what does not fit is in the report.
    pub fn load(self, file: &WeightFile) -> Result<(Self, LoadReport), NetsError> {
        weights::load(self, file, Self::PREFIXES)
    }

    /// What [`load`](Self::load) would report, from names and shapes alone: nothing is read.
    pub fn fit(&self, file: &WeightFile) -> LoadReport {
        weights::compare(self, &weights::prefixed(file, Self::PREFIXES))
    }

    /// As [`load`](Self::load), but every parameter must be in the file.
    ///
    /// # Errors
    /// As [`weights::load_complete`].
    pub fn load_complete(self, file: &WeightFile) -> Result<Self, NetsError> {
        weights::load_complete(self, file, Self::PREFIXES)
    }

    pub(crate) const PREFIXES: &[(&str, &str)] = &[("unet.", "denoiser.")];
}
