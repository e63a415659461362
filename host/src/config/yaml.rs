//! YAML with the place of every key and value.

use std::{fmt, ops::Range, sync::Arc};

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use serde_saphyr::{Location, MessageFormatter, Spanned};

use super::{
    document::{Document, NodeSpan, Source, child},
    error::{ConfigError, Place},
};

/// Reads a YAML text: YAML 1.2 booleans only (`no` is a string), duplicate keys are errors.
pub(super) fn parse(source: Arc<Source>) -> Result<Document, Vec<ConfigError>> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    let node: Spanned<Node> = serde_saphyr::from_str_with_options(&source.text, options)
        .map_err(|error| vec![syntax_error(&source, &error)])?;
    let mut document = Document {
        source,
        value: Value::Null,
        spans: Default::default(),
    };
    let span = NodeSpan {
        key: None,
        value: range(&document.source.text, node.referenced),
    };
    document.spans.insert(String::new(), span);
    document.value = flatten(node.value, "", &mut document);
    Ok(document)
}

/// A YAML node with the places of its children.
enum Node {
    Scalar(Value),
    List(Vec<Spanned<Node>>),
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> de::Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a config value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_element()? {
            entries.push(entry);
        }
        Ok(Node::List(entries))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}

fn flatten(node: Node, at: &str, document: &mut Document) -> Value {
    match node {
        Node::Scalar(value) => value,
        Node::List(entries) => entries
            .into_iter()
            .enumerate()
            .map(|(index, entry)| {
                let pointer = child(at, &index.to_string());
                let span = NodeSpan {
                    key: None,
                    value: range(&document.source.text, entry.referenced),
                };
                document.spans.insert(pointer.clone(), span);
                flatten(entry.value, &pointer, document)
            })
            .collect(),
        Node::Mapping(entries) => Value::Object(
            entries
                .into_iter()
                .map(|(key, entry)| {
                    let pointer = child(at, &key.value);
                    let span = NodeSpan {
                        key: Some(range(&document.source.text, key.referenced)),
                        value: range(&document.source.text, entry.referenced),
                    };
                    document.spans.insert(pointer.clone(), span);
                    let value = flatten(entry.value, &pointer, document);
                    (key.value, value)
                })
                .collect(),
        ),
    }
}

/// The bytes of a location, without the white space at its end.
fn range(text: &str, location: Location) -> Range<usize> {
    let start = location.span().byte_offset().unwrap_or(0) as usize;
    let end = start + location.span().byte_len().unwrap_or(0) as usize;
    match text.get(start..end) {
        Some(part) => start..start + part.trim_end().len(),
        None => 0..0,
    }
}

fn syntax_error(source: &Arc<Source>, error: &serde_saphyr::Error) -> ConfigError {
    let error = error.without_snippet();
    let message = serde_saphyr::UserMessageFormatter.format_message(error);
    let location = error.location().unwrap_or(Location::UNKNOWN);
    // Errors of the grammar know line and column only.
    let span = match location.span().byte_offset() {
        Some(_) => range(&source.text, location),
        None => {
            let at = source.offset(location.line() as usize, location.column() as usize);
            at..at
        }
    };
    ConfigError::new(format!("cannot read the YAML: {message}")).at(Place::new(
        source.clone(),
        span,
        "here",
    ))
}
