//! Layers of configuration, each above the one before: host defaults, the plugin's recommendations, the file, `--set`.

use serde_json::{Map, Value};

use super::{
    document::{Document, Source, child, describe, dotted, segments},
    error::{ConfigError, Place},
    json,
    overrides::Override,
    view::{View, sole_key, types},
};

/// Who says what a layer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The host's defaults.
    Host,
    /// Defaults that the plugin ships.
    Plugin,
    /// The configuration file.
    File,
    /// A `--set` argument.
    Set,
}

/// One layer: a document and who wrote it.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub origin: Origin,
    pub document: Document,
}

/// All layers, the lowest first, and what they say together.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    pub merged: Value,
}

/// Whether the mark belongs under a key or under its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Key,
    Value,
}

impl Layers {
    pub fn new() -> Self {
        Self {
            layers: Vec::new(),
            merged: Value::Object(Map::new()),
        }
    }

    /// Puts a document above all others.
    pub fn push(&mut self, view: View<'_>, origin: Origin, document: Document) {
        self.push_all(view, origin, document.value.clone(), vec![document]);
    }

    /// Puts several documents that make up one value together above all others.
    pub fn push_all(
        &mut self,
        view: View<'_>,
        origin: Origin,
        value: Value,
        documents: Vec<Document>,
    ) {
        merge(view, Some(view.root()), &mut self.merged, value);
        let layers = documents
            .into_iter()
            .map(|document| Layer { origin, document });
        self.layers.extend(layers);
    }

    /// Puts a value that has no text of its own, such as defaults, above all others.
    pub fn push_value(&mut self, view: View<'_>, origin: Origin, name: String, value: &Value) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        if let Ok(document) = json::parse(Source::new(name, text)) {
            self.push(view, origin, document);
        }
    }

    /// The highest layer that has `pointer`, which is the one whose value counts.
    pub fn layer_of(&self, pointer: &str) -> Option<&Layer> {
        let has = |layer: &&Layer| layer.document.spans.contains_key(pointer);
        self.layers.iter().rev().find(has)
    }

    /// Where to show a mistake about the node at `pointer`.
    pub fn place(&self, pointer: &str, mark: Mark, label: &str) -> Option<(Origin, Place)> {
        // The whole document may exist in several layers: the user's file is where to add a key.
        let layer = match pointer {
            "" => self
                .layers
                .iter()
                .rev()
                .find(|layer| layer.origin <= Origin::File)?,
            _ => self.layer_of(pointer)?,
        };
        let span = layer.document.spans.get(pointer)?;
        let nested = layer.document.value.pointer(pointer);
        let is_nested = nested.is_some_and(|value| value.is_object() || value.is_array());
        let span = match (&span.key, mark) {
            (Some(key), Mark::Key) => key.clone(),
            // A mapping or list stretches over lines: its key shows best which one is meant.
            (Some(key), Mark::Value) if is_nested => key.clone(),
            _ => span.value.clone(),
        };
        Some((
            layer.origin,
            Place::new(layer.document.source.clone(), span, label),
        ))
    }

    /// Where to show that values do not go together: at the value, or its section, that the user wrote.
    pub fn place_of_user(&self, pointer: &str, label: &str) -> Option<Place> {
        let mut at = pointer;
        while !at.is_empty() {
            let mark = if at == pointer {
                Mark::Value
            } else {
                Mark::Key
            };
            match self.place(at, mark, label) {
                Some((Origin::File | Origin::Set, place)) => return Some(place),
                _ => at = &at[..at.rfind('/')?],
            }
        }
        None
    }

    /// In words, where the value at `pointer` comes from.
    pub fn origin(&self, pointer: &str) -> String {
        let Some(layer) = self.layer_of(pointer) else {
            return "default".into();
        };
        let source = &layer.document.source;
        match layer.origin {
            Origin::Host => "default".into(),
            Origin::Plugin => source.name.clone(),
            Origin::Set => format!("--set {}", source.text),
            Origin::File => {
                let start = layer.document.spans[pointer].value.start;
                let (line, column) = source.line_column(start);
                format!("{}:{line}:{column}", source.name)
            }
        }
    }
}

/// Lays `overlay` over `base`: mappings key by key, all else replaced.
///
/// When the overlay changes the tag of a tagged enum, what the base says of the other kind goes away.
/// A mapping of indices over a list changes those entries; `--set a.0=1` makes such mappings.
pub(super) fn merge<'a>(view: View<'a>, node: Option<&'a Value>, base: &mut Value, overlay: Value) {
    match (base, overlay) {
        (Value::Object(base), Value::Object(overlay)) => {
            if let Some(node) = node {
                drop_other_kind(view, node, base, &overlay);
            }
            let mut known = Value::Object(base.clone());
            for (key, value) in overlay.iter() {
                known[key] = value.clone();
            }
            for (key, value) in overlay {
                let member = node.and_then(|node| view.member(node, &known, &key));
                match base.get_mut(&key) {
                    Some(slot) => merge(view, member, slot, value),
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (Value::Array(base), Value::Object(overlay)) if indices(base, &overlay) => {
            let known = Value::Array(base.clone());
            for (key, value) in overlay {
                if let Some(index) = key.parse().ok().filter(|&index| index < base.len()) {
                    let entry = node.and_then(|node| view.entry(node, &known, index));
                    merge(view, entry, &mut base[index], value);
                }
            }
        }
        // `train:` with nothing below it, such as a section all of whose lines are comments, says nothing.
        (Value::Object(_), Value::Null) if !node.is_none_or(|node| view.allows_null(node)) => {}
        (base, overlay) => *base = overlay,
    }
}

fn indices(base: &[Value], overlay: &Map<String, Value>) -> bool {
    let is_index = |key: &String| key.parse::<usize>().is_ok_and(|index| index < base.len());
    !overlay.is_empty() && overlay.keys().all(is_index)
}

/// Removes from `base` what belongs to the alternatives of a tagged enum when `overlay` chooses another one.
fn drop_other_kind<'a>(
    view: View<'a>,
    node: &'a Value,
    base: &mut Map<String, Value>,
    overlay: &Map<String, Value>,
) {
    let known = Value::Object(base.clone());
    for part in view.parts(node, &known) {
        let Some(branches) = view.branches(part) else {
            continue;
        };
        let changed = match view.tag(branches) {
            Some(tag) => match (base.get(tag.name), overlay.get(tag.name)) {
                (Some(old), Some(new)) => old != new,
                _ => false,
            },
            None => {
                let keys = || {
                    branches
                        .iter()
                        .filter_map(|branch| sole_key(view.resolve(branch)))
                };
                keys().any(|key| overlay.contains_key(key) && !base.contains_key(key))
                    && keys().any(|key| base.contains_key(key))
            }
        };
        if !changed {
            continue;
        }
        let common = part.get("properties");
        base.retain(|key, _| {
            let in_common = common.is_some_and(|properties| properties.get(key).is_some());
            let in_branch = branches.iter().any(|branch| {
                view.resolve(branch)
                    .get("properties")
                    .is_some_and(|properties| properties.get(key).is_some())
            });
            in_common || !in_branch
        });
    }
}

/// Adds what the schema's `default`s say to a value, writes whole floats as integers where the schema wants these, and
/// makes relative paths (`format: path`) absolute: a run is resumed from any folder.
pub(super) fn complete<'a>(view: View<'a>, node: &'a Value, value: &mut Value) {
    let copy = value.clone();
    match value {
        Value::Object(members) => {
            for part in view.parts(node, &copy) {
                let properties = part.get("properties").and_then(Value::as_object);
                for (key, property) in properties.into_iter().flatten() {
                    if let Some(default) = property.get("default")
                        && !members.contains_key(key)
                    {
                        members.insert(key.clone(), default.clone());
                    }
                }
            }
            for (key, member) in members.iter_mut() {
                if let Some(schema) = view.member(node, &copy, key) {
                    complete(view, schema, member);
                }
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter_mut().enumerate() {
                if let Some(schema) = view.entry(node, &copy, index) {
                    complete(view, schema, entry);
                }
            }
        }
        Value::Number(number) => {
            let types: Vec<_> = view
                .parts(node, &copy)
                .into_iter()
                .flat_map(types)
                .collect();
            let integer = types.contains(&"integer") && !types.contains(&"number");
            // Floats hold integers exactly up to 2^53.
            if integer
                && number.is_f64()
                && let Some(float) = number.as_f64()
                && float.fract() == 0.0
                && float.abs() <= 9_007_199_254_740_992.0
            {
                *value = Value::from(float as i64);
            }
        }
        Value::String(text) => {
            let is_path = |part: &Value| part.get("format").is_some_and(|format| format == "path");
            if view.parts(node, &copy).into_iter().any(is_path) {
                *text = absolute(text);
            }
        }
        _ => {}
    }
}

/// A path relative to the working directory or to `~`, made absolute; addresses such as `https://...` stay.
fn absolute(text: &str) -> String {
    if text.is_empty() || text.contains("://") {
        return text.to_owned();
    }
    let home = || {
        text.strip_prefix("~/")
            .and_then(|rest| Some(std::env::home_dir()?.join(rest)))
    };
    let path = home().unwrap_or_else(|| text.into());
    match std::path::absolute(path) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => text.to_owned(),
    }
}

/// Every leaf of a value with its pointer, in order.
pub(super) fn leaves(value: &Value) -> Vec<(String, Value)> {
    fn walk(value: &Value, at: &str, out: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(members) if !members.is_empty() => {
                for (key, member) in members {
                    walk(member, &child(at, key), out);
                }
            }
            _ => out.push((at.to_owned(), value.clone())),
        }
    }
    let mut out = Vec::new();
    walk(value, "", &mut out);
    out
}

/// Why the path of a `--set` argument leads nowhere in `merged`: through a value that has no keys, or an index that its
/// list does not have.
pub(super) fn path_error(merged: &Value, set: &Override) -> Option<ConfigError> {
    let mut value = merged;
    let mut parent = String::new();
    for key in segments(&set.pointer) {
        let pointer = child(&parent, &key);
        let name = dotted(&parent);
        let fail = |message: String, label: &str, help: String| {
            let span = set.document.spans.get(&pointer)?.key.clone()?;
            let place = Place::new(set.document.source.clone(), span, label);
            Some(ConfigError::new(message).with_help(help).at(place))
        };
        value = match value {
            Value::Object(members) => members.get(&key)?,
            Value::Null => return None,
            Value::Array(entries) => {
                let index = key.parse::<usize>().ok();
                match index.and_then(|index| entries.get(index)) {
                    Some(entry) => entry,
                    None => {
                        let length = entries.len();
                        return fail(
                            format!("`{name}` is a list of {length}: it has no entry `{key}`"),
                            "no such entry",
                            format!("entries count from 0; `--set {name}=[...]` replaces the list"),
                        );
                    }
                }
            }
            other => {
                return fail(
                    format!("`{name}` is {}: it has no key `{key}`", describe(other)),
                    "no such key",
                    format!("`--set {name}=...` replaces the value"),
                );
            }
        };
        parent = pointer;
    }
    None
}
