//! Who makes features of texts, and what becomes of a text on the way there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};
use burn::tensor::TensorData;
use dsl_engine::PipelineTexts;
use dsl_nets::{ClipTokenizer, TextTokens, Tokenizer};

use super::latents::{LatentCoder, SizeIds};
use super::model_card::ModelCard;
use super::pipeline::PipelineKind;

/// Who makes features of texts.
#[derive(Clone)]
pub enum TextReader {
    /// Nobody: the task has no text.
    None,
    /// The model's own encoder, which may train; here texts become token ids.
    Own {
        /// Makes ids.
        tokenizer: Arc<Tokenizer>,
        /// Length in tokens.
        max_tokens: usize,
    },
    /// A pipeline's encoders, which are part of the model since they learn; here texts become token ids.
    Pipeline(Arc<PipelineTokenizers>),
    /// A pipeline's frozen encoders.
    Frozen(Arc<LatentCoder>),
}

impl TextReader {
    /// That of a generator: `tokenizer` is its own, without the words that it was taught, `latents` its pipeline.
    ///
    /// # Errors
    /// A pipeline whose tokenizers cannot be read; words that cannot be added to a tokenizer.
    pub fn of(
        card: &ModelCard,
        tokenizer: Option<&Tokenizer>,
        latents: Option<&Arc<LatentCoder>>,
    ) -> Result<Self> {
        let words = card.words();
        let first_id = |vocab_size: usize| vocab_size - card.known_words.len().min(vocab_size);
        Ok(match (latents, &card.model.pipeline_text, tokenizer) {
            (Some(coder), Some(text), _) => {
                let encoders = [&text.text_encoder].into_iter().chain(&text.text_encoder_2);
                let pipeline = coder.pipeline();
                let tokenizers = pipeline.load_tokenizers()?.into_iter().zip(encoders);
                let taught = tokenizers.map(|(tokenizer, encoder)| {
                    tokenizer.with_added_tokens(&words, first_id(encoder.text.vocab_size))
                });
                Self::Pipeline(Arc::new(PipelineTokenizers {
                    tokenizers: taught.collect::<Result<_, _>>()?,
                    kind: pipeline.kind,
                    zeros_for_empty_prompt: pipeline.zeros_for_empty_prompt,
                }))
            }
            (Some(coder), None, _) => Self::Frozen(coder.clone()),
            (None, _, Some(tokenizer)) => {
                let encoder = card.model.text_encoder.as_ref();
                let vocab_size = encoder.map_or(0, |encoder| encoder.vocab_size);
                Self::Own {
                    tokenizer: Arc::new(tokenizer.with_added_tokens(&words, first_id(vocab_size))?),
                    max_tokens: card.max_tokens(),
                }
            }
            (None, _, None) => Self::None,
        })
    }

    /// The ids of a text to each text encoder that is part of the model: no start, end or padding.
    ///
    /// # Errors
    /// A text that cannot be tokenized.
    pub fn ids(&self, text: &str) -> Result<Vec<Vec<i64>>> {
        match self {
            Self::None | Self::Frozen(_) => Ok(Vec::new()),
            Self::Own { tokenizer, .. } => Ok(vec![tokenizer.ids(text)?]),
            Self::Pipeline(tokenizers) => (tokenizers.tokenizers.iter())
                .map(|tokenizer| {
                    let mut ids = tokenizer.encode_whole(text)?;
                    ids.pop();
                    Ok(ids.split_off(1.min(ids.len())))
                })
                .collect(),
        }
    }
}

/// The tokenizers of a pipeline whose text encoders are part of the model.
pub struct PipelineTokenizers {
    tokenizers: Vec<ClipTokenizer>,
    kind: PipelineKind,
    zeros_for_empty_prompt: bool,
}

impl PipelineTokenizers {
    /// Texts as token ids; `sizes` is what SDXL is told of each picture.
    ///
    /// # Errors
    /// A text that cannot be tokenized.
    pub fn encode(&self, texts: &[&str], sizes: &[SizeIds]) -> Result<PipelineTexts> {
        let rows = texts.len();
        let mut token_ids = Vec::new();
        for tokenizer in &self.tokenizers {
            let mut ids = Vec::with_capacity(rows * tokenizer.max_tokens());
            for text in texts {
                let tokens = tokenizer.encode(text)?;
                note_length(text, &tokens);
                ids.extend(tokens.ids);
            }
            token_ids.push(TensorData::new(ids, [rows, tokenizer.max_tokens()]));
        }
        let any_zeros = self.zeros_for_empty_prompt && texts.iter().any(|text| text.is_empty());
        let kept = any_zeros.then(|| {
            let kept: Vec<f32> = texts
                .iter()
                .map(|text| f32::from(!text.is_empty()))
                .collect();
            TensorData::new(kept, [rows])
        });
        let time_ids = (self.kind == PipelineKind::StableDiffusionXl).then(|| {
            let ids: Vec<f32> = sizes.iter().flatten().copied().collect();
            TensorData::new(ids, [rows, 6])
        });
        Ok(PipelineTexts {
            token_ids,
            kept,
            time_ids,
        })
    }

    /// Ids of a phrase of a box for the first encoder.
    ///
    /// # Errors
    /// A text that cannot be tokenized.
    pub fn encode_phrase(&self, text: &str) -> Result<Vec<i64>> {
        let first = self.tokenizers.first();
        let tokenizer = first.ok_or_else(|| anyhow!("the pipeline has no tokenizer"))?;
        Ok(tokenizer.encode(text)?.ids)
    }
}

/// Says, once of each, that the end of a text is not seen, and that a learned word is in it.
pub fn note_length(text: &str, tokens: &TextTokens) {
    static LONG: AtomicBool = AtomicBool::new(false);
    static LOST: AtomicBool = AtomicBool::new(false);
    let read = tokens.ids.len();
    let all = read + tokens.dropped;
    if let Some(word) = tokens.lost_words.first()
        && !LOST.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(
            "the learned word `{word}` is lost: `{text}` has {all} tokens, and the text encoder reads the first {read}; \
             such texts teach the word nothing, and are drawn without it\n\
             hint: put the word first, or choose shorter texts"
        );
    } else if tokens.dropped > 0 && !LONG.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "the end of `{text}` is not seen: it has {all} tokens, and the text encoder reads the first {read}; of \
             further texts this is not said"
        );
    }
}

#[cfg(test)]
mod tests;
