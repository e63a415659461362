//! New words of a model's text encoder (Gal et al. 2022, Textual Inversion): declared by a task, kept in its card.

use anyhow::{Result, anyhow};
use dsl_loader::{Injection, TaskDescription};
use dsl_nets::{Model, TextEncoderConfig, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::failure;

/// New words, and the word whose embedding they start from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedWords {
    /// One embedding each.
    pub words: Vec<String>,
    /// A text that the tokenizer knows.
    pub initializer: String,
}

impl LearnedWords {
    /// What a task declares.
    pub fn of_task(description: &TaskDescription) -> Option<Self> {
        description
            .injections
            .iter()
            .find_map(|injection| match injection {
                Injection::LearnedTokens {
                    tokens,
                    initializer,
                } => Some(Self {
                    words: tokens.clone(),
                    initializer: initializer.clone(),
                }),
                _ => None,
            })
    }

    /// Model and tokenizer that know the words; `encoder` is the shape of the model's text encoder.
    ///
    /// # Errors
    /// A usage error for a base whose text encoder cannot learn words.
    pub fn add_to(
        &self,
        model: Model,
        tokenizer: &Tokenizer,
        encoder: Option<&TextEncoderConfig>,
    ) -> Result<(Model, Tokenizer)> {
        let initializer: Vec<u32> = (tokenizer.ids(&self.initializer)?.into_iter())
            .filter_map(|id| u32::try_from(id).ok())
            .collect();
        if initializer.is_empty() {
            return Err(failure::usage(anyhow!(
                "the initializer `{}` is an empty text to this base's tokenizer\n\
                 hint: name the thing by a word that the base was trained with",
                self.initializer
            )));
        }
        let first_id = encoder.ok_or_else(needs_text_encoder)?.vocab_size;
        let model = model.with_learned_tokens(self.words.len(), &initializer)?;
        Ok((model, tokenizer.with_added_tokens(&self.words, first_id)?))
    }
}

/// A base without a text encoder that could be taught.
pub fn needs_text_encoder() -> anyhow::Error {
    failure::usage(anyhow!(
        "the task teaches new words to a trained model's own text encoder, and this base has none\n\
         hint: set `model.base` to a run of t2i, or to a file that `dsl-host export --format file` made of one; the \
         frozen encoders of a pipeline cannot learn words yet"
    ))
}
