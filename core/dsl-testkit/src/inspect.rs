//! Everything that a plugin says of itself.

mod facts;
mod show;

use std::{io, path::Path};

pub(crate) use facts::run;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use dsl_loader::{ColumnSpec, Direction, Injection, Manifest, Requirements};

use crate::{
    CheckOptions, Launcher, TestkitError,
    check::Asked,
    job::{self, Exit, Question},
    report::JSON_FORMAT,
};

/// How long a plugin may take to say everything, in seconds.
const TIME_LIMIT_SECS: u64 = 60;

/// Everything that a plugin says of itself. What it did not get to say is missing, and `problem` says why.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Inspection {
    /// [`crate::JSON_FORMAT`].
    pub format: u32,
    /// Path of the file; what is no text in it is replaced.
    pub path: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Length of the file.
    pub bytes: u64,
    /// What kept the plugin from saying the rest: an error, a crash, a call that did not come back.
    pub problem: Option<String>,
    /// What can be done about it.
    pub help: Option<String>,
    /// Who it is.
    pub manifest: Option<Manifest>,
    /// Files inside it.
    pub assets: Vec<AssetFact>,
    /// Keys of its configuration, nested ones by their path.
    pub config: Vec<ConfigKey>,
    /// What it recommends for the host's configuration.
    pub host_defaults: Option<Value>,
    /// Column that is trained on.
    pub target: Option<String>,
    /// How other columns condition the network.
    pub conditioning: Vec<Injection>,
    /// Prompts worth sampling.
    pub sample_prompts: Vec<String>,
    /// Its splits.
    pub splits: Vec<SplitFacts>,
    /// Its evaluator.
    pub evaluator: Option<EvaluatorFacts>,
}

/// A file inside a plugin.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AssetFact {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// A key of a configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigKey {
    /// Path, such as `data.resolution`.
    pub key: String,
    /// Type in words of JSON Schema, such as `integer` or `string or null`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its value when the user says nothing.
    pub default: Value,
    /// What it is for.
    pub description: String,
}

/// A split.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SplitFacts {
    /// Its name.
    pub name: String,
    /// How many samples it has.
    pub samples: u64,
    /// Its columns, with types and shapes.
    pub columns: Vec<ColumnSpec>,
}

/// An evaluator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EvaluatorFacts {
    /// What it wants to be fed.
    pub requirements: Requirements,
    /// What it measured on a few samples: names and directions are its own, values mean nothing.
    pub metrics: Vec<MetricFact>,
    /// Names of the files that it makes.
    pub artefacts: Vec<String>,
}

/// A metric.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MetricFact {
    /// Its name.
    pub name: String,
    /// Which way it gets better.
    pub direction: Direction,
    /// Its unit; may be empty.
    pub unit: String,
}

/// Asks a plugin for everything that it says of itself, in a child process: a plugin that crashes or hangs gives an
/// [`Inspection::problem`], with whatever it said before.
///
/// # Errors
/// A file that cannot be read; a child that cannot be started.
pub fn inspect(
    launcher: &Launcher,
    plugin: &Path,
    options: &CheckOptions,
) -> Result<Inspection, TestkitError> {
    let unreadable = |source: io::Error| TestkitError::Unreadable {
        path: plugin.to_owned(),
        source,
    };
    let file = Asked::new(plugin, options)?;
    let bytes = file.path.metadata().map_err(unreadable)?.len();
    let job = options.job(&file, Question::Inspect, TIME_LIMIT_SECS);
    let ended = job::ask::<Inspection>(launcher, job)?;
    let end = ended.describe();
    let mut found = ended.answer.unwrap_or_default();
    found.format = JSON_FORMAT;
    found.path = file.path.display().to_string();
    (found.sha256, found.bytes) = (file.sha256, bytes);
    let came_to_an_end = matches!(&ended.exit, Exit::Status(status) if status.success());
    if !came_to_an_end {
        found.problem = Some(end);
        found.help = Some(
            "this is a mistake in the plugin; `dsl-host plugin check` looks for more".to_owned(),
        );
    }
    Ok(found)
}

/// Asks a plugin for its manifest alone, in a child process; a problem with the plugin is the inner error.
///
/// # Errors
/// A file that cannot be read; a child that cannot be started.
pub fn manifest(
    launcher: &Launcher,
    plugin: &Path,
    options: &CheckOptions,
) -> Result<Result<Manifest, String>, TestkitError> {
    let file = Asked::new(plugin, options)?;
    let job = options.job(&file, Question::Manifest, TIME_LIMIT_SECS);
    let ended = job::ask::<Inspection>(launcher, job)?;
    let end = ended.describe();
    Ok(match ended.answer {
        Some(Inspection {
            manifest: Some(manifest),
            ..
        }) => Ok(manifest),
        Some(Inspection {
            problem: Some(problem),
            ..
        }) => Err(problem),
        _ => Err(end),
    })
}
