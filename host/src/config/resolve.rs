//! From a plugin, a file and `--set` arguments to the configuration of a run, every default spelled out.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    document::{Document, child, describe, dotted},
    error::{ConfigError, ConfigErrors},
    layers::{self, Layers, Mark, Origin},
    overrides::{self, Override},
    schema::{PluginParts, compose},
    validate::{Finding, locate, validate},
    view::View,
};

/// A mistake that no schema can hold, such as one value that does not go with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer of the value at fault, such as `/train/batch_size`.
    pub pointer: String,
    /// What is wrong; one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// A configuration that can be resolved from layers.
pub trait Configuration: Serialize + DeserializeOwned + JsonSchema + Default {
    /// What the schema cannot say about the values together.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// A resolved configuration.
#[derive(Debug, Clone)]
pub struct Resolved<C> {
    /// The configuration.
    pub config: C,
    /// The same as JSON, every default spelled out; resolving it again gives the same.
    pub value: Value,
    layers: Layers,
}

impl<C> Resolved<C> {
    /// In words, where the value at a JSON pointer comes from: `default`, `my.yaml:3:10`, `--set train.steps=5` …
    pub fn origin(&self, pointer: &str) -> String {
        self.layers.origin(pointer)
    }

    /// Every value with its dotted path and where it comes from, in the order of the schema.
    pub fn origins(&self) -> Vec<(String, Value, String)> {
        layers::leaves(&self.value)
            .into_iter()
            .map(|(pointer, value)| (dotted(&pointer), value, self.origin(&pointer)))
            .collect()
    }
}

/// Resolves configuration `C`: its own defaults < the plugin's < the file < `--set`.
///
/// # Errors
/// As [`resolve_over`].
pub fn resolve_config<C: Configuration>(
    plugin: &PluginParts,
    file: Option<&Path>,
    sets: &[String],
) -> Result<Resolved<C>, ConfigErrors> {
    resolve_over(plugin, None, file, sets)
}

/// As [`resolve_config`], with the values of `base` (a name for them, and the values) between the plugin's and the file's.
///
/// # Errors
/// Everything that is wrong, at once: of the file's syntax, or of keys, types and values, or of values that do not
/// go together; the later kinds only when the earlier ones are absent.
pub fn resolve_over<C: Configuration>(
    plugin: &PluginParts,
    base: Option<(String, Value)>,
    file: Option<&Path>,
    sets: &[String],
) -> Result<Resolved<C>, ConfigErrors> {
    let schema = compose::<C>(Some(plugin))?;
    let view = View::new(&schema);
    let mut layers = Layers::new();
    let mut errors = Vec::new();

    layers.push_value(
        view,
        Origin::Host,
        "defaults".into(),
        &host_defaults::<C>()?,
    );
    push_plugin(view, &mut layers, plugin)?;
    if let Some((name, values)) = &base {
        layers.push_value(view, Origin::Plugin, name.clone(), values);
    }
    if let Some(path) = file {
        match Document::read(path) {
            Ok(document) => layers.push(view, Origin::File, document),
            Err(mistakes) => errors.extend(mistakes),
        }
    }
    let unread = !errors.is_empty();
    push_sets(view, &mut layers, sets, &mut errors);
    if unread {
        return Err(errors.into());
    }

    layers::complete(view, view.root(), &mut layers.merged);
    let place = |finding| locate(finding, &layers, Some(&plugin.id));
    errors.extend(validate(view, &layers)?.into_iter().map(place));
    if !errors.is_empty() {
        return Err(errors.into());
    }

    let mut merged = layers.merged.clone();
    if let Some(members) = merged.as_object_mut() {
        members.shift_remove("$schema");
    }
    let config: C = serde_path_to_error::deserialize(&merged).map_err(|error| {
        let pointer = pointer_of(error.path());
        let name = dotted(&pointer);
        let finding = Finding {
            message: format!("`{name}` cannot be used: {}", error.inner()),
            pointer,
            mark: Mark::Value,
            label: "this value".into(),
            help: None,
        };
        place(finding)
    })?;
    let problems = config.check();
    if !problems.is_empty() {
        let errors = problems.into_iter().map(|problem| {
            let mut error = ConfigError::new(problem.message).with_help(problem.help);
            error.place = layers.place_of_user(&problem.pointer, "this value");
            error
        });
        return Err(errors.collect::<Vec<_>>().into());
    }
    let value = serde_json::to_value(&config).map_err(internal)?;
    Ok(Resolved {
        config,
        value,
        layers,
    })
}

/// Puts the layers that hold when the user says nothing.
pub(super) fn push_defaults<C: Configuration>(
    view: View<'_>,
    layers: &mut Layers,
    plugin: Option<&PluginParts>,
) -> Result<(), ConfigError> {
    layers.push_value(
        view,
        Origin::Host,
        "defaults".into(),
        &host_defaults::<C>()?,
    );
    match plugin {
        Some(plugin) => push_plugin(view, layers, plugin),
        None => Ok(()),
    }
}

/// The defaults of the host's own part: all of `C` but the task.
fn host_defaults<C: Configuration>() -> Result<Value, ConfigError> {
    let mut value = serde_json::to_value(C::default()).map_err(internal)?;
    if let Some(members) = value.as_object_mut() {
        members.shift_remove("task");
    }
    Ok(value)
}

fn push_plugin(
    view: View<'_>,
    layers: &mut Layers,
    plugin: &PluginParts,
) -> Result<(), ConfigError> {
    let broken = |what: &str| {
        ConfigError::new(format!("plugin `{}` {what}", plugin.id))
            .with_help("this is a mistake in the plugin: tell its author")
    };
    let defaults = match &plugin.host_defaults {
        Value::Null => json!({}),
        Value::Object(members) if members.contains_key("task") => {
            return Err(broken(
                "recommends values for `task`, which is its own part",
            ));
        }
        Value::Object(_) => plugin.host_defaults.clone(),
        other => {
            let found = describe(other);
            return Err(broken(&format!("recommends {found} instead of a mapping")));
        }
    };
    let name = format!("recommended by plugin {}", plugin.id);
    layers.push_value(view, Origin::Plugin, name, &defaults);
    let task = json!({"task": plugin.default_config});
    let name = format!("default of plugin {}", plugin.id);
    layers.push_value(view, Origin::Plugin, name, &task);
    Ok(())
}

/// Puts all `--set` arguments on top, as one layer: their order matters only where two set the same key.
fn push_sets(view: View<'_>, layers: &mut Layers, sets: &[String], errors: &mut Vec<ConfigError>) {
    let mut overrides: Vec<Override> = Vec::new();
    let mut overlay = Value::Object(Map::new());
    let mut preview = layers.merged.clone();
    for argument in sets {
        match overrides::parse(argument) {
            Ok(set) => {
                if let Some(error) = layers::path_error(&preview, &set) {
                    errors.push(error);
                    continue;
                }
                layers::merge(view, None, &mut overlay, set.document.value.clone());
                layers::merge(view, None, &mut preview, set.document.value.clone());
                overrides.push(set);
            }
            Err(error) => errors.push(error),
        }
    }
    if overrides.is_empty() {
        return;
    }
    let documents = overrides.iter().map(|set| set.document.clone()).collect();
    layers.push_all(view, Origin::Set, overlay, documents);
    // `--set task.name=12` means the text `12` where only text will do.
    for set in &overrides {
        let node = view.at(&layers.merged, &set.pointer);
        if let (Some(node), Some(value)) = (node, layers.merged.pointer_mut(&set.pointer))
            && matches!(value, Value::Number(_) | Value::Bool(_) | Value::Null)
            && !view.accepts(node, value)
        {
            let text = Value::String(set.raw.clone());
            if view.accepts(node, &text) {
                *value = text;
            }
        }
    }
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .fold(String::new(), |at, segment| match segment {
            Segment::Seq { index } => child(&at, &index.to_string()),
            Segment::Map { key } => child(&at, key),
            Segment::Enum { .. } | Segment::Unknown => at,
        })
}

fn internal(error: serde_json::Error) -> ConfigError {
    ConfigError::new(format!("the config cannot be written as JSON: {error}"))
        .with_help("this is a mistake in dsl-host: please report it")
}
