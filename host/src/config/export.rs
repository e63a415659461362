//! The schema as editors read it: about the file that a user writes, which leaves out what has a default.

use serde_json::Value;

use super::{
    document::child,
    error::ConfigError,
    layers::{self, Layers},
    resolve::{Configuration, push_defaults},
    schema::{PluginParts, compose},
    view::View,
};

/// The schema of configuration `C` for editors, with the plugin's at `task` when there is one.
///
/// It differs from the one that merged configurations are checked against in two ways: the defaults it shows are those
/// in force with this plugin, and the tag of a tagged enum may be left out where the default chooses the same kind.
///
/// # Errors
/// When the plugin's schema is not a JSON Schema, or its defaults are not mappings.
pub fn export<C: Configuration>(plugin: Option<&PluginParts>) -> Result<Value, ConfigError> {
    let mut schema = compose::<C>(plugin)?;
    let mut defaults = Layers::new();
    let view = View::new(&schema);
    push_defaults::<C>(view, &mut defaults, plugin)?;
    layers::complete(view, view.root(), &mut defaults.merged);
    for (branch, tag) in default_kinds(view, &defaults.merged) {
        let required = schema
            .pointer_mut(&branch)
            .and_then(|branch| branch.get_mut("required"));
        if let Some(Value::Array(required)) = required {
            required.retain(|key| *key != tag);
        }
    }
    for (key, value) in defaults.merged.as_object().into_iter().flatten() {
        if let Some(Value::Object(property)) = schema["properties"].get_mut(key) {
            property.insert("default".into(), value.clone());
        }
    }
    Ok(schema)
}

/// Pointers to the alternatives of tagged enums that `defaults` choose, with the names of their tags.
fn default_kinds(view: View<'_>, defaults: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), defaults)];
    while let Some((pointer, value)) = open.pop() {
        let Some(pointer) = resolve(view, pointer) else {
            continue;
        };
        let Some(node) = view.pointer(&pointer) else {
            continue;
        };
        if let Some(branches) = view.branches(node)
            && let Some(index) = view.select(branches, value)
        {
            let keyword = if node.get("oneOf").is_some() {
                "oneOf"
            } else {
                "anyOf"
            };
            let branch = format!("{pointer}/{keyword}/{index}");
            if let Some(tag) = view.tag(branches) {
                found.push((branch.clone(), tag.name.to_owned()));
            }
            open.push((branch, value));
        }
        let properties = node.get("properties").and_then(Value::as_object);
        for key in properties
            .into_iter()
            .flat_map(|properties| properties.keys())
        {
            if let Some(member) = value.get(key) {
                open.push((child(&format!("{pointer}/properties"), key), member));
            }
        }
    }
    found
}

/// Follows references to the pointer of the schema that says something.
fn resolve(view: View<'_>, mut pointer: String) -> Option<String> {
    for _ in 0..64 {
        let node = view.pointer(&pointer)?;
        let parts = node.get("allOf").and_then(Value::as_array).map(Vec::len);
        pointer = match node.get("$ref").and_then(Value::as_str) {
            Some(reference) => reference.strip_prefix('#')?.to_owned(),
            None if parts == Some(1) && node.get("properties").is_none() => {
                format!("{pointer}/allOf/0")
            }
            None => return Some(pointer),
        };
    }
    None
}
