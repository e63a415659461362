//! `--set a.b=c`: one value of the configuration, from the command line.

use std::{ops::Range, path::Path, sync::Arc};

use serde_json::{Map, Value};

use super::{
    document::{Document, NodeSpan, Source, child},
    error::{ConfigError, ConfigErrors, Place},
    yaml,
};

/// What the source of an argument is called.
pub(super) const SOURCE_NAME: &str = "--set";

/// One `--set` argument, read.
#[derive(Debug, Clone)]
pub(super) struct Override {
    /// The path's nested mappings around the value; spans are those of the argument's text.
    pub document: Document,
    /// JSON pointer of the path.
    pub pointer: String,
    /// The value as typed.
    pub raw: String,
}

/// What a file and `--set` arguments say of `task`, unchecked: for questions to a plugin that is not loaded in this
/// process. A file may have the host's keys beside it, so that the file of a run will do; an argument may not.
///
/// # Errors
/// A file or an argument that cannot be read; keys that are neither the task's nor the host's.
pub fn task_part(file: Option<&Path>, sets: &[String]) -> Result<Value, ConfigErrors> {
    let mut task = Value::Null;
    if let Some(path) = file {
        let document = Document::read(path).map_err(ConfigErrors::from)?;
        let schema = super::schema(None).map_err(ConfigErrors::from)?;
        let known = |key: &str| key == "task" || schema["properties"].get(key).is_some();
        let keys = document.value.as_object().into_iter().flatten();
        if let Some((key, _)) = keys.clone().find(|(key, _)| !known(key)) {
            let message = format!("`{}` has the unknown key `{key}`", path.display());
            let error =
                ConfigError::new(message).with_help("the keys of the plugin stand below `task`");
            return Err(error.into());
        }
        if let Some((_, part)) = keys.into_iter().find(|(key, _)| *key == "task") {
            task = part.clone();
        }
    }
    for argument in sets {
        let set = parse(argument).map_err(ConfigErrors::from)?;
        if set.pointer != "/task" && !set.pointer.starts_with("/task/") {
            let error = ConfigError::new(format!("`--set {argument}` is not about the task"))
                .with_help("the keys of the plugin stand below `task`, such as `--set task.data.path=photos`");
            return Err(error.into());
        }
        let value = set.document.value.get("task").cloned();
        dsl_testkit::merge(&mut task, value.unwrap_or_default());
    }
    Ok(task)
}

/// Reads one `path=value`. The value is a YAML scalar, `[list]` or `{mapping}`; anything else is a string.
pub(super) fn parse(argument: &str) -> Result<Override, ConfigError> {
    let source = Source::new(SOURCE_NAME, argument);
    let help = "write `--set key.subkey=value`, for example `--set train.steps=2000`";
    let fail = |message: String, span: Range<usize>, label: &str| {
        let place = Place::new(source.clone(), span, label);
        Err(ConfigError::new(message).with_help(help).at(place))
    };
    let Some(equals) = argument.find('=') else {
        let whole = 0..argument.len();
        return fail(format!("`--set {argument}` has no `=`"), whole, "no `=`");
    };
    let mut keys: Vec<(String, Range<usize>)> = Vec::new();
    let mut start = 0;
    for part in argument[..equals].split('.') {
        let trimmed = part.trim();
        let from = start + (part.len() - part.trim_start().len());
        if trimmed.is_empty() {
            let message = format!("`--set {argument}` has an empty key in its path");
            return fail(message, start..start + part.len(), "no key here");
        }
        keys.push((trimmed.to_owned(), from..from + trimmed.len()));
        start += part.len() + 1;
    }
    let raw = &argument[equals + 1..];
    let raw_start = equals + 1 + (raw.len() - raw.trim_start().len());
    let raw = raw.trim();
    let value = value(&source, raw, raw_start)?;

    let mut document = Document {
        source: source.clone(),
        value: Value::Null,
        spans: Default::default(),
    };
    let whole = NodeSpan {
        key: None,
        value: 0..argument.len(),
    };
    document.spans.insert(String::new(), whole);
    let mut pointer = String::new();
    for (key, span) in &keys {
        pointer = child(&pointer, key);
        let node = NodeSpan {
            key: Some(span.clone()),
            value: raw_start..raw_start + raw.len(),
        };
        document.spans.insert(pointer.clone(), node);
    }
    for (inner, span) in value.spans {
        if !inner.is_empty() {
            document.spans.insert(format!("{pointer}{inner}"), span);
        }
    }
    document.value = nest(keys.iter().map(|(key, _)| key.as_str()), value.value);
    Ok(Override {
        document,
        pointer,
        raw: raw.to_owned(),
    })
}

/// `value` inside one mapping per key.
pub(super) fn nest<'a>(keys: impl DoubleEndedIterator<Item = &'a str>, value: Value) -> Value {
    keys.rev().fold(value, |value, key| {
        let mut members = Map::new();
        members.insert(key.to_owned(), value);
        Value::Object(members)
    })
}

/// The value of an argument; its spans are moved to where it stands in the argument.
fn value(source: &Arc<Source>, raw: &str, start: usize) -> Result<Document, ConfigError> {
    let string = |text: &str| Document {
        source: source.clone(),
        value: text.into(),
        spans: Default::default(),
    };
    let structured = raw.starts_with(['[', '{', '"', '\'']);
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_' | '~');
    // Free text, such as a prompt with `: ` or ` #` in it, means itself.
    if raw.is_empty() || !structured && !raw.chars().all(word) {
        return Ok(string(raw));
    }
    // Spaces keep the offsets of the argument.
    let padded = Source::new(SOURCE_NAME, format!("{}{raw}", " ".repeat(start)));
    match yaml::parse(padded) {
        Ok(document) => Ok(document),
        Err(_) if !structured => Ok(string(raw)),
        Err(mut errors) => {
            let error = errors.remove(0);
            let message = error.message.replace("the YAML", "the value of `--set`");
            let label = "not YAML";
            let place = Place::new(source.clone(), start..start + raw.len(), label);
            Err(ConfigError::new(message)
                .with_help("lists are `[1, 2]`, mappings `{a: 1}`, and quotes come in pairs")
                .at(place))
        }
    }
}
