//! `dsl-host plugin`: make, check, describe, list and lock plugins.

mod check;
mod inspect;
mod list;
mod lock;
mod new;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use dsl_loader::{LoaderError, Plugin};
use dsl_testkit::Launcher;
use serde_json::Value;

use crate::failure;
use crate::plugin_lock::PluginLock;

/// Make, check, describe, list and lock plugins
///
/// A plugin is native code with your rights: checking and inspecting one runs it, in processes of its own.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  dsl-host plugin new my-task --dir my-task\n  dsl-host plugin check my-task/target/release/libmy_task.so\n  dsl-host plugin inspect t2i.so --json"
)]
pub struct PluginArgs {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Write a complete plugin to start from
    New(new::NewArgs),
    /// Run the conformance cases, each in a process of its own
    Check(check::CheckArgs),
    /// Print what a plugin says of itself
    Inspect(inspect::InspectArgs),
    /// List the plugins that a bare name finds
    List(list::ListArgs),
    /// Allow plugin files as they are now, and refuse all others from now on
    Lock(lock::LockArgs),
}

/// Does what the subcommand says.
///
/// # Errors
/// Usage errors; what the subcommand says; [`failure::AnswerIsNo`] for a plugin that does not conform.
pub fn plugin(args: &PluginArgs) -> Result<()> {
    match &args.command {
        PluginCommand::New(args) => new::new(args),
        PluginCommand::Check(args) => check::check(args),
        PluginCommand::Inspect(args) => inspect::inspect(args),
        PluginCommand::List(args) => list::list(args),
        PluginCommand::Lock(args) => lock::lock(args),
    }
}

/// How this program is started as a child: `main` sees that it is one before it looks at arguments.
fn launcher() -> Result<Launcher> {
    Ok(Launcher::this_program(["plugin"])?)
}

/// The file of a plugin that the lock file, if there is one, allows; and its SHA-256.
fn allowed_file(name_or_path: &str) -> Result<(PathBuf, String)> {
    let lock = PluginLock::in_force().map_err(failure::usage)?;
    let path = canonical(&Plugin::find(name_or_path)?)?;
    let sha256 = allowed(lock.as_ref(), &path)?;
    Ok((path, sha256))
}

/// The SHA-256 of the file at a canonical path, if the lock file allows it. None of its code runs.
fn allowed(lock: Option<&PluginLock>, path: &Path) -> Result<String, LoaderError> {
    let sha256 = Plugin::sha256_of(path)?;
    if let Some(lock) = lock {
        lock.accept(path, &sha256)
            .map_err(|error| LoaderError::Refused {
                path: path.to_owned(),
                reason: error.message,
                help: error.help,
            })?;
    }
    Ok(sha256)
}

/// The file itself, where `path` is a link: lock files name it as the loader does.
fn canonical(path: &Path) -> Result<PathBuf, LoaderError> {
    path.canonicalize()
        .map_err(|error| LoaderError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })
}

/// The task's part of a configuration file, with the values of `--set` on top.
fn task_config(file: Option<&Path>, sets: &[String]) -> Result<Option<Value>> {
    if file.is_none() && sets.is_empty() {
        return Ok(None);
    }
    crate::config::task_part(file, sets)
        .map(Some)
        .context("the configuration of the task cannot be used")
        .map_err(failure::usage)
}
