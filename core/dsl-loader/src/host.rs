//! The host's half of what a plugin may call.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use dsl_abi::{
    Extension,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, RNone, ROption, RStr},
    },
    host::{HostInterface, HostInterface_TO, HostObject, LogRecord, RawLevel},
};

use crate::relog;

/// What a host answers when a plugin asks. `[any thread]`
///
/// Log records are not among it: they always go to the host's `tracing`.
pub trait HostCallbacks: Send + Sync + 'static {
    /// Whether the user asked for a stop.
    fn cancelled(&self) -> bool {
        false
    }

    /// `done` of `total` steps of long work in `plugin` are done; `total` 0 means unknown.
    fn progress(&self, plugin: &str, done: u64, total: u64, what: &str) {
        let _ = (plugin, done, total, what);
    }
}

/// A host that never asks for a stop and shows no progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl HostCallbacks for Quiet {}

struct HostAdapter {
    plugin: Arc<str>,
    callbacks: Arc<dyn HostCallbacks>,
}

/// A panic of the host's own code must not unwind into a plugin either; it is lost after the host's hook has shown it.
fn quietly<T>(otherwise: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(otherwise)
}

impl HostInterface for HostAdapter {
    fn log_enabled(&self, level: RawLevel, target: RStr<'_>) -> bool {
        quietly(false, || relog::enabled(level, target.as_str()))
    }

    fn log(&self, record: &LogRecord<'_>) {
        quietly((), || relog::emit(&self.plugin, record));
    }

    fn cancelled(&self) -> bool {
        quietly(false, || self.callbacks.cancelled())
    }

    fn progress(&self, done: u64, total: u64, what: RStr<'_>) {
        quietly((), || {
            self.callbacks
                .progress(&self.plugin, done, total, what.as_str())
        });
    }

    fn service(&self, _: RStr<'_>) -> ROption<Extension> {
        // No service is published yet.
        RNone
    }
}

pub(crate) fn object(plugin: &Arc<str>, callbacks: &Arc<dyn HostCallbacks>) -> HostObject {
    let adapter = HostAdapter {
        plugin: plugin.clone(),
        callbacks: callbacks.clone(),
    };
    HostInterface_TO::from_ptr(RArc::new(adapter), TD_Opaque)
}
