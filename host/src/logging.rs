//! `tracing` events on stderr, those of plugins included.

use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::report::write_stderr;

/// How much is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub struct Verbosity {
    /// Tell more: once for what the host does in detail, twice for everything
    ///
    /// The environment variable RUST_LOG says it part by part, such as
    /// `RUST_LOG=warn,dsl_engine=trace`, and then decides alone.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Tell errors only, and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// `RUST_LOG` is no filter.
    #[error(
        "RUST_LOG is set to `{value}`, which is no filter: {source}\n\
         hint: a filter is a level or `part=level`, separated by commas: `info`, `warn,dsl_engine=trace`"
    )]
    Filter {
        /// What it is set to.
        value: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
}

/// Libraries that tell much which only their own authors want; a directive covers every target that
/// begins so. All else is ours or a plugin's, whose targets are its author's choice.
const CHATTY: [&str; 6] = ["burn", "cubecl", "naga", "tokenizers", "wgpu", "jsonschema"];

/// Begins to write events to stderr. Once per process: a second call changes nothing.
///
/// # Errors
/// [`LoggingError::Filter`] when `RUST_LOG` cannot be understood.
pub fn init(verbosity: Verbosity) -> Result<(), LoggingError> {
    let rust_log = std::env::var("RUST_LOG").ok();
    let filter = filter(verbosity, rust_log.as_deref())?;
    let terminal = io::stderr().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // An existing subscriber (of a test, or of an earlier call) stays.
    let _ = tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_ansi(colour)
        .with_target(verbosity.verbose > 0 || rust_log.is_some())
        // Who sits at a terminal knows the time; who reads a file later does not.
        .with_timer(Clock {
            shown: !terminal || verbosity.verbose > 0,
        })
        .with_writer(Stderr::default)
        .try_init();
    Ok(())
}

/// `RUST_LOG` where it is set, otherwise what `-v` and `-q` say.
fn filter(verbosity: Verbosity, rust_log: Option<&str>) -> Result<EnvFilter, LoggingError> {
    if let Some(value) = rust_log.filter(|value| !value.is_empty()) {
        return EnvFilter::try_new(value).map_err(|source| LoggingError::Filter {
            value: value.into(),
            source,
        });
    }
    let (ours, chatty) = match (verbosity.quiet, verbosity.verbose) {
        (true, _) => ("error", "error"),
        (false, 0) => ("info", "warn"),
        (false, 1) => ("debug", "info"),
        (false, _) => ("trace", "debug"),
    };
    let mut directives = ours.to_owned();
    for library in CHATTY {
        directives.push_str(&format!(",{library}={chatty}"));
    }
    Ok(EnvFilter::new(directives))
}

/// The time to the second, in UTC.
struct Clock {
    shown: bool,
}

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        if !self.shown {
            return Ok(());
        }
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        write!(writer, "{now}")
    }
}

/// Collects one event and writes it in one piece, above the progress bar.
#[derive(Default)]
struct Stderr(Vec<u8>);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.0.is_empty() {
            write_stderr(&self.0);
            self.0.clear();
        }
        Ok(())
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(verbose: u8, quiet: bool, rust_log: Option<&str>, expected: &[&str]) {
        let filter = filter(Verbosity { verbose, quiet }, rust_log).unwrap();
        let text = filter.to_string();
        let directives: Vec<&str> = text.split(',').collect();
        for directive in expected {
            assert!(directives.contains(directive), "{directive} not in {text}");
        }
    }

    #[test]
    fn the_flags_choose_levels_for_us_and_plugins_and_for_chatty_libraries() {
        check(0, false, None, &["info", "wgpu=warn", "burn=warn"]);
        check(1, false, None, &["debug", "cubecl=info"]);
        check(2, false, None, &["trace", "naga=debug"]);
        check(9, false, None, &["trace", "naga=debug"]);
        check(0, true, None, &["error", "burn=error"]);
    }

    #[test]
    fn rust_log_decides_where_it_is_set() {
        check(
            2,
            false,
            Some("warn,dsl_loader=trace"),
            &["warn", "dsl_loader=trace"],
        );
        check(0, false, Some(""), &["info", "burn=warn"]);
        let error = filter(Verbosity::default(), Some("dsl_host=loud")).unwrap_err();
        assert!(error.to_string().contains("`dsl_host=loud`"), "{error}");
    }
}
