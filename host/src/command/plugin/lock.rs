//! `dsl-host plugin lock`: allows plugin files as they are now.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dsl_loader::Plugin;

use crate::failure;
use crate::plugin_lock::{LOCK_FILE, PluginLock};

/// Allow plugin files as they are now, and refuse all others from now on
///
/// Writes `dsl-plugins.lock` with the SHA-256 of each file. While that file is in the current folder (or DSL_PLUGIN_LOCK
/// names it), a plugin that it does not name, or that has changed, is refused before any of its code runs. Removing the
/// file allows everything again. Nothing of the plugins runs here.
#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// Plugins to allow: `t2i.so`, `t2i`, or paths
    #[arg(required = true)]
    plugins: Vec<String>,
    /// Lock file to write
    #[arg(long, default_value = LOCK_FILE)]
    file: PathBuf,
}

pub(super) fn lock(args: &LockArgs) -> Result<()> {
    let mut lock = if args.file.exists() {
        PluginLock::read(&args.file).map_err(failure::usage)?
    } else {
        PluginLock::empty(&args.file)
    };
    let mut text = String::new();
    for plugin in &args.plugins {
        let path = Plugin::find(plugin)?;
        let sha256 = Plugin::sha256_of(&path)?;
        let name = lock.allow(&path, &sha256);
        text.push_str(&format!("{name}  {sha256}  {}\n", path.display()));
    }
    lock.write()?;
    failure::print(&text)
}
