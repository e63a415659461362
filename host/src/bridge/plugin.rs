//! Opening a plugin and asking it for its part of the configuration.

use std::env;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use dsl_loader::{FeatureInfo, HostCallbacks, HostError, Pictures, Plugin};

use crate::config::PluginParts;
use crate::failure;
use crate::features::FeatureService;
use crate::interrupt::Interrupt;
use crate::plugin_lock::PluginLock;
use crate::report::PluginProgress;
use crate::run_dir::PluginRecord;

/// What the host tells plugins while they work.
struct Callbacks {
    interrupt: Interrupt,
    lock: Option<PluginLock>,
    progress: PluginProgress,
    features: Arc<FeatureService>,
}

impl HostCallbacks for Callbacks {
    fn accept(&self, path: &Path, sha256: &str) -> Result<(), HostError> {
        self.lock
            .as_ref()
            .map_or(Ok(()), |lock| lock.accept(path, sha256))
    }

    fn cancelled(&self) -> bool {
        self.interrupt.stops_plugins()
    }

    fn progress(&self, plugin: &str, done: u64, total: u64, what: &str) {
        self.progress.show(plugin, done, total, what);
    }

    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    fn features(&self) -> Vec<FeatureInfo> {
        self.features.describe()
    }

    fn extract(&self, id: &str, images: &Pictures<'_>) -> Result<Vec<f32>, HostError> {
        self.features.extract(id, images)
    }

    fn distance(
        &self,
        id: &str,
        first: &Pictures<'_>,
        second: &Pictures<'_>,
    ) -> Result<Vec<f32>, HostError> {
        self.features.distance(id, first, second)
    }
}

/// Finds and loads a plugin by name or path; `features` answers it when it asks for some.
///
/// # Errors
/// A usage error where there is none of that name; what the loader says otherwise.
pub fn open(
    name_or_path: &str,
    interrupt: &Interrupt,
    features: &Arc<FeatureService>,
) -> Result<Plugin> {
    let path = Plugin::find(name_or_path)?;
    open_file(&path, interrupt, features)
}

/// Loads the plugin in `path`.
///
/// # Errors
/// What the loader says; a usage error for a lock file that cannot be read.
pub fn open_file(
    path: &Path,
    interrupt: &Interrupt,
    features: &Arc<FeatureService>,
) -> Result<Plugin> {
    let callbacks = Callbacks {
        interrupt: interrupt.clone(),
        lock: PluginLock::in_force().map_err(failure::usage)?,
        progress: PluginProgress::default(),
        features: features.clone(),
    };
    keep_folder(|| Ok(Plugin::open(path, Arc::new(callbacks))?))
}

/// Does work of a plugin that opens something, and comes back to the current folder if the plugin has gone to another: the
/// user's relative paths are those of the folder that the program was started in.
///
/// # Errors
/// What `work` says; a folder that is no longer there.
pub fn keep_folder<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = env::current_dir().context("the current folder is not there")?;
    let done = work();
    if env::current_dir().ok().as_ref() != Some(&before) {
        tracing::debug!(
            "the plugin went to another folder; back to {}",
            before.display()
        );
        env::set_current_dir(&before)
            .with_context(|| format!("cannot go back to {}", before.display()))?;
    }
    done
}

/// The plugin's part of the configuration.
///
/// # Errors
/// What the plugin says.
pub fn parts(plugin: &Plugin) -> Result<PluginParts> {
    keep_folder(|| {
        Ok(PluginParts {
            id: plugin.manifest().id.clone(),
            config_schema: plugin.config_schema()?,
            default_config: plugin.default_config()?,
            host_defaults: plugin.host_defaults()?,
        })
    })
}

/// What a run's record says of it.
pub fn record(plugin: &Plugin) -> PluginRecord {
    PluginRecord {
        id: plugin.manifest().id.clone(),
        path: plugin.path().to_owned(),
        version: plugin.manifest().version.clone(),
        sha256: plugin.sha256().to_owned(),
    }
}
