//! `dsl-host plugin check`: the conformance cases.

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dsl_testkit::{CheckOptions, TestkitError, all_cases};

use crate::failure;

/// Run the conformance cases, each in a process of its own
///
/// Every case starts a new process with limits of time and memory, so that a plugin that crashes or hangs fails its case
/// and nothing else. Exit code 0: no case failed or crashed. 1: one did. 2: the check could not be made.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dsl-host plugin check target/release/libmy_task.so\n  dsl-host plugin check t2i.so --filter batch --json"
)]
pub(super) struct CheckArgs {
    /// Plugin: `t2i.so`, `t2i`, or a path
    #[arg(required_unless_present = "list")]
    plugin: Option<String>,
    /// Only the cases with this in their name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Configuration file whose `task` part is put over the plugin's default
    #[arg(long)]
    config: Option<PathBuf>,
    /// One value of the configuration, such as `task.data.path=photos`; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// Limit for each case in seconds, in place of its own (most have 60)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    time_limit: Option<u64>,
    /// Limit for the memory that a case may allocate, in megabytes; at least 256
    #[arg(long, value_name = "MB", default_value_t = 8192, value_parser = clap::value_parser!(u64).range(256..))]
    memory_limit: u64,
    /// Batches of the case `memory-returned`
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..))]
    soak_batches: u64,
    /// Cases at once; all processors by default
    #[arg(long, value_name = "COUNT")]
    jobs: Option<usize>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
    /// Name the cases and their rules, and stop
    #[arg(long)]
    list: bool,
}

pub(super) fn check(args: &CheckArgs) -> Result<()> {
    if args.list {
        let lines = all_cases()
            .into_iter()
            .map(|case| format!("{:31} {}\n", case.name, case.rule));
        return failure::print(&lines.collect::<String>());
    }
    let (path, sha256) = super::allowed_file(args.plugin.as_deref().unwrap_or_default())?;
    let mut options = CheckOptions {
        filter: args.filter.clone(),
        config: super::task_config(args.config.as_deref(), &args.sets)?,
        sha256: Some(sha256),
        time_limit_secs: args.time_limit,
        memory_limit_bytes: args.memory_limit.saturating_mul(1_000_000),
        soak_batches: args.soak_batches,
        ..CheckOptions::default()
    };
    if let Some(jobs) = args.jobs {
        options.jobs = jobs;
    }
    // People see each case as it ends, programs all of them in order.
    let said = |report: &dsl_testkit::CaseReport| {
        if !args.json {
            // A reader that has gone is noticed at the last line.
            let _ = failure::print(&format!("{report}\n"));
        }
    };
    let report = match dsl_testkit::check(&super::launcher()?, &path, &options, &said) {
        Err(error @ (TestkitError::NoCase { .. } | TestkitError::Unreadable { .. })) => {
            return Err(failure::usage(error));
        }
        checked => checked?,
    };
    if args.json {
        failure::print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        let verdict = match (report.conforms, std::io::stdout().is_terminal()) {
            (true, true) => "\x1b[32mconforms\x1b[0m",
            (true, false) => "conforms",
            (false, true) => "\x1b[31mdoes not conform\x1b[0m",
            (false, false) => "does not conform",
        };
        let text = format!("\n{}: {verdict}; {}\n", path.display(), report.counts);
        failure::print(&text)?;
    }
    if report.conforms {
        Ok(())
    } else {
        Err(failure::AnswerIsNo.into())
    }
}
