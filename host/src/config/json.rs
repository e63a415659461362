//! JSON with the place of every key and value.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use serde_json::Value;

use super::{
    document::{Document, NodeSpan, Source, child},
    error::{ConfigError, Place},
};

/// Reads a JSON text; `serde_json` judges it, then a scan finds the places. Duplicate keys are errors.
pub(super) fn parse(source: Arc<Source>) -> Result<Document, Vec<ConfigError>> {
    let value = serde_json::from_str::<Value>(&source.text).map_err(|error| {
        let offset = offset(&source.text, error.line(), error.column());
        let message = error.to_string();
        let message = match message.split_once(" at line ") {
            Some((message, _)) => message,
            None => &message,
        };
        let message = message.replace("EOF", "the text ends");
        let place = Place::new(source.clone(), offset..offset, "here");
        vec![ConfigError::new(format!("cannot read the JSON: {message}")).at(place)]
    })?;
    let mut scanner = Scanner {
        bytes: source.text.as_bytes(),
        position: 0,
        spans: BTreeMap::new(),
        duplicates: Vec::new(),
    };
    scanner.node("", None);
    let (spans, duplicates) = (scanner.spans, scanner.duplicates);
    if !duplicates.is_empty() {
        let errors =
            duplicates.into_iter().map(|(key, span)| {
                ConfigError::new(format!("cannot read the JSON: duplicate key {key}"))
                    .at(Place::new(source.clone(), span, "second time"))
            });
        return Err(errors.collect());
    }
    Ok(Document {
        source,
        value,
        spans,
    })
}

/// Byte offset of the character at `line` and byte `column`, both counted from 1 as `serde_json` does.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut offset = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Walks a text that is known to be valid JSON.
struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
    spans: BTreeMap<String, NodeSpan>,
    duplicates: Vec<(String, Range<usize>)>,
}

impl Scanner<'_> {
    fn node(&mut self, at: &str, key: Option<Range<usize>>) {
        self.skip_space();
        let start = self.position;
        match self.peek() {
            b'{' => self.members(at),
            b'[' => self.entries(at),
            b'"' => drop(self.string()),
            _ => {
                while !matches!(
                    self.peek(),
                    b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' | 0
                ) {
                    self.position += 1;
                }
            }
        }
        let value = start..self.position;
        self.spans.insert(at.to_owned(), NodeSpan { key, value });
    }

    fn members(&mut self, at: &str) {
        self.position += 1;
        loop {
            self.skip_space();
            match self.peek() {
                b'"' => {
                    let span = self.string();
                    let text = &self.bytes[span.clone()];
                    let key: String = serde_json::from_slice(text).unwrap_or_default();
                    self.skip_space();
                    self.position += 1; // the colon
                    let pointer = child(at, &key);
                    if self.spans.contains_key(&pointer) {
                        self.duplicates.push((format!("`{key}`"), span.clone()));
                    }
                    self.node(&pointer, Some(span));
                }
                b',' => self.position += 1,
                _ => break,
            }
        }
        self.position += 1;
    }

    fn entries(&mut self, at: &str) {
        self.position += 1;
        let mut index = 0;
        loop {
            self.skip_space();
            match self.peek() {
                b',' => self.position += 1,
                b']' | 0 => break,
                _ => {
                    self.node(&child(at, &index.to_string()), None);
                    index += 1;
                }
            }
        }
        self.position += 1;
    }

    fn string(&mut self) -> Range<usize> {
        let start = self.position;
        self.position += 1;
        while !matches!(self.peek(), b'"' | 0) {
            self.position += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.position = (self.position + 1).min(self.bytes.len());
        start..self.position
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.position += 1;
        }
    }

    /// The byte at the position; 0 at the end, which valid JSON never holds.
    fn peek(&self) -> u8 {
        self.bytes.get(self.position).copied().unwrap_or(0)
    }
}
