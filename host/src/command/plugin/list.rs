//! `dsl-host plugin list`: the plugins that a bare name finds.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dsl_loader::all_plugins;
use dsl_testkit::CheckOptions;
use serde::Serialize;

use crate::failure;

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

/// A plugin in the list.
#[derive(Debug, Serialize)]
struct Listed {
    path: PathBuf,
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
    let options = CheckOptions {
        // A list is to be quick.
        time_limit_secs: Some(10),
        ..CheckOptions::default()
    };
    let mut listed = Vec::new();
    for found in all_plugins() {
        let mut entry = Listed {
            path: found.path.clone(),
            place: found.place,
            shadowed: found.shadowed,
            id: None,
            version: None,
            description: None,
            problem: None,
        };
        if let Err(error) = super::refused_by_lock(&found.path) {
            entry.problem = Some(error.to_string());
        } else {
            let manifest = dsl_testkit::manifest(&launcher, &found.path, &options)?;
            match manifest {
                Ok(manifest) => {
                    entry.id = Some(manifest.id);
                    entry.version = Some(manifest.version);
                    entry.description = Some(manifest.description);
                }
                Err(problem) => entry.problem = Some(problem),
            }
        }
        listed.push(entry);
    }
    if args.json {
        return failure::print(&format!("{}\n", serde_json::to_string_pretty(&listed)?));
    }
    if listed.is_empty() {
        tracing::warn!("no plugins found; DSL_PLUGIN_PATH names folders to look in");
        return Ok(());
    }
    failure::print(&table(&listed))
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
            entry.path.display(),
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
