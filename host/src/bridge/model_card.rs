//! What must be known to use a generator: kept beside the run, and inside every exported file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dsl_engine::{NoiseScheduleConfig, PredictionType};
use dsl_nets::{Model, ModelConfig, Tokenizer, WeightDType, WeightFile};
use serde::{Deserialize, Serialize};

use super::learned_tokens::LearnedWords;
use crate::run_dir::{MODEL_CARD, RunDir};

/// Key of the card in a safetensors file's metadata.
const CARD_KEY: &str = "dsl_host.model_card";
/// Key of the tokenizer there.
const TOKENIZER_KEY: &str = "dsl_host.tokenizer";

/// Shape and meaning of a generator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// Version of this layout.
    pub format: u32,
    /// Id of the plugin it was trained with.
    pub task: String,
    /// Shape of the networks.
    pub model: ModelConfig,
    /// What the denoiser predicts.
    pub prediction_type: PredictionType,
    /// Noise levels it was trained on.
    pub noise_schedule: NoiseScheduleConfig,
    /// Channels, height and width of a sample, as the denoiser sees it; height and width 1 for vectors.
    pub sample_shape: [usize; 3],
    /// The pipeline whose autoencoder made the samples, and whose text encoders the features: its folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PathBuf>,
    /// New words of the text encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<LearnedWords>,
    /// Words that the base had learned, in the order of their ids, which are the last ones of each text encoder's vocabulary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_words: Vec<String>,
}

impl ModelCard {
    /// Version of the layout that is written.
    pub const FORMAT: u32 = 1;

    /// Longest caption in tokens; 0 without text.
    pub fn max_tokens(&self) -> usize {
        self.model
            .text_encoder
            .as_ref()
            .map_or(0, |encoder| encoder.max_position_embeddings)
    }

    /// All words that texts are searched for, in the order of their ids: those that the base had learned, then its own.
    pub fn words(&self) -> Vec<String> {
        let own = self.learned.iter().flat_map(|learned| &learned.words);
        self.known_words.iter().chain(own).cloned().collect()
    }

    /// The card of [`Model::with_words_in_tables`]: what was being learned is known.
    pub(super) fn with_words_in_tables(&self) -> Self {
        let learned = self
            .learned
            .as_ref()
            .map_or(0, |learned| learned.words.len());
        Self {
            model: self.model.clone().with_tokens(learned),
            known_words: self.words(),
            learned: None,
            ..self.clone()
        }
    }
}

/// The card of a run's generator.
///
/// # Errors
/// A card that is not there, or that this version cannot read.
pub fn of_run(run: &RunDir) -> Result<ModelCard> {
    let path = run.path().join(MODEL_CARD);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("`{}` cannot be read", path.display()))
}

/// Writes a generator with its card and tokenizer to one safetensors file, whole or not at all. New words go into the token
/// tables: whoever begins with the file knows them.
///
/// # Errors
/// A file that cannot be written.
pub fn write(
    path: &Path,
    model: &Model,
    card: &ModelCard,
    tokenizer: Option<&Tokenizer>,
    dtype: WeightDType,
) -> Result<()> {
    let mut metadata = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        (
            CARD_KEY.to_owned(),
            serde_json::to_string(&card.with_words_in_tables())?,
        ),
    ]);
    if let Some(tokenizer) = tokenizer {
        metadata.insert(TOKENIZER_KEY.to_owned(), tokenizer.to_json()?);
    }
    model
        .clone()
        .with_words_in_tables()
        .save(path, dtype, &metadata)?;
    Ok(())
}

/// The card and tokenizer of a file that [`write`] made; `None` for other safetensors files.
///
/// # Errors
/// A card that this version cannot read.
pub fn read(file: &WeightFile) -> Result<Option<(ModelCard, Option<Tokenizer>)>> {
    let metadata = file.metadata();
    let Some(card) = metadata.get(CARD_KEY) else {
        return Ok(None);
    };
    let name = file.name().display().to_string();
    let card: ModelCard = serde_json::from_str(card)
        .with_context(|| format!("the model card in `{name}` cannot be read"))?;
    if card.format != ModelCard::FORMAT {
        bail!(
            "the model card in `{name}` has format {}, this version reads {}",
            card.format,
            ModelCard::FORMAT
        );
    }
    let tokenizer = metadata
        .get(TOKENIZER_KEY)
        .map(|text| Tokenizer::from_json(text))
        .transpose()
        .with_context(|| format!("the tokenizer in `{name}` cannot be read"))?;
    Ok(Some((card, tokenizer)))
}
