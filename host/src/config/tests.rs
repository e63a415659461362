//! Rendered messages and resolved values, on a small configuration and a small plugin.

mod formats;
mod merging;
mod messages;
mod schema;

use std::path::PathBuf;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ConfigErrors, Configuration, PluginParts, Problem, Resolved, resolve_config};

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// The plugin's part.
    task: Value,
    objective: Objective,
    train: Train,
    device: Device,
    /// Memory limit in bytes; null is none.
    limit_bytes: Option<u64>,
    warm: Option<Warm>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Objective {
    /// Denoising score matching.
    Dsm {},
    /// Two networks.
    Dsl(Dsl),
}

impl Default for Objective {
    fn default() -> Self {
        Self::Dsl(Dsl::default())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Dsl {
    /// Weight of the hinge.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    lambda: f64,
    margin: Margin,
}

impl Default for Dsl {
    fn default() -> Self {
        Self {
            lambda: 0.05,
            margin: Margin::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Margin {
    every_epochs: u32,
    source: Source,
}

impl Default for Margin {
    fn default() -> Self {
        Self {
            every_epochs: 5,
            source: Source::GenError,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Source {
    /// Error of the generator.
    #[default]
    GenError,
    /// Error of the discriminator.
    DiscError,
    /// A constant.
    Const { value: f64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Train {
    /// Optimiser steps.
    steps: u64,
    #[schemars(range(min = 1))]
    batch_size: u64,
    /// Step size of the optimiser.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    learning_rate: f64,
    betas: Vec<f64>,
    shuffle: bool,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 16,
            learning_rate: 1e-4,
            betas: vec![0.9, 0.999],
            shuffle: true,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Device(
    #[schemars(regex(pattern = r"^(cpu|tch|cuda:[0-9]+)$"), extend("examples" = ["cpu", "cuda:0", "tch"]))]
     String,
);

impl Default for Device {
    fn default() -> Self {
        Self("cpu".into())
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Warm {
    steps: u64,
}

impl Configuration for Config {
    fn check(&self) -> Vec<Problem> {
        let odd = self.train.batch_size % 2 == 1;
        let problem = Problem {
            pointer: "/train/batch_size".into(),
            message: format!("`train.batch_size` {} is odd", self.train.batch_size),
            help: "use an even number".into(),
        };
        odd.then_some(problem).into_iter().collect()
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct TaskConfig {
    data: Data,
    /// How captions are chosen.
    captions: Captions,
    background: Background,
    sizes: Vec<Size>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Data {
    /// Folder; null takes the bundled set.
    path: Option<String>,
    name: String,
    resolution: u32,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            path: None,
            name: "emoji".into(),
            resolution: 32,
        }
    }
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Captions {
    #[default]
    First,
    Random,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Background {
    #[default]
    White,
    Colour(Colour),
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Colour {
    rgb: [u8; 3],
    /// Opacity.
    alpha: f64,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Size {
    width: u32,
    height: u32,
}

fn plugin() -> PluginParts {
    let generator = SchemaSettings::draft2020_12().into_generator();
    PluginParts {
        id: "pictures".into(),
        config_schema: generator.into_root_schema_for::<TaskConfig>().to_value(),
        default_config: serde_json::to_value(TaskConfig::default()).unwrap(),
        host_defaults: json!({"train": {"batch_size": 8}}),
    }
}

/// A file of that name and text in a folder of its own.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn resolve(name: &str, text: &str, sets: &[&str]) -> Result<Resolved<Config>, ConfigErrors> {
    let (_folder, path) = file(name, text);
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    resolve_config(&plugin(), Some(&path), &sets)
}

/// The rendered errors, with the folder of the file cut from its name.
fn errors(name: &str, text: &str, sets: &[&str]) -> String {
    let (folder, path) = file(name, text);
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let rendered = match resolve_config::<Config>(&plugin(), Some(&path), &sets) {
        Ok(resolved) => panic!("no error in {text:?}, which gives {}", resolved.value),
        Err(errors) => errors.render(false),
    };
    rendered.replace(&format!("{}/", folder.path().display()), "")
}

/// Compares rendered errors with what is expected, both without the indentation of the test.
#[track_caller]
fn check(name: &str, text: &str, sets: &[&str], expected: &str) {
    let found = errors(name, text, sets);
    let trim = |text: &str| -> Vec<String> {
        let lines = text.trim_matches('\n').lines();
        lines.map(|line| line.trim_end().to_owned()).collect()
    };
    assert!(
        trim(&found) == trim(expected),
        "--- found\n{found}\n--- expected\n{expected}"
    );
}
