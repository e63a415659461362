//! How a failed command ends: one message, and an exit code that says whose turn it is.

use std::process::ExitCode;

use dsl_loader::LoaderError;

use crate::config::ConfigErrors;
use crate::report::write_stderr;

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

/// A plugin that is not there was named wrongly; everything else about plugins is a failure.
pub fn of_loader(error: LoaderError) -> anyhow::Error {
    match error {
        LoaderError::NotFound { .. } => usage(error),
        other => other.into(),
    }
}

/// A reader of stdout that has seen enough (`| head`) is no failure.
pub fn closed_pipe(error: std::io::Error) -> Result<(), anyhow::Error> {
    match error.kind() {
        std::io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(anyhow::Error::new(error).context("cannot write to stdout")),
    }
}

/// Prints an error and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if let Some(errors) = error.downcast_ref::<ConfigErrors>() {
        write_stderr(format!("{}\n", errors.render(colour).trim_end()).as_bytes());
        return ExitCode::from(2);
    }
    let mut text = format!("error: {}", chain(error));
    if let Some(loader) = error.chain().find_map(|cause| cause.downcast_ref::<LoaderError>()) {
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
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
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
