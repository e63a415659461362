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
use crate::learned_tokens::LearnedTokens;
use crate::parameter_init::ParameterInit;
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
            learned_tokens: None,
        })
    }
}

/// A denoiser with its text encoder, and new words of the latter.
#[derive(Module, Debug)]
pub struct Model {
    /// Predicts from x_t.
    pub denoiser: Denoiser,
    /// Makes features of tokens.
    pub text_encoder: Option<TextEncoder>,
    /// New words, whose token ids follow those that the text encoder knows.
    pub learned_tokens: Option<LearnedTokens>,
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
        self.learned_tokens = Some(LearnedTokens::from_table(table, count, initializer)?);
        Ok(self)
    }

    /// The same model without adapters: what they compute is added to the weights.
    pub fn merge_lora(&self) -> Self {
        Self {
            denoiser: self.denoiser.merge_lora(),
            text_encoder: self.text_encoder.clone(),
            learned_tokens: self.learned_tokens.clone(),
        }
    }

    /// Writes everything to one safetensors file, keys `denoiser.…`, `text_encoder.…`, `learned_tokens.…`, whole or not at all.
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

    /// As [`load`](Self::load), but every parameter must be in the file.
    ///
    /// # Errors
    /// As [`weights::load_complete`].
    pub fn load_complete(self, file: &WeightFile) -> Result<Self, NetsError> {
        weights::load_complete(self, file, Self::PREFIXES)
    }

    pub(crate) const PREFIXES: &[(&str, &str)] = &[("unet.", "denoiser.")];
}
