//! One configuration text, read: its value, and where every key and value of it stands.

use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc};

use serde_json::Value;

use super::{
    error::{ConfigError, Place},
    json, toml, yaml,
};

/// A text that configuration came from: a file, a `--set` argument, or the defaults of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the user calls it: a path, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source of that name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
        })
    }

    /// Line and column, both from 1, of a byte offset; the column counts characters.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    /// Byte offset of a line and column, both from 1, the column in characters.
    pub fn offset(&self, line: usize, column: usize) -> usize {
        let mut lines = self.text.split_inclusive('\n');
        let start: usize = lines
            .by_ref()
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum();
        let line = self.text.get(start..).unwrap_or_default();
        let within = line.char_indices().nth(column.saturating_sub(1));
        within.map_or(self.text.len(), |(offset, _)| start + offset)
    }
}

/// Where one node of a document stands in its text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSpan {
    /// The key; none for list entries and for the document itself.
    pub key: Option<Range<usize>>,
    /// The value.
    pub value: Range<usize>,
}

/// A configuration text as a value, with a span for every JSON pointer in it.
#[derive(Debug, Clone)]
pub struct Document {
    /// The text.
    pub source: Arc<Source>,
    /// What the text says.
    pub value: Value,
    /// JSON pointer of a node → its place; the document itself is the empty pointer.
    pub spans: BTreeMap<String, NodeSpan>,
}

/// The languages a configuration file may be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.yaml`, `.yml`
    Yaml,
    /// `.toml`
    Toml,
    /// `.json`
    Json,
}

impl Format {
    /// The format that the extension of `path` names.
    ///
    /// # Errors
    /// When the extension is none of `yaml`, `yml`, `toml`, `json`.
    pub fn of(path: &Path) -> Result<Self, ConfigError> {
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("toml") => Ok(Self::Toml),
            Some("json") => Ok(Self::Json),
            Some(other) => Err(ConfigError::new(format!(
                "cannot tell the format of config file `{}`: unknown extension `.{other}`",
                path.display()
            ))),
            None => Err(ConfigError::new(format!(
                "cannot tell the format of config file `{}`: it has no extension",
                path.display()
            ))),
        }
        .map_err(|error| error.with_help("use a file that ends in `.yaml`, `.toml` or `.json`"))
    }
}

impl Document {
    /// Reads a configuration file; its extension says the format.
    ///
    /// # Errors
    /// When the file cannot be read, is not UTF-8, has an unknown extension, or breaks the rules of its format.
    pub fn read(path: &Path) -> Result<Self, Vec<ConfigError>> {
        let format = Format::of(path).map_err(|error| vec![error])?;
        let bytes = std::fs::read(path).map_err(|error| {
            let error = ConfigError::new(format!(
                "cannot read config file `{}`: {error}",
                path.display()
            ));
            vec![error.with_help("check the path given to `--config`")]
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let error = ConfigError::new(format!(
                "config file `{}` is not UTF-8 text: byte {} breaks it",
                path.display(),
                error.utf8_error().valid_up_to()
            ));
            vec![error.with_help("save the file as UTF-8")]
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        Self::parse(format, Source::new(path.display().to_string(), text))
    }

    /// Reads a text of a known format. An empty document is an empty mapping.
    ///
    /// # Errors
    /// When the text breaks the rules of its format, or is not a mapping at its top.
    pub fn parse(format: Format, source: Arc<Source>) -> Result<Self, Vec<ConfigError>> {
        let mut document = match format {
            Format::Yaml => yaml::parse(source)?,
            Format::Toml => toml::parse(source)?,
            Format::Json => json::parse(source)?,
        };
        match &document.value {
            Value::Object(_) => Ok(document),
            Value::Null => {
                document.value = Value::Object(serde_json::Map::new());
                Ok(document)
            }
            other => {
                let span = document.spans.get("").map(|span| span.value.clone());
                let error = ConfigError::new(format!(
                    "the config must be a mapping of keys to values, found {}",
                    describe(other)
                ))
                .at(Place::new(
                    document.source.clone(),
                    span.unwrap_or(0..0),
                    "not a mapping",
                ));
                Err(vec![error.with_help("write `key: value` pairs")])
            }
        }
    }
}

/// The pointer of `key` inside the node at pointer `at`.
pub fn child(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// The keys of a JSON pointer, unescaped.
pub fn segments(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer
        .split('/')
        .skip(1)
        .map(|segment| segment.replace("~1", "/").replace("~0", "~"))
}

/// A pointer as people write it: `/train/steps` is `train.steps`, as for `--set`.
pub fn dotted(pointer: &str) -> String {
    segments(pointer).collect::<Vec<_>>().join(".")
}

/// A value in words, short enough for a message: `the string "abc"`, `a list of 3`.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => format!("the boolean {value}"),
        Value::Number(number) if number.is_f64() => format!("the number {number}"),
        Value::Number(number) => format!("the integer {number}"),
        Value::String(text) if text.chars().count() > 60 => {
            let start: String = text.chars().take(57).collect();
            format!("the string {:?}", start + "...")
        }
        Value::String(text) => format!("the string {text:?}"),
        Value::Array(entries) => format!("a list of {}", entries.len()),
        Value::Object(_) => "a mapping".into(),
    }
}
