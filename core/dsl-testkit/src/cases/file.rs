//! The library as a file.

use std::time::{Duration, Instant};

use dsl_loader::Plugin;

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    check::LOADS,
    context::Context,
};

/// A folder of plugins is scanned at every `plugin list`, and a configuration is checked at every start.
const SCAN_LIMIT: Duration = Duration::from_millis(100);

pub(super) const CASES: &[Case] = &[
    case(
        LOADS,
        "The library loads with every symbol resolved at once (RTLD_NOW), and its interfaces have this layout",
        loads,
    ),
    case(
        "scan-under-100-ms",
        "Loading the library and reading its manifest takes less than 100 ms",
        scan,
    ),
    case(
        "no-work-before-open",
        "Before a task is opened nothing leaves threads or open files behind, and all answers together take less than \
         100 ms",
        no_work,
    ),
    case(
        "loads-twice",
        "The library can be opened twice in one process, with one and the same manifest",
        twice,
    ),
];

fn loads(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    Ok(Verdict::passed(format!(
        "{} {}",
        plugin.manifest().id,
        plugin.manifest().version
    )))
}

fn scan(context: &Context) -> Outcome {
    // The host's own part of loading, which is to hash the file.
    let hash = Stopwatch::begin();
    Plugin::sha256_of(context.path())?;
    let hash = hash.took();
    let load = Stopwatch::begin();
    drop(context.plugin()?);
    let took = load.took().saturating_sub(hash);
    let message = format!("{:.1} ms", took.as_secs_f64() * 1e3);
    if took <= SCAN_LIMIT {
        return Ok(Verdict::passed(message));
    }
    Err(Verdict::failed(format!(
        "loading and reading the manifest took {message}, the limit is 100 ms"
    ))
    .with_help("move work from initialisers to `Task::open`"))
}

/// Time that passes, without the time that this thread waits for a processor where the system tells that.
struct Stopwatch {
    begun: Instant,
    waited: Duration,
}

impl Stopwatch {
    fn begin() -> Self {
        Self {
            begun: Instant::now(),
            waited: Self::waited(),
        }
    }

    fn took(&self) -> Duration {
        let waited = Self::waited().saturating_sub(self.waited);
        self.begun.elapsed().saturating_sub(waited)
    }

    fn waited() -> Duration {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let nanoseconds = text
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok());
        Duration::from_nanos(nanoseconds.unwrap_or(0))
    }
}

/// Threads and open files of this process, where the system tells them.
#[derive(Debug, PartialEq)]
struct Traces {
    threads: usize,
    files: usize,
}

impl Traces {
    fn now() -> Option<Self> {
        let count = |folder: &str| Some(std::fs::read_dir(folder).ok()?.count());
        Some(Self {
            threads: count("/proc/self/task")?,
            files: count("/proc/self/fd")?,
        })
    }
}

fn no_work(context: &Context) -> Outcome {
    let Some(before) = Traces::now() else {
        return Ok(Verdict::skipped(
            "this system does not count threads and files",
        ));
    };
    let plugin = context.plugin()?;
    let answers = Stopwatch::begin();
    plugin.config_schema()?;
    plugin.default_config()?;
    plugin.host_defaults()?;
    plugin.asset_names()?;
    let took = answers.took();
    let help = "move this work to `Task::open`: plugins are loaded to be listed, too";
    let Some(after) = Traces::now() else {
        return Ok(Verdict::skipped(
            "this system does not count threads and files",
        ));
    };
    let message = format!("{:.1} ms", took.as_secs_f64() * 1e3);
    if took > SCAN_LIMIT {
        return Err(Verdict::failed(format!(
            "schema, defaults, recommendations and names of files took {message}, the limit is 100 ms"
        ))
        .with_help(help));
    }
    if after == before {
        return Ok(Verdict::passed(message));
    }
    Err(Verdict::failed(format!(
        "threads went from {} to {}, open files from {} to {}, and no task is open",
        before.threads, after.threads, before.files, after.files
    ))
    .with_help(help))
}

fn twice(context: &Context) -> Outcome {
    let (first, second) = (context.plugin()?, context.plugin()?);
    if first.manifest() == second.manifest() {
        Ok(Verdict::passed(""))
    } else {
        Err(Verdict::failed(
            "the manifest differs from one call to the next",
        ))
    }
}
