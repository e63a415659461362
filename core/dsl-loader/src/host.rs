//! The host's half of what a plugin may call.

mod services;
mod share;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};

use dsl_abi::{
    AbiError, Service,
    abi_stable::{
        sabi_trait::TD_Opaque,
        std_types::{RArc, RNone, ROption, RSome, RStr, RString},
    },
    declare::{ErrorCode, FeatureInfo},
    host::{HostInterface, HostInterface_TO, HostObject, LogRecord, RawLevel},
    services::{CACHE_DIR_V1, FEATURES_V1, PARALLEL_V1},
};

use crate::{Pictures, features, find, relog};

/// What a host answers when a plugin asks. `[any thread]`
///
/// Log records are not among it: they always go to the host's `tracing`.
pub trait HostCallbacks: Send + Sync + 'static {
    /// Whether the file with this SHA-256 (hexadecimal) may be loaded. Asked before any of its code runs.
    ///
    /// # Errors
    /// Why not, and what to do: [`crate::LoaderError::Refused`] says it to the user.
    fn accept(&self, path: &Path, sha256: &str) -> Result<(), HostError> {
        let _ = (path, sha256);
        Ok(())
    }

    /// Whether the user asked for a stop.
    fn cancelled(&self) -> bool {
        false
    }

    /// `done` of `total` steps of long work in `plugin` are done; `total` 0 means unknown.
    fn progress(&self, plugin: &str, done: u64, total: u64, what: &str) {
        let _ = (plugin, done, total, what);
    }

    /// How many threads the service `dsl.parallel/1` puts to a plugin's work.
    fn threads(&self) -> usize {
        1
    }

    /// The folder that belongs to `plugin`, which is its id, plain enough for a folder's name; it exists afterwards. By
    /// default `dsl/plugins/ID` in the user's cache folder (`XDG_CACHE_HOME`, otherwise `~/.cache`).
    ///
    /// # Errors
    /// No such folder, or one that cannot be made.
    fn cache_dir(&self, plugin: &str) -> Result<PathBuf, HostError> {
        let folder = find::cache_folder().ok_or_else(|| HostError {
            code: ErrorCode::Unsupported,
            message: "there is no folder for caches: neither XDG_CACHE_HOME nor HOME is set"
                .to_owned(),
            help: "set XDG_CACHE_HOME to a folder that may be written to".to_owned(),
        })?;
        let folder = folder.join(plugin);
        fs::create_dir_all(&folder).map_err(|error| HostError {
            code: ErrorCode::Io,
            message: format!("cannot make the cache folder {}: {error}", folder.display()),
            help: "set XDG_CACHE_HOME to a folder that may be written to".to_owned(),
        })?;
        Ok(folder)
    }

    /// Feature networks and distances, unavailable ones included.
    fn features(&self) -> Vec<FeatureInfo> {
        features::known_features()
    }

    /// Features of pictures, row by row, each row as long as [`HostCallbacks::features`] says.
    ///
    /// # Errors
    /// An unknown network, or one that cannot be computed; see [`crate::missing_features`].
    fn extract(&self, id: &str, images: &Pictures<'_>) -> Result<Vec<f32>, HostError> {
        let _ = images;
        Err(features::missing_features(id))
    }

    /// Distances between pictures, pair by pair; both batches have the same shape.
    ///
    /// # Errors
    /// As for [`HostCallbacks::extract`].
    fn distance(
        &self,
        id: &str,
        first: &Pictures<'_>,
        second: &Pictures<'_>,
    ) -> Result<Vec<f32>, HostError> {
        let _ = (first, second);
        Err(features::missing_features(id))
    }
}

/// Why the host cannot do what a plugin asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HostError {
    /// Why.
    pub code: ErrorCode,
    /// What and where.
    pub message: String,
    /// What to do; may be empty.
    pub help: String,
}

impl From<HostError> for AbiError {
    fn from(error: HostError) -> Self {
        Self {
            code: error.code.raw(),
            message: error.message.into(),
            help: error.help.into(),
            detail: RString::new(),
        }
    }
}

/// A host that never asks for a stop and shows no progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl HostCallbacks for Quiet {}

#[derive(Clone)]
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

    fn service(&self, id: RStr<'_>) -> ROption<Service> {
        match id.as_str() {
            PARALLEL_V1 => RSome(services::parallel(self)),
            CACHE_DIR_V1 => RSome(services::cache_dir(self)),
            FEATURES_V1 => RSome(services::features(self)),
            _ => RNone,
        }
    }
}

pub(crate) fn object(plugin: &Arc<str>, callbacks: &Arc<dyn HostCallbacks>) -> HostObject {
    let adapter = HostAdapter {
        plugin: plugin.clone(),
        callbacks: callbacks.clone(),
    };
    HostInterface_TO::from_ptr(RArc::new(adapter), TD_Opaque)
}
