//! `dsl-host plugin list`: the plugins that a bare name finds.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use dsl_loader::{Manifest, all_plugins};
use dsl_testkit::{CheckOptions, JSON_FORMAT, Launcher};
use serde::Serialize;

use crate::failure;
use crate::plugin_lock::PluginLock;

/// List the plugins that a bare name finds
///
/// Looks in the folders of DSL_PLUGIN_PATH, in `dsl/plugins` of the user's data folder, beside the program, and in
/// `../lib/dsl/plugins` from there. Each plugin is asked for its manifest in a process of its own.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// The list as JSON.
#[derive(Debug, Serialize)]
struct List<'a> {
    format: u32,
    plugins: &'a [Listed],
}

/// A plugin in the list.
#[derive(Debug, Serialize)]
struct Listed {
    /// What is no text in it is replaced.
    path: String,
    place: &'static str,
    /// An earlier place has a file of this name, which a bare name finds.
    shadowed: bool,
    id: Option<String>,
    version: Option<String>,
    description: Option<String>,
    problem: Option<String>,
}

pub(super) fn list(args: &ListArgs) -> Result<()> {
    let launcher = super::launcher()?;
    let lock = PluginLock::in_force().map_err(failure::usage)?;
    let mut listed = Vec::new();
    for found in all_plugins() {
        let mut entry = Listed {
            path: found.path.display().to_string(),
            place: found.place,
            shadowed: found.shadowed,
            id: None,
            version: None,
            description: None,
            problem: None,
        };
        // A file that is wrong is an entry of the list, and not the end of it.
        match manifest(&launcher, lock.as_ref(), &found.path) {
            Ok(manifest) => {
                entry.id = Some(manifest.id);
                entry.version = Some(manifest.version);
                entry.description = Some(manifest.description);
            }
            Err(problem) => entry.problem = Some(problem),
        }
        listed.push(entry);
    }
    if args.json {
        let list = List {
            format: JSON_FORMAT,
            plugins: &listed,
        };
        return failure::print(&format!("{}\n", serde_json::to_string_pretty(&list)?));
    }
    if listed.is_empty() {
        tracing::warn!("no plugins found; DSL_PLUGIN_PATH names folders to look in");
        return Ok(());
    }
    failure::print(&table(&listed))
}

/// What a plugin that the lock allows says of itself, or what is wrong with it.
fn manifest(
    launcher: &Launcher,
    lock: Option<&PluginLock>,
    path: &Path,
) -> Result<Manifest, String> {
    let path = super::canonical(path).map_err(|error| error.to_string())?;
    let sha256 = super::allowed(lock, &path).map_err(|error| error.to_string())?;
    let options = CheckOptions {
        sha256: Some(sha256),
        // A list is to be quick.
        time_limit_secs: Some(10),
        ..CheckOptions::default()
    };
    dsl_testkit::manifest(launcher, &path, &options).map_err(|error| error.to_string())?
}

fn table(listed: &[Listed]) -> String {
    let width = |of: fn(&Listed) -> usize| listed.iter().map(of).max().unwrap_or(0);
    let id = |entry: &Listed| entry.id.clone().unwrap_or_else(|| "-".to_owned());
    let version = |entry: &Listed| entry.version.clone().unwrap_or_else(|| "-".to_owned());
    let ids = width(|entry| entry.id.as_ref().map_or(1, String::len));
    let versions = width(|entry| entry.version.as_ref().map_or(1, String::len));
    let mut text = String::new();
    for entry in listed {
        let shadowed = if entry.shadowed { ", shadowed" } else { "" };
        text.push_str(&format!(
            "{:ids$}  {:versions$}  {} ({}{shadowed})\n",
            id(entry),
            version(entry),
            entry.path,
            entry.place,
        ));
        let below = (entry
            .problem
            .as_ref()
            .map(|problem| format!("problem: {problem}")))
        .or_else(|| entry.description.clone());
        if let Some(below) = below {
            text.push_str(&format!("{:ids$}  {:versions$}  {below}\n", "", ""));
        }
    }
    text
}
