//! Building the program and the plugin with the cargo that runs this one.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How much the compiler optimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// What a user runs.
    Release,
    /// What the tests were built with.
    Dev,
}

/// What was built.
#[derive(Debug, PartialEq, Eq)]
pub struct Built {
    /// The program `dsl-host`.
    pub host: PathBuf,
    /// The plugin t2i, a dynamic library.
    pub plugin: PathBuf,
}

/// Builds; cargo's own progress and messages go to the terminal.
pub fn build(profile: Profile) -> Result<Built> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(&cargo);
    command.args(["build", "--package", "dsl-host", "--package", "t2i"]);
    // What is built lies where cargo says: target folders can be set in many ways.
    command.arg("--message-format=json-render-diagnostics");
    if profile == Profile::Release {
        command.arg("--release");
    }
    let mut running = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}` cannot be started", cargo.display()))?;
    let mut messages = Vec::new();
    if let Some(stdout) = running.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            messages.push(line?);
        }
    }
    if !running.wait()?.success() {
        bail!("the build failed; what cargo said is above");
    }
    let (host, plugin) = artifacts(messages.iter().map(String::as_str));
    match (host, plugin) {
        (Some(host), Some(plugin)) => Ok(Built { host, plugin }),
        _ => bail!("cargo built dsl-host and t2i, and did not say where they are"),
    }
}

/// The program and the plugin among cargo's messages.
fn artifacts<'a>(messages: impl Iterator<Item = &'a str>) -> (Option<PathBuf>, Option<PathBuf>) {
    let (mut host, mut plugin) = (None, None);
    for message in messages {
        let Ok(message) = serde_json::from_str::<Value>(message) else {
            continue;
        };
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        match message["target"]["name"].as_str() {
            Some("dsl-host") => {
                if let Some(path) = message["executable"].as_str() {
                    host = Some(path.into());
                }
            }
            Some("t2i") => {
                let mut files = message["filenames"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str);
                if let Some(path) = files.find(|path| path.ends_with(std::env::consts::DLL_SUFFIX))
                {
                    plugin = Some(path.into());
                }
            }
            _ => {}
        }
    }
    (host, plugin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_and_plugin_are_where_cargo_says() {
        let library = format!("/t/libt2i{}", std::env::consts::DLL_SUFFIX);
        let t2i = serde_json::json!({
            "reason": "compiler-artifact",
            "target": {"name": "t2i", "kind": ["cdylib", "rlib"]},
            "filenames": ["/t/libt2i.rlib", library],
            "executable": null,
        });
        let lines = [
            r#"{"reason":"build-script-executed","package_id":"x"}"#.to_owned(),
            t2i.to_string(),
            r#"{"reason":"compiler-artifact","target":{"name":"dsl_host"},"filenames":["/t/a.rlib"],"executable":null}"#.into(),
            r#"{"reason":"compiler-artifact","target":{"name":"dsl-host"},"filenames":["/t/b"],"executable":"/t/b"}"#.into(),
            "not JSON".to_owned(),
        ];
        let found = artifacts(lines.iter().map(String::as_str));
        assert_eq!(found, (Some("/t/b".into()), Some(library.into())));
    }
}
