//! Learned embeddings (textual inversion, Gal et al. 2022, arXiv 2208.01618): the three kinds of files they come in, and adding them
//! to a tokenizer and a text encoder.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};

use crate::clip::ClipTextModel;
use crate::clip_tokenizer::ClipTokenizer;
use crate::error::NetsError;
use crate::weights::{FileTensor, WeightDType, WeightFile, write_tensors};

/// One learned embedding, for one text encoder or for SDXL's two.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnedEmbedding {
    /// The placeholder that stands for it in prompts, where the file says it.
    pub token: Option<String>,
    /// For the first text encoder, `[vectors, hidden_size]`.
    pub clip_l: FileTensor,
    /// For SDXL's second one, with as many vectors.
    pub clip_g: Option<FileTensor>,
}

/// How an embedding is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingStyle {
    /// diffusers: one tensor named after the placeholder.
    Diffusers,
    /// AUTOMATIC1111's web UI: one tensor `emb_params`; the file's name is the placeholder.
    A1111,
    /// SDXL: `clip_l` and `clip_g`; the file's name is the placeholder.
    Sdxl,
}

impl LearnedEmbedding {
    /// Reads any of the three kinds.
    ///
    /// # Errors
    /// [`NetsError::Io`], [`NetsError::WeightFile`]; a file that holds something else is [`NetsError::WeightFile`] too.
    pub fn read(path: &Path) -> Result<Self, NetsError> {
        let file = WeightFile::open(path)?;
        let keys = file.keys();
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let wrong = |reason: String| WeightFile::damaged(path, reason);
        let (token, clip_l, clip_g) = match names.as_slice() {
            ["clip_g", "clip_l"] => (None, "clip_l", Some("clip_g")),
            ["emb_params"] => (None, "emb_params", None),
            [token] => (Some((*token).to_owned()), *token, None),
            _ => {
                let reason = format!(
                    "a learned embedding has one tensor, or `clip_l` and `clip_g`; there are {}",
                    names.len()
                );
                return Err(wrong(reason));
            }
        };
        let rows = |key: &str| -> Result<FileTensor, NetsError> {
            let mut tensor = file.read(key)?;
            if let [features] = tensor.shape[..] {
                tensor.shape = vec![1, features];
            }
            match tensor.shape[..] {
                [vectors, features] if vectors > 0 && features > 0 => Ok(tensor),
                _ => Err(wrong(format!(
                    "`{key}` is {:?}, not [vectors, features]",
                    tensor.shape
                ))),
            }
        };
        let clip_l = rows(clip_l)?;
        let clip_g = clip_g.map(rows).transpose()?;
        if let Some(clip_g) = &clip_g
            && clip_g.shape[0] != clip_l.shape[0]
        {
            let [l, g] = [clip_l.shape[0], clip_g.shape[0]];
            return Err(wrong(format!("clip_l has {l} vectors, and clip_g {g}")));
        }
        Ok(Self {
            token,
            clip_l,
            clip_g,
        })
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] when the style needs what is not there; [`NetsError::Io`].
    pub fn write(
        &self,
        path: &Path,
        style: EmbeddingStyle,
        dtype: WeightDType,
    ) -> Result<(), NetsError> {
        let missing = |what: &str| NetsError::config(what, None::<&str>, "this style needs it");
        let tensors = match style {
            EmbeddingStyle::Diffusers => {
                let token = self.token.clone().ok_or_else(|| missing("token"))?;
                vec![(token, self.clip_l.clone())]
            }
            EmbeddingStyle::A1111 => vec![("emb_params".to_owned(), self.clip_l.clone())],
            EmbeddingStyle::Sdxl => {
                let clip_g = self.clip_g.clone().ok_or_else(|| missing("clip_g"))?;
                vec![
                    ("clip_l".to_owned(), self.clip_l.clone()),
                    ("clip_g".to_owned(), clip_g),
                ]
            }
        };
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        write_tensors(path, tensors, dtype, &metadata)
    }

    /// Number of vectors.
    pub fn vectors(&self) -> usize {
        self.clip_l.shape[0]
    }
}

/// Adds `vectors` under the placeholder `token`: the tokenizer learns its names, the encoder's table its rows.
///
/// # Errors
/// [`NetsError::Tokenizer`] when the placeholder is taken, or the two do not have the same vocabulary;
/// [`NetsError::InvalidConfig`] when the vectors are of another encoder.
pub fn add_embedding(
    tokenizer: &mut ClipTokenizer,
    encoder: ClipTextModel,
    token: &str,
    vectors: &FileTensor,
) -> Result<ClipTextModel, NetsError> {
    let (tokens, rows) = (tokenizer.vocab_size(), encoder.vocab_size());
    if tokens != rows {
        return Err(NetsError::Tokenizer {
            action: "adding an embedding",
            reason: format!("it has {tokens} tokens, and the text encoder's table {rows} rows"),
        });
    }
    let [count, features] = [vectors.shape[0], vectors.shape[1]];
    if features != encoder.hidden_size() {
        let reason = format!(
            "this text encoder's tokens have {} features",
            encoder.hidden_size()
        );
        return Err(NetsError::config(
            "learned embedding",
            &vectors.shape,
            reason,
        ));
    }
    tokenizer.add_placeholder(token, count)?;
    let table = &encoder.text_model.embeddings.token_embedding.weight;
    let data = TensorData::new(vectors.values.clone(), [count, features]);
    let added = Tensor::from_data(data, &table.lazy_device());
    encoder.with_tokens(added)
}
