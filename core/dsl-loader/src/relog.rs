//! Emits a plugin's log records again through the host's `tracing`, with their level, target, file, line and fields.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, OnceLock},
};

use dsl_abi::host::{LogRecord, RawLevel};
use serde_json::Value as Json;
use tracing_core::{
    Event, Kind, Level, LevelFilter, Metadata,
    callsite::{Callsite, Identifier},
    dispatcher,
    field::{FieldSet, Value, display},
    subscriber::Interest,
};

/// Fields of a record beyond the message and the plugin's name; more are left out.
const MAX_FIELDS: usize = 30;
const SLOTS: usize = MAX_FIELDS + 2;

/// `tracing` wants a static callsite for every event. One is made for each place in a plugin that logs, and leaked:
/// there are as many as there are log lines in the plugin's source.
struct Site(OnceLock<Metadata<'static>>);

impl Callsite for Site {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        self.0
            .get()
            .expect("filled in by `site` before anyone else sees it")
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    level: RawLevel,
    target: String,
    file: String,
    line: u32,
    fields: Vec<String>,
}

static SITES: LazyLock<Mutex<HashMap<Key, &'static Metadata<'static>>>> =
    LazyLock::new(Mutex::default);

fn level(level: RawLevel) -> Level {
    match level.0 {
        0 | 1 => Level::ERROR,
        2 => Level::WARN,
        3 => Level::INFO,
        4 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn site(key: Key) -> &'static Metadata<'static> {
    let mut sites = SITES
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(metadata) = sites.get(&key) {
        return metadata;
    }
    let names: Vec<&'static str> = ["message", "plugin"]
        .into_iter()
        .chain(key.fields.iter().map(|name| leak(name)))
        .collect();
    let site: &'static Site = Box::leak(Box::new(Site(OnceLock::new())));
    let metadata = site.0.get_or_init(|| {
        Metadata::new(
            "plugin event",
            leak(&key.target),
            level(key.level),
            (!key.file.is_empty()).then(|| leak(&key.file)),
            (key.line > 0).then_some(key.line),
            None,
            FieldSet::new(names.leak(), Identifier(site)),
            Kind::EVENT,
        )
    });
    sites.insert(key, metadata);
    metadata
}

/// Whether the host keeps records of this level and target.
pub(crate) fn enabled(raw: RawLevel, target: &str) -> bool {
    if level(raw) > LevelFilter::current() {
        return false;
    }
    let metadata = site(Key {
        level: raw,
        target: target.to_owned(),
        file: String::new(),
        line: 0,
        fields: Vec::new(),
    });
    dispatcher::get_default(|dispatch| dispatch.enabled(metadata))
}

/// Emits a record, within the span that the calling thread is in.
pub(crate) fn emit(plugin: &str, record: &LogRecord<'_>) {
    if level(record.level) > LevelFilter::current() {
        return;
    }
    // Fields that are not a JSON object are a mistake of the plugin that must not lose the message.
    let fields: serde_json::Map<String, Json> =
        serde_json::from_str(&record.fields).unwrap_or_default();
    let fields: Vec<(String, Json)> = fields
        .into_iter()
        .map(|(name, value)| {
            if name == "message" || name == "plugin" {
                (format!("{name}_field"), value)
            } else {
                (name, value)
            }
        })
        .take(MAX_FIELDS)
        .collect();
    let metadata = site(Key {
        level: record.level,
        target: record.target.to_string(),
        file: record.file.to_string(),
        line: record.line,
        fields: fields.iter().map(|(name, _)| name.clone()).collect(),
    });
    let message = display(record.message.as_str());
    let values: Vec<Box<dyn Value + '_>> = [Box::new(message) as Box<dyn Value>, Box::new(plugin)]
        .into_iter()
        .chain(fields.iter().map(|(_, value)| to_value(value)))
        .collect();
    let names: Vec<_> = metadata.fields().iter().collect();
    // An array of fixed length is the only form that `value_set` takes; a slot without a value is skipped.
    let slots: [_; SLOTS] = std::array::from_fn(|slot| {
        (
            names.get(slot).unwrap_or(&names[0]),
            values.get(slot).map(|value| &**value),
        )
    });
    dispatcher::get_default(|dispatch| {
        if dispatch.enabled(metadata) {
            dispatch.event(&Event::new(metadata, &metadata.fields().value_set(&slots)));
        }
    });
}

fn to_value(value: &Json) -> Box<dyn Value + '_> {
    match value {
        Json::String(text) => Box::new(text.as_str()),
        Json::Bool(flag) => Box::new(*flag),
        Json::Number(number) => {
            if let Some(number) = number.as_u64() {
                Box::new(number)
            } else if let Some(number) = number.as_i64() {
                Box::new(number)
            } else {
                Box::new(number.as_f64())
            }
        }
        other => Box::new(display(other)),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

    use super::*;

    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Text {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn check(filter: &str, records: &[LogRecord<'_>], expected: &str) {
        let text = Text::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(text.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("step", number = 3).entered();
            records.iter().for_each(|record| emit("t2i", record));
        });
        assert_eq!(
            String::from_utf8(text.0.lock().unwrap().clone()).unwrap(),
            expected
        );
    }

    fn record<'a>(raw: RawLevel, message: &'a str, fields: &'a str) -> LogRecord<'a> {
        LogRecord {
            level: raw,
            target: "t2i::dataset".into(),
            file: "dataset.rs".into(),
            line: 7,
            message: message.into(),
            fields: fields.into(),
        }
    }

    #[test]
    fn records_keep_level_target_fields_and_stand_in_the_span_of_the_host() {
        check(
            "info",
            &[
                record(
                    RawLevel::WARN,
                    "skipped",
                    r#"{"file":"a.png","count":2,"share":0.5,"flip":true}"#,
                ),
                record(
                    RawLevel::WARN,
                    "skipped again",
                    r#"{"file":"b.png","count":-3,"share":1.5,"flip":false}"#,
                ),
                record(RawLevel::INFO, "bad fields", "not json"),
                record(RawLevel::DEBUG, "too much", ""),
            ],
            " WARN step{number=3}: t2i::dataset: skipped plugin=\"t2i\" file=\"a.png\" count=2 share=0.5 flip=true\n \
             WARN step{number=3}: t2i::dataset: skipped again plugin=\"t2i\" file=\"b.png\" count=-3 share=1.5 flip=false\n \
             INFO step{number=3}: t2i::dataset: bad fields plugin=\"t2i\"\n",
        );
    }

    #[test]
    fn filters_see_the_target_of_the_plugin() {
        let records = [
            record(RawLevel::DEBUG, "seen", ""),
            record(RawLevel::TRACE, "not seen", ""),
        ];
        check(
            "warn,t2i=debug,step=info",
            &records,
            "DEBUG t2i::dataset: seen plugin=\"t2i\"\n",
        );
    }
}
