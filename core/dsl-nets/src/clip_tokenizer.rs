//! CLIP's tokenizer from the files of a published model, with the ids that transformers gives.
//!
//! Byte-level BPE over lower-cased words: NFC, white space to single spaces, lower case letter by letter, words by a pattern,
//! merges whose last piece carries `</w>`. Nothing else is cleaned: no mojibake is mended and no HTML entity resolved, unlike in
//! open_clip.

use std::path::Path;

use serde_json::Value;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer as Inner,
};

use crate::error::NetsError;
use crate::tokenizer::{TextTokens, WordGroups};

/// Contractions, words, single digits, and runs of anything else; special tokens as a whole.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

const START: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// Text to ids of a fixed length: start, text, end, padding.
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    inner: Inner,
    start: u32,
    end: u32,
    pad: u32,
    max_tokens: usize,
    /// Placeholders of learned embeddings, with the number of their vectors.
    placeholders: Vec<(String, usize)>,
    /// New words of [`Self::with_added_tokens`].
    added: Vec<AddedWord>,
    groups: WordGroups,
}

/// A word that the text encoder knows by another id than the vocabulary.
#[derive(Debug, Clone)]
struct AddedWord {
    word: String,
    inner: u32,
    id: i64,
}

impl ClipTokenizer {
    /// Reads `vocab.json` and `merges.txt`, or `tokenizer.json`, and what `tokenizer_config.json` and
    /// `special_tokens_map.json` say beside them.
    ///
    /// # Errors
    /// [`NetsError::Io`] for a file that is not there, [`NetsError::Tokenizer`] for one that cannot be used.
    pub fn from_folder(folder: &Path) -> Result<Self, NetsError> {
        let config = optional_json(&folder.join("tokenizer_config.json"))?;
        let map = optional_json(&folder.join("special_tokens_map.json"))?;
        let special = |name: &str, default: &str| {
            added_token(&config[name])
                .or_else(|| added_token(&map[name]))
                .unwrap_or_else(|| AddedToken::from(default, true))
        };
        let (start, end) = (special("bos_token", START), special("eos_token", END));
        let pad = special("pad_token", &end.content);
        let unknown = special("unk_token", END);

        let single = folder.join("tokenizer.json");
        let mut inner = if !folder.join("vocab.json").is_file() && single.is_file() {
            Inner::from_file(&single).map_err(|e| failed("reading", e))?
        } else {
            from_vocabulary(folder, &unknown.content)?
        };
        // Lengths are this type's affair.
        inner
            .with_truncation(None)
            .map_err(|e| failed("reading", e))?;
        inner.with_padding(None);
        inner.add_special_tokens(&[start.clone(), end.clone(), pad.clone(), unknown]);
        let id = |token: &AddedToken| {
            inner.token_to_id(&token.content).ok_or_else(|| {
                let reason = format!("the vocabulary has no token {}", token.content);
                failed("reading", reason)
            })
        };
        let (start, end, pad) = (id(&start)?, id(&end)?, id(&pad)?);
        // transformers writes 1e30 for "no limit".
        let max_tokens = config["model_max_length"]
            .as_u64()
            .filter(|length| (2..100_000).contains(length))
            .map_or(77, |length| length as usize);
        Ok(Self {
            inner,
            start,
            end,
            pad,
            max_tokens,
            placeholders: Vec::new(),
            added: Vec::new(),
            groups: WordGroups::default(),
        })
    }

    /// The same tokenizer with another token for padding, such as `!` in some second text encoders.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] when there is no such token.
    pub fn with_pad_token(mut self, token: &str) -> Result<Self, NetsError> {
        self.pad = self
            .inner
            .token_to_id(token)
            .ok_or_else(|| failed("padding", format!("the vocabulary has no token {token}")))?;
        self.inner
            .add_special_tokens(&[AddedToken::from(token, true)]);
        Ok(self)
    }

    /// The same tokenizer with new words, each of which becomes one id: `first_id` for the first of them, the text encoder's
    /// `vocab_size`, which may be more than this tokenizer's. As with transformers' `add_tokens`, they are found anywhere in a
    /// text, in small letters or capitals. `<a>` alone stands for `<a> <a>_1 <a>_2` where these words follow it in the list.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] for a word that is empty, has white space around it, or is a token already, and for ids that are
    /// taken.
    pub fn with_added_tokens(&self, words: &[String], first_id: usize) -> Result<Self, NetsError> {
        let wrong = |reason: String| failed("adding words", reason);
        let known = self.vocab_size();
        if first_id < known {
            return Err(wrong(format!(
                "ids from {first_id} on are taken: there are {known} tokens"
            )));
        }
        let mut taught = self.clone();
        taught.groups = WordGroups::of(words, first_id);
        for (word, id) in words.iter().zip(first_id as i64..) {
            if word.is_empty() || word.trim() != word {
                return Err(wrong(format!("`{word}` is not a word")));
            }
            let is_same = |added: &AddedWord| added.word.to_lowercase() == word.to_lowercase();
            if taught.inner.token_to_id(word).is_some() || taught.added.iter().any(is_same) {
                return Err(wrong(format!(
                    "the vocabulary already has `{word}`; choose another word"
                )));
            }
            taught
                .inner
                .add_tokens(&[AddedToken::from(word.clone(), false)]);
            if let Some(inner) = taught.inner.token_to_id(word) {
                taught.added.push(AddedWord {
                    word: word.clone(),
                    inner,
                    id,
                });
            }
        }
        Ok(taught)
    }

    /// Id of the token that ends every text.
    pub fn end_id(&self) -> i64 {
        i64::from(self.end)
    }

    /// Number of tokens, placeholders included; every id is below it, those of [`Self::with_added_tokens`] aside.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Length of what [`Self::encode`] gives.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Id of the padding token.
    pub fn pad_id(&self) -> i64 {
        i64::from(self.pad)
    }

    /// Exactly [`Self::max_tokens`] ids; placeholders of several vectors are written out first.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] when the text cannot be tokenized.
    pub fn encode(&self, text: &str) -> Result<TextTokens, NetsError> {
        let whole = self.encode_whole(&self.expand(text)?)?;
        let words = self
            .added
            .iter()
            .map(|added| (added.word.as_str(), added.id));
        Ok(TextTokens::fit(
            whole,
            self.max_tokens,
            self.pad_id(),
            words,
        ))
    }

    /// Start, all of the text, end: however many there are.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] when the text cannot be tokenized.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<i64>, NetsError> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| failed("encoding", e))?;
        let known_as = |id: u32| {
            let added = self.added.iter().find(|added| added.inner == id);
            added.map_or(i64::from(id), |added| added.id)
        };
        let text = encoding.get_ids().iter().copied();
        let all = [self.start].into_iter().chain(text).chain([self.end]);
        Ok(self.groups.written_out(all.map(known_as).collect()))
    }

    /// Adds the placeholder of a learned embedding: `token`, `token_1`, … for its vectors. Gives their ids.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] when the token is already there, or none is asked for.
    pub fn add_placeholder(&mut self, token: &str, vectors: usize) -> Result<Vec<i64>, NetsError> {
        if token.trim().is_empty() || vectors == 0 {
            let reason = format!("`{token}` of {vectors} vectors is not a placeholder");
            return Err(failed("adding a placeholder", reason));
        }
        let names = placeholder_names(token, vectors);
        if let Some(known) = names.iter().find(|n| self.inner.token_to_id(n).is_some()) {
            let reason = format!("the vocabulary already has {known}; choose another placeholder");
            return Err(failed("adding a placeholder", reason));
        }
        let added: Vec<_> = names
            .iter()
            .map(|name| AddedToken::from(name.clone(), false))
            .collect();
        self.inner.add_tokens(&added);
        self.placeholders.push((token.to_owned(), vectors));
        let ids = names.iter().filter_map(|name| self.inner.token_to_id(name));
        Ok(ids.map(i64::from).collect())
    }

    /// The text with each placeholder of several vectors written out: `tok` becomes `tok tok_1 tok_2`.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] when the text cannot be tokenized.
    pub fn expand(&self, text: &str) -> Result<String, NetsError> {
        let several = self.placeholders.iter().filter(|(_, vectors)| *vectors > 1);
        let mut expanded = text.to_owned();
        for (token, vectors) in several {
            let id = self.inner.token_to_id(token);
            let encoding = self
                .inner
                .encode_fast(text, false)
                .map_err(|e| failed("encoding", e))?;
            if encoding.get_ids().iter().any(|found| Some(*found) == id) {
                let written = placeholder_names(token, *vectors).join(" ");
                expanded = expanded.replace(token.as_str(), &written);
            }
        }
        Ok(expanded)
    }
}

fn placeholder_names(token: &str, vectors: usize) -> Vec<String> {
    (0..vectors)
        .map(|i| match i {
            0 => token.to_owned(),
            i => format!("{token}_{i}"),
        })
        .collect()
}

fn from_vocabulary(folder: &Path, unknown: &str) -> Result<Inner, NetsError> {
    let path = |name: &str| {
        let path = folder.join(name);
        std::fs::metadata(&path).map_err(|e| NetsError::read(&path, e))?;
        Ok::<_, NetsError>(path.to_string_lossy().into_owned())
    };
    let (vocabulary, merges) = (path("vocab.json")?, path("merges.txt")?);
    let reading = |e: tokenizers::Error| failed("reading", format!("{}: {e}", folder.display()));
    let model = BPE::from_file(&vocabulary, &merges)
        .unk_token(unknown.to_owned())
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix("</w>".to_owned())
        .build()
        .map_err(reading)?;
    let space = Replace::new(ReplacePattern::Regex(r"\s+".to_owned()), " ").map_err(reading)?;
    let normalizers: Vec<NormalizerWrapper> = vec![NFC.into(), space.into(), Lowercase.into()];
    let words = SplitPattern::Regex(WORDS.to_owned());
    let words = Split::new(words, SplitDelimiterBehavior::Removed, true).map_err(reading)?;
    let bytes = ByteLevel::new(false, true, true);
    let pre_tokenizers: Vec<PreTokenizerWrapper> = vec![words.into(), bytes.into()];
    let mut inner = Inner::new(model);
    inner
        .with_normalizer(Some(Normalizers::new(normalizers)))
        .with_pre_tokenizer(Some(PreTokenizers::new(pre_tokenizers)))
        .with_decoder(Some(bytes));
    Ok(inner)
}

/// A token as these files write it: its text, or an object with `content`.
fn added_token(value: &Value) -> Option<AddedToken> {
    match value {
        Value::String(content) => Some(AddedToken::from(content.clone(), true)),
        Value::Object(fields) => {
            let content = fields.get("content")?.as_str()?;
            let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
            let token = AddedToken::from(content, true)
                .single_word(flag("single_word").unwrap_or(false))
                .lstrip(flag("lstrip").unwrap_or(false))
                .rstrip(flag("rstrip").unwrap_or(false))
                .normalized(flag("normalized").unwrap_or(false));
            Some(token)
        }
        _ => None,
    }
}

/// A JSON file, or null where there is none.
fn optional_json(path: &Path) -> Result<Value, NetsError> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let text = std::fs::read_to_string(path).map_err(|e| NetsError::read(path, e))?;
    serde_json::from_str(&text).map_err(|source| NetsError::Json {
        what: path.display().to_string(),
        source,
    })
}

fn failed(action: &'static str, reason: impl ToString) -> NetsError {
    NetsError::Tokenizer {
        action,
        reason: reason.to_string(),
    }
}
