//! How a failed command ends: one message, and an exit code that says whose turn it is.

use std::io::Write;

use dsl_engine::EngineError;
use dsl_loader::{ErrorCode, LoaderError};

use crate::config::ConfigErrors;
use crate::report::write_stderr;

/// Ends a command whose answer is no, which is on stdout already. The exit code is 1, and nothing more is said.
#[derive(Debug, thiserror::Error)]
#[error("the answer is no")]
pub struct AnswerIsNo;

/// Marks an error as the user's to mend: arguments or configuration. The exit code is then 2, else 1.
#[derive(Debug)]
struct Usage;

impl std::fmt::Display for Usage {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

/// An error in arguments or configuration.
pub fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    error.into().context(Usage)
}

/// What is wrong with a plugin: a name that stands for no plugin, and a setting that it refuses, are the user's to mend;
/// everything else is a failure.
fn is_usage(error: &LoaderError) -> bool {
    matches!(
        error,
        LoaderError::NotFound { .. }
            | LoaderError::NotAPlugin { .. }
            | LoaderError::Refused { .. }
            | LoaderError::Plugin {
                code: ErrorCode::Config,
                ..
            }
    )
}

/// Prints a result on stdout.
///
/// # Errors
/// A stdout that cannot be written to.
pub fn print(text: &str) -> Result<(), anyhow::Error> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .or_else(closed_pipe)
}

/// A reader of stdout that has seen enough (`| head`) is no failure.
pub fn closed_pipe(error: std::io::Error) -> Result<(), anyhow::Error> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(anyhow::Error::new(error).context("cannot write to stdout")),
    }
}

/// Prints an error and gives the exit code.
pub fn report(error: &anyhow::Error) -> u8 {
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        write_stderr(format!("{}\n", errors.render(colour).trim_end()).as_bytes());
        return 2;
    }
    if error.is::<AnswerIsNo>() {
        return 1;
    }
    let mut text = format!("error: {}", chain(error));
    if is_disk_full(error) && !text.contains("hint:") {
        text.push_str("\nhint: free some space; nothing half-written was left");
    }
    let loader = error.chain().find_map(of_plugin);
    if let Some(loader) = loader {
        if let Some(help) = loader.help() {
            text.push_str(&format!("\nhint: {help}"));
        }
        match loader.detail() {
            Some(detail) if tracing::enabled!(tracing::Level::DEBUG) => {
                text.push_str(&format!("\n{detail}"));
            }
            Some(_) => text.push_str("\nhint: `-v` shows more"),
            None => {}
        }
    }
    write_stderr(format!("{text}\n").as_bytes());
    if error.is::<Usage>() || loader.is_some_and(is_usage) {
        2
    } else {
        1
    }
}

/// What the loader said, also where it was the data of a step that failed.
fn of_plugin<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a LoaderError> {
    match cause.downcast_ref() {
        Some(EngineError::Data(source)) => source.downcast_ref(),
        _ => cause.downcast_ref(),
    }
}

/// Whether there was no room for a file: on the disk, in the user's share of it, or in the size that files may have.
fn is_disk_full(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| matches!(cause.kind(), StorageFull | QuotaExceeded | FileTooLarge))
}

/// The messages from the outermost to the innermost, without those that the one before already ends with.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for message in error.chain().map(ToString::to_string) {
        if message.is_empty() || text.contains(&message) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&message);
    }
    text
}
