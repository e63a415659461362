//! `dsl-host plugin inspect`: what a plugin says of itself.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dsl_testkit::CheckOptions;

use crate::failure;

/// Print what a plugin says of itself
///
/// Manifest, files inside it, splits with columns, conditioning, metrics, and the keys of its configuration with their
/// defaults. The plugin runs in a process of its own: one that crashes or hangs is told, with what it said before, and
/// the exit code is 1.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Plugin: `t2i.so`, `t2i`, or a path
    plugin: String,
    /// Configuration file whose `task` part is put over the plugin's default
    #[arg(long)]
    config: Option<PathBuf>,
    /// One value of the configuration, such as `task.data.path=photos`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// How long the plugin may take to say everything, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time_limit: u64,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

pub(super) fn inspect(args: &InspectArgs) -> Result<()> {
    let (path, sha256) = super::allowed_file(&args.plugin)?;
    let options = CheckOptions {
        config: super::task_config(args.config.as_deref(), &args.sets)?,
        sha256: Some(sha256),
        time_limit_secs: Some(args.time_limit),
        ..CheckOptions::default()
    };
    let found = dsl_testkit::inspect(&super::launcher()?, &path, &options)?;
    failure::print(&if args.json {
        format!("{}\n", serde_json::to_string_pretty(&found)?)
    } else {
        found.to_string()
    })?;
    match found.problem {
        None => Ok(()),
        Some(_) => Err(failure::AnswerIsNo.into()),
    }
}
