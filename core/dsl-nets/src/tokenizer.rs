//! A byte-level BPE tokenizer trained on the captions of a run.

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence, Strip};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, NormalizerWrapper, TokenizerImpl};

use crate::error::NetsError;

type Inner = TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>;

/// Text to token ids of a fixed length: start token, text, end token, padding.
///
/// Text is brought to NFC, white space to single spaces, letters to lower case; any character can be written, through its bytes.
/// Special tokens written out in a caption are ordinary text. Training is deterministic, whatever the order of the captions.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    start: u32,
    end: u32,
    pad: u32,
    /// New words with their ids, longest first.
    added: Vec<(String, i64)>,
    groups: WordGroups,
}

/// The ids of one text, as many as a text encoder reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTokens {
    /// Start, text, end, padding.
    pub ids: Vec<i64>,
    /// How many of them are not padding.
    pub used: usize,
    /// How many tokens at the text's end found no room.
    pub dropped: usize,
    /// New words that are in the text, and none of whose places found room.
    pub lost_words: Vec<String>,
}

/// Words of several embeddings: `<a>`, `<a>_1`, `<a>_2` … in a row. The first alone stands for all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct WordGroups(Vec<(i64, i64)>);

impl WordGroups {
    /// Of words with the ids from `first_id` on.
    pub(crate) fn of(words: &[String], first_id: usize) -> Self {
        let mut groups = Vec::new();
        let mut rest = words;
        let mut id = first_id as i64;
        while let [first, others @ ..] = rest {
            let belongs = |(i, word): &(usize, &String)| **word == format!("{first}_{}", i + 1);
            let count = 1 + others.iter().enumerate().take_while(belongs).count();
            if count > 1 {
                groups.push((id, count as i64));
            }
            (rest, id) = (&rest[count..], id + count as i64);
        }
        Self(groups)
    }

    /// `ids` with all of a word's where the first stands alone.
    pub(crate) fn written_out(&self, ids: Vec<i64>) -> Vec<i64> {
        if self.0.is_empty() {
            return ids;
        }
        let mut all = Vec::with_capacity(ids.len());
        for (i, id) in ids.iter().copied().enumerate() {
            match self.0.iter().find(|(first, _)| *first == id) {
                Some((_, count)) if ids.get(i + 1) != Some(&(id + 1)) => all.extend(id..id + count),
                _ => all.push(id),
            }
        }
        all
    }
}

impl TextTokens {
    /// A whole text, start and end included, cut or filled to `max_tokens`, two at least; `words` are the new ones with their ids.
    pub(crate) fn fit<'a>(
        whole: Vec<i64>,
        max_tokens: usize,
        pad: i64,
        words: impl Iterator<Item = (&'a str, i64)>,
    ) -> Self {
        let dropped = whole.len().saturating_sub(max_tokens);
        let mut ids = whole;
        let mut lost_words = Vec::new();
        if let (true, Some(end)) = (dropped > 0, ids.last().copied()) {
            let rest = ids.split_off(max_tokens - 1);
            let is_lost = |id: &i64| rest.contains(id) && !ids.contains(id);
            let lost = words.filter(|(_, id)| is_lost(id));
            lost_words = lost.map(|(word, _)| word.to_owned()).collect();
            ids.push(end);
        }
        let used = ids.len();
        ids.resize(max_tokens, pad);
        Self {
            ids,
            used,
            dropped,
            lost_words,
        }
    }
}

impl Tokenizer {
    /// Begins every text.
    pub const START: &'static str = "<|startoftext|>";
    /// Ends every text.
    pub const END: &'static str = "<|endoftext|>";
    /// Fills up to the fixed length.
    pub const PAD: &'static str = "<|pad|>";
    /// Special tokens and the 256 bytes: no vocabulary is smaller.
    pub const MIN_VOCAB_SIZE: usize = 3 + 256;

    /// Learns merges from `captions` until there are `vocab_size` tokens, or nothing is left to merge.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a vocabulary below [`MIN_VOCAB_SIZE`](Self::MIN_VOCAB_SIZE).
    pub fn train_bpe<'a>(
        captions: impl IntoIterator<Item = &'a str>,
        vocab_size: usize,
    ) -> Result<Self, NetsError> {
        if vocab_size < Self::MIN_VOCAB_SIZE {
            let reason = format!(
                "three special tokens and 256 bytes need at least {}",
                Self::MIN_VOCAB_SIZE
            );
            return Err(NetsError::config("vocab_size", vocab_size, reason));
        }
        let failed = |e: tokenizers::Error| Self::error("training", e);
        let special = |content: &str| AddedToken::from(content, true);
        let mut trainer = BpeTrainer::builder()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .special_tokens(vec![
                special(Self::START),
                special(Self::END),
                special(Self::PAD),
            ])
            // Without an end-of-word suffix: its tokens would be numbered in the order of a hash map.
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let bytes = ByteLevel::new(true, false, true);
        let mut inner = Inner::new(BPE::default());
        inner
            .with_normalizer(Some(Self::normalizer().map_err(failed)?))
            .with_pre_tokenizer(Some(bytes))
            .with_decoder(Some(bytes));
        let mut captions: Vec<String> = captions.into_iter().map(str::to_owned).collect();
        captions.sort_unstable();
        inner
            .train(&mut trainer, captions.into_iter())
            .map_err(failed)?;
        let text = inner.to_string(false).map_err(failed)?;
        Self::from_json(&text)
    }

    fn normalizer() -> Result<NormalizerWrapper, tokenizers::Error> {
        let space = Replace::new(
            tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".to_owned()),
            " ",
        )?;
        let steps: Vec<NormalizerWrapper> = vec![
            NFC.into(),
            space.into(),
            Strip::new(true, true).into(),
            Lowercase.into(),
        ];
        Ok(Sequence::new(steps).into())
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] when the text is not a tokenizer or lacks one of the three special tokens.
    pub fn from_json(text: &str) -> Result<Self, NetsError> {
        let mut inner: tokenizers::Tokenizer =
            text.parse().map_err(|e| Self::error("reading", e))?;
        inner.set_encode_special_tokens(true);
        let id = |token: &str| {
            inner
                .token_to_id(token)
                .ok_or_else(|| NetsError::Tokenizer {
                    action: "reading",
                    reason: format!("it has no token {token}"),
                })
        };
        let (start, end, pad) = (id(Self::START)?, id(Self::END)?, id(Self::PAD)?);
        Ok(Self {
            inner,
            start,
            end,
            pad,
            added: Vec::new(),
            groups: WordGroups::default(),
        })
    }

    /// The same tokenizer with new words: wherever one is written in a text, letter by letter, it becomes one id,
    /// `first_id` for the first of them. Of several that begin in one place the longest counts. `first_id` is the text encoder's
    /// `vocab_size`, which may be more than this tokenizer's. `<a>` alone stands for `<a><a>_1<a>_2` where these words follow it in
    /// the list. Words that it had are replaced.
    ///
    /// [`Self::to_json`] leaves them out: they belong to a task, not to the vocabulary.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] for a word that is empty, has white space around it, or is given twice, and for ids that are
    /// taken.
    pub fn with_added_tokens(&self, words: &[String], first_id: usize) -> Result<Self, NetsError> {
        let wrong = |reason: String| NetsError::Tokenizer {
            action: "adding words",
            reason,
        };
        if first_id < self.vocab_size() {
            let known = self.vocab_size();
            return Err(wrong(format!(
                "ids from {first_id} on are taken: there are {known} tokens"
            )));
        }
        let mut added: Vec<(String, i64)> = Vec::new();
        for (word, id) in words.iter().zip(first_id as i64..) {
            if word.is_empty() || word.trim() != word {
                return Err(wrong(format!("`{word}` is not a word")));
            }
            if added.iter().any(|(known, _)| known == word) {
                return Err(wrong(format!("`{word}` is given twice")));
            }
            added.push((word.clone(), id));
        }
        added.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        Ok(Self {
            added,
            groups: WordGroups::of(words, first_id),
            ..self.clone()
        })
    }

    /// Number of words from [`Self::with_added_tokens`].
    pub fn added_tokens(&self) -> usize {
        self.added.len()
    }

    /// The tokenizer as the JSON that the `tokenizers` library reads; equal tokenizers give equal texts.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] when it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, NetsError> {
        self.inner
            .to_string(false)
            .map_err(|e| Self::error("writing", e))
    }

    /// Number of tokens, added words left out; every id of theirs is below it.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Id of the padding token.
    pub fn pad_id(&self) -> i64 {
        i64::from(self.pad)
    }

    /// `max_len` ids: start, the text cut to fit, end, padding.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] when `max_len` has no room for start and end.
    pub fn encode(&self, text: &str, max_len: usize) -> Result<TextTokens, NetsError> {
        if max_len < 2 {
            return Err(NetsError::config(
                "max_len",
                max_len,
                "start and end need two tokens",
            ));
        }
        let mut ids = vec![i64::from(self.start)];
        ids.extend(self.ids(text)?);
        ids.push(i64::from(self.end));
        let words = self.added.iter().map(|(word, id)| (word.as_str(), *id));
        Ok(TextTokens::fit(ids, max_len, self.pad_id(), words))
    }

    /// The ids of a text, however many: no start, end or padding.
    ///
    /// # Errors
    /// [`NetsError::Tokenizer`] when the text cannot be tokenized.
    pub fn ids(&self, text: &str) -> Result<Vec<i64>, NetsError> {
        let mut ids = Vec::new();
        let mut rest = text;
        while let Some((place, word, id)) = self.next_added(rest) {
            ids.extend(self.plain_ids(&rest[..place], ids.is_empty())?);
            ids.push(id);
            rest = &rest[place + word.len()..];
        }
        ids.extend(self.plain_ids(rest, ids.is_empty())?);
        Ok(self.groups.written_out(ids))
    }

    /// The first added word in a text: its place, the word, its id.
    fn next_added<'a>(&'a self, text: &str) -> Option<(usize, &'a str, i64)> {
        self.added
            .iter()
            .filter_map(|(word, id)| Some((text.find(word.as_str())?, word.as_str(), *id)))
            // The first of several equal ones is the longest.
            .min_by_key(|(place, ..)| *place)
    }

    /// The ids of a text without added words. One that goes on after a word keeps the space it begins with, as it would
    /// after any other word.
    fn plain_ids(&self, text: &str, begins: bool) -> Result<Vec<i64>, NetsError> {
        const ANY_WORD: &str = "a";
        let encode = |text: &str| -> Result<Vec<i64>, NetsError> {
            let encoding = self
                .inner
                .encode_fast(text, false)
                .map_err(|e| Self::error("encoding", e))?;
            Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
        };
        if begins || !text.starts_with(char::is_whitespace) || text.trim().is_empty() {
            return encode(text);
        }
        let word = encode(ANY_WORD)?;
        let after = encode(&format!("{ANY_WORD}{text}"))?;
        match after.strip_prefix(word.as_slice()) {
            Some(after) => Ok(after.to_vec()),
            None => encode(text),
        }
    }

    fn error(action: &'static str, reason: tokenizers::Error) -> NetsError {
        NetsError::Tokenizer {
            action,
            reason: reason.to_string(),
        }
    }
}
