//! Sends the plugin's `tracing` events to the host. A dispatcher cannot cross the boundary, so the plugin has its own.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, OnceLock},
};

use dsl_abi::host::{HostObject, LogRecord, RawLevel};
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};

/// The host that hears this library's events: the first that opened a task of it.
static HOST: OnceLock<Arc<HostObject>> = OnceLock::new();

/// Makes the events of this library go to the host. Later hosts ask the first one's filter again.
pub(crate) fn connect(host: &Arc<HostObject>) {
    if HOST.set(host.clone()).is_ok() {
        // It fails when this library already has a subscriber, that is when it is linked into a program of its author.
        drop(tracing::subscriber::set_global_default(ToHost));
    } else {
        tracing::callsite::rebuild_interest_cache();
    }
}

fn level(level: Level) -> RawLevel {
    match level {
        Level::ERROR => RawLevel::ERROR,
        Level::WARN => RawLevel::WARN,
        Level::INFO => RawLevel::INFO,
        Level::DEBUG => RawLevel::DEBUG,
        Level::TRACE => RawLevel::TRACE,
    }
}

/// Forwards events; spans are not forwarded, since the host has its own around each call.
struct ToHost;

impl Subscriber for ToHost {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Kept for each callsite, so that a disabled event costs one load.
        if self.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && HOST.get().is_some_and(|host| {
                host.log_enabled(level(*metadata.level()), metadata.target().into())
            })
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(host) = HOST.get() else { return };
        let mut visitor = Fields::default();
        event.record(&mut visitor);
        let metadata = event.metadata();
        let fields = if visitor.fields.is_empty() {
            String::new()
        } else {
            Value::Object(visitor.fields).to_string()
        };
        host.log(&LogRecord {
            level: level(*metadata.level()),
            target: metadata.target().into(),
            file: metadata.file().unwrap_or_default().into(),
            line: metadata.line().unwrap_or_default(),
            message: visitor.message.as_str().into(),
            fields: fields.as_str().into(),
        });
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    fields: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            // Writing to a string does not fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.put(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.put(field, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.put(field, value);
        } else {
            // JSON has no words for these.
            self.put(field, value.to_string());
        }
    }
}
