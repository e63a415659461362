//! New words of a model's text encoder (Gal et al. 2022, Textual Inversion): declared by a task, kept in its card.

use anyhow::{Result, anyhow};
use dsl_loader::{Injection, TaskDescription};
use dsl_nets::Model;
use serde::{Deserialize, Serialize};

use super::text::TextReader;
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

    /// The model with the words, whose texts `reader` reads.
    ///
    /// # Errors
    /// A usage error for a base whose text encoder cannot learn words.
    pub fn add_to(&self, model: Model, reader: &TextReader) -> Result<Model> {
        let initializers: Vec<Vec<u32>> = (reader.ids(&self.initializer)?.into_iter())
            .map(|ids| {
                ids.into_iter()
                    .filter_map(|id| u32::try_from(id).ok())
                    .collect()
            })
            .collect();
        if initializers.iter().any(Vec::is_empty) {
            return Err(failure::usage(anyhow!(
                "the initializer `{}` is an empty text to this base's tokenizer\n\
                 hint: name the thing by a word that the base was trained with",
                self.initializer
            )));
        }
        let count = self.words.len();
        match (&model.pipeline_text, &initializers[..]) {
            (Some(_), _) => Ok(model.with_pipeline_words(count, &initializers)?),
            (None, [initializer]) => Ok(model.with_learned_tokens(count, initializer)?),
            (None, _) => Err(needs_text_encoder()),
        }
    }

    /// Refuses words that the base has learned already, or that would be taken for parts of such.
    ///
    /// # Errors
    /// A usage error that names the word.
    pub fn check_new(&self, known: &[String]) -> Result<()> {
        let hint = "hint: choose another word for the new thing; for textual-inversion, `task.data.placeholder_token`";
        // Tokenizers of pipelines read in small letters.
        let is_same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        // `<a>_1` would be read as a further embedding of `<a>`.
        let is_part = |word: &str, of: &str| {
            let number = word.get(of.len()..).and_then(|end| end.strip_prefix('_'));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
                && word.get(..of.len()).is_some_and(|start| is_same(start, of))
        };
        for known in known {
            if let Some(word) = self.words.iter().find(|word| is_same(word, known)) {
                return Err(failure::usage(anyhow!(
                    "the base has learned the word `{word}` already, and goes on knowing it\n{hint}"
                )));
            }
            if let Some(word) = self.words.first().filter(|word| is_part(word, known)) {
                return Err(failure::usage(anyhow!(
                    "`{word}` is how further embeddings of the word `{known}` are named, which the base has learned\n{hint}"
                )));
            }
        }
        Ok(())
    }
}

/// A base without a text encoder that could be taught.
pub fn needs_text_encoder() -> anyhow::Error {
    failure::usage(anyhow!(
        "the task teaches new words to a trained model's own text encoder, and this base has none\n\
         hint: set `model.base` to a run of t2i, to a file that `dsl-host export --format file` made of one, or to the folder of a \
         Stable Diffusion pipeline"
    ))
}
