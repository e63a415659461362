//! TOML with the place of every key and value.

use std::{ops::Range, sync::Arc};

use serde_json::Value;
use toml::{
    Spanned,
    de::{DeInteger, DeTable, DeValue},
};

use super::{
    document::{Document, NodeSpan, Source, child},
    error::{ConfigError, Place},
};

/// Reads a TOML text. Dates are refused, as are numbers that JSON cannot hold.
pub(super) fn parse(source: Arc<Source>) -> Result<Document, Vec<ConfigError>> {
    let text = source.text.clone();
    let table = match DeTable::parse_recoverable(&text) {
        (table, errors) if errors.is_empty() => table,
        (_, errors) => {
            return Err(errors
                .iter()
                .map(|error| {
                    let span = error.span().unwrap_or(0..0);
                    let message = error.message().trim_end_matches(", expected nothing");
                    ConfigError::new(format!("cannot read the TOML: {message}")).at(Place::new(
                        source.clone(),
                        span,
                        "here",
                    ))
                })
                .collect());
        }
    };
    let mut reader = Reader {
        document: Document {
            source,
            value: Value::Null,
            spans: Default::default(),
        },
        errors: Vec::new(),
    };
    let whole = NodeSpan {
        key: None,
        value: table.span(),
    };
    reader.document.spans.insert(String::new(), whole);
    let value = reader.table(table.get_ref(), "");
    reader.document.value = value;
    match reader.errors.is_empty() {
        true => Ok(reader.document),
        false => Err(reader.errors),
    }
}

struct Reader {
    document: Document,
    errors: Vec<ConfigError>,
}

impl Reader {
    fn table(&mut self, table: &DeTable<'_>, at: &str) -> Value {
        let entries = table.iter().map(|(key, value)| {
            let pointer = child(at, key.get_ref());
            let span = NodeSpan {
                key: Some(key.span()),
                value: value.span(),
            };
            self.document.spans.insert(pointer.clone(), span);
            (key.get_ref().to_string(), self.value(value, &pointer))
        });
        Value::Object(entries.collect())
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, at: &str) -> Value {
        match value.get_ref() {
            DeValue::String(text) => text.to_string().into(),
            DeValue::Boolean(value) => (*value).into(),
            DeValue::Integer(integer) => match parse_integer(integer) {
                Some(value) => value,
                None => self.refuse(value.span(), "the integer does not fit 64 bits"),
            },
            DeValue::Float(float) => {
                match float
                    .as_str()
                    .parse()
                    .ok()
                    .and_then(serde_json::Number::from_f64)
                {
                    Some(number) => number.into(),
                    None => self.refuse(value.span(), "the number must be finite"),
                }
            }
            DeValue::Datetime(_) => {
                self.refuse(value.span(), "dates are not used here; write it in quotes")
            }
            DeValue::Array(entries) => {
                let entries = entries.iter().enumerate().map(|(index, entry)| {
                    let pointer = child(at, &index.to_string());
                    let span = NodeSpan {
                        key: None,
                        value: entry.span(),
                    };
                    self.document.spans.insert(pointer.clone(), span);
                    self.value(entry, &pointer)
                });
                Value::Array(entries.collect())
            }
            DeValue::Table(table) => self.table(table, at),
        }
    }

    fn refuse(&mut self, span: Range<usize>, reason: &str) -> Value {
        let place = Place::new(self.document.source.clone(), span, "here");
        self.errors
            .push(ConfigError::new(format!("cannot read the TOML: {reason}")).at(place));
        Value::Null
    }
}

fn parse_integer(integer: &DeInteger<'_>) -> Option<Value> {
    let (digits, radix) = (integer.as_str(), integer.radix());
    match i64::from_str_radix(digits, radix) {
        Ok(value) => Some(value.into()),
        Err(_) => u64::from_str_radix(digits, radix).ok().map(Value::from),
    }
}
