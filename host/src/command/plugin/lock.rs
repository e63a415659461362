//! `dsl-host plugin lock`: allows plugin files as they are now.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dsl_loader::Plugin;

use crate::failure;
use crate::plugin_lock::PluginLock;

/// Allow plugin files as they are now, and refuse all others from now on
///
/// Writes `dsl-plugins.lock` with the SHA-256 of each file. While that file is in the current folder (or DSL_PLUGIN_LOCK
/// names it), a plugin whose content it does not name is refused before any of its code runs. A file that is locked again
/// takes the place of what was at its path. Removing the lock file allows everything again. Nothing of the plugins runs
/// here.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// Plugins to allow: `t2i.so`, `t2i`, or paths
    #[arg(required = true)]
    plugins: Vec<String>,
    /// Lock file to write; the one in force by default: what DSL_PLUGIN_LOCK names, or `dsl-plugins.lock` here
    #[arg(long)]
    file: Option<PathBuf>,
}

pub(super) fn lock(args: &LockArgs) -> Result<()> {
    let file = match &args.file {
        Some(file) => file.clone(),
        None => PluginLock::path_in_force(),
    };
    let mut lock = if file.exists() {
        PluginLock::read(&file).map_err(failure::usage)?
    } else {
        PluginLock::empty(&file)
    };
    let mut text = String::new();
    for plugin in &args.plugins {
        let path = super::canonical(&Plugin::find(plugin)?)?;
        let sha256 = Plugin::sha256_of(&path)?;
        lock.allow(&path, &sha256);
        text.push_str(&format!("{sha256}  {}\n", path.display()));
    }
    lock.write()?;
    failure::print(&text)
}
