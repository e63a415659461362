//! The one JSON Schema (draft 7) of a whole configuration: the host's part, with the plugin's embedded at `task`.

use schemars::{
    JsonSchema, Schema,
    generate::SchemaSettings,
    transform::{
        RemoveRefSiblings, ReplacePrefixItems, ReplaceUnevaluatedProperties, Transform,
        transform_subschemas,
    },
};
use serde_json::{Map, Value, json};

use super::{
    document::{child, segments},
    error::ConfigError,
};

/// What a plugin says about its configuration.
#[derive(Debug, Clone)]
pub struct PluginParts {
    /// The plugin's id, such as `t2i`.
    pub id: String,
    /// JSON Schema of the `task` section; references inside it start with `#`.
    pub config_schema: Value,
    /// The `task` section that runs when the user says nothing.
    pub default_config: Value,
    /// Values that the plugin recommends for the rest of the configuration; any subset of its keys.
    pub host_defaults: Value,
}

/// The schema of configuration `C`, with the plugin's schema at `task` when there is one.
///
/// # Errors
/// When the plugin's schema is not a JSON Schema.
pub fn compose<C: JsonSchema>(plugin: Option<&PluginParts>) -> Result<Value, ConfigError> {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<C>();
    inline_tagged_references(&mut schema);
    Close.transform(&mut schema);
    let mut schema = schema.to_value();
    // Editors find the schema of a JSON file by this key.
    schema["properties"]["$schema"] = json!({
        "description": "Address of this schema, for editors; not used otherwise.",
        "type": "string"
    });
    let task = match plugin {
        Some(plugin) => {
            let name = format!("plugin.{}", plugin.id);
            let pointer = child("/definitions", &name);
            schema["definitions"][name] = embed(plugin, &pointer)?;
            json!({"description": format!("Configuration of the task plugin `{}`.", plugin.id), "allOf": [{"$ref": format!("#{pointer}")}]})
        }
        None => {
            json!({"description": "Configuration of the task plugin; its own schema says which keys.", "type": "object"})
        }
    };
    schema["properties"]["task"] = task;
    Ok(schema)
}

fn embed(plugin: &PluginParts, pointer: &str) -> Result<Value, ConfigError> {
    let invalid = |reason: String| {
        ConfigError::new(format!(
            "plugin `{}` ships a config schema that is not valid: {reason}",
            plugin.id
        ))
        .with_help("this is a mistake in the plugin: tell its author")
    };
    jsonschema::options()
        .build(&plugin.config_schema)
        .map_err(|error| invalid(error.to_string()))?;
    let mut schema = Schema::try_from(plugin.config_schema.clone())
        .map_err(|error| invalid(error.to_string()))?;
    schema.remove("$schema");
    schema.remove("$id");
    // Plugins may write any draft; these are the differences that matter to draft 7.
    ReplaceUnevaluatedProperties::default().transform(&mut schema);
    RemoveRefSiblings::default().transform(&mut schema);
    ReplacePrefixItems::default().transform(&mut schema);
    inline_tagged_references(&mut schema);
    Close.transform(&mut schema);
    Rebase(pointer).transform(&mut schema);
    Ok(schema.to_value())
}

/// Moves every reference of a schema under a prefix, so that it can be embedded.
struct Rebase<'a>(&'a str);

impl Transform for Rebase<'_> {
    fn transform(&mut self, schema: &mut Schema) {
        if let Some(Value::String(reference)) = schema.get_mut("$ref")
            && let Some(rest) = reference.strip_prefix('#')
        {
            *reference = format!("#{}{rest}", self.0);
        }
        transform_subschemas(self, schema);
    }
}

/// Writes `additionalProperties: false` at every object that names its properties.
///
/// An object that shares its properties with `oneOf`, `anyOf` or `allOf` stays open, with all that these hold:
/// in draft 7 a closed part would refuse the keys of the others.
struct Close;

impl Transform for Close {
    fn transform(&mut self, schema: &mut Schema) {
        let combined = ["oneOf", "anyOf", "allOf", "$ref"];
        let is_combined = combined.iter().any(|keyword| schema.get(*keyword).is_some());
        let named = schema.get("properties").is_some();
        if named && is_combined {
            return;
        }
        if named && let Some(object) = schema.as_object_mut() {
            object
                .entry("additionalProperties")
                .or_insert(Value::Bool(false));
        }
        transform_subschemas(self, schema);
    }
}

/// Replaces `{properties: {kind}, allOf: [{$ref}]}`, the shape of a tagged enum's variant that holds a struct,
/// by one object with all the properties, so that it can be closed.
fn inline_tagged_references(schema: &mut Schema) {
    struct Inline(Value);
    impl Transform for Inline {
        fn transform(&mut self, schema: &mut Schema) {
            if let Some(inlined) = self.inline(schema) {
                *schema = inlined;
            }
            transform_subschemas(self, schema);
        }
    }
    impl Inline {
        fn inline(&self, schema: &Schema) -> Option<Schema> {
            let own = schema.get("properties")?.as_object()?;
            let reference = match (schema.get("$ref"), schema.get("allOf")?.as_array()?.as_slice()) {
                (None, [part]) => part.get("$ref")?.as_str()?,
                _ => return None,
            };
            let target = self.0.pointer(reference.strip_prefix('#')?)?;
            let mut properties = own.clone();
            properties.extend(target.get("properties")?.as_object()?.clone());
            let required = [schema.as_value(), target]
                .iter()
                .filter_map(|part| part.get("required")?.as_array().cloned())
                .flatten()
                .collect();
            let mut object: Map<String, Value> = schema.as_object()?.clone();
            object.remove("allOf");
            object.insert("properties".into(), properties.into());
            object.insert("required".into(), Value::Array(required));
            if !object.contains_key("description")
                && let Some(description) = target.get("description")
            {
                object.insert("description".into(), description.clone());
            }
            Some(object.into())
        }
    }
    let mut inline = Inline(schema.as_value().clone());
    inline.transform(schema);
}

/// A schema to walk along with a value.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    root: &'a Value,
}

/// The tag that tells the branches of a `oneOf` or `anyOf` apart, and each branch by its tag.
pub(super) struct Tag<'a> {
    pub name: &'a str,
    pub values: Vec<&'a str>,
}

impl<'a> View<'a> {
    pub fn new(root: &'a Value) -> Self {
        Self { root }
    }

    pub fn root(self) -> &'a Value {
        self.root
    }

    pub fn pointer(self, pointer: &str) -> Option<&'a Value> {
        self.root.pointer(pointer)
    }

    /// Follows references and `allOf` of one part to the schema that says something.
    pub fn resolve(self, mut node: &'a Value) -> &'a Value {
        // References of a broken plugin schema may go round in circles.
        for _ in 0..64 {
            let wrapped = match node.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
                Some([part]) if node.get("properties").is_none() => Some(part),
                _ => None,
            };
            let target = node
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|reference| self.root.pointer(reference.strip_prefix('#')?));
            match target.or(wrapped) {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    /// The alternatives of a node, without that for null.
    pub fn branches(self, node: &'a Value) -> Option<&'a [Value]> {
        let alternatives = node.get("oneOf").or_else(|| node.get("anyOf"))?;
        alternatives.as_array().map(Vec::as_slice)
    }

    /// The tag of alternatives that are all objects (null aside) with the same constant property.
    pub fn tag(self, branches: &'a [Value]) -> Option<Tag<'a>> {
        let objects: Vec<_> = branches
            .iter()
            .map(|branch| self.resolve(branch))
            .filter(|branch| branch["type"] != "null")
            .collect();
        let first = objects.first()?.get("properties")?.as_object()?;
        first.keys().find_map(|name| {
            let values: Option<Vec<_>> = objects
                .iter()
                .map(|branch| constant(branch.get("properties")?.get(name)?))
                .collect();
            values.map(|values| Tag { name, values })
        })
    }

    /// The alternative that `value` is meant to be: by tag, by being listed, by its only key, by type.
    pub fn select(self, branches: &'a [Value], value: &Value) -> Option<usize> {
        let resolved: Vec<_> = branches.iter().map(|branch| self.resolve(branch)).collect();
        let fitting: Vec<usize> = (0..branches.len())
            .filter(|&index| accepts_type(resolved[index], value))
            .collect();
        if let Some(tag) = self.tag(branches) {
            let kind = value.get(tag.name)?.as_str()?;
            return fitting.into_iter().find(|&index| {
                constant(&resolved[index]["properties"][tag.name]) == Some(kind)
            });
        }
        if let Some(index) = (0..branches.len()).find(|&index| lists(resolved[index], value)) {
            return Some(index);
        }
        if let Some(object) = value.as_object()
            && let Some(index) = fitting.iter().copied().find(|&index| {
                matches!(sole_key(resolved[index]), Some(key) if object.contains_key(key))
            })
        {
            return Some(index);
        }
        let sole = |indices: &[usize]| match indices {
            [index] => Some(*index),
            _ => None,
        };
        let open: Vec<usize> = fitting.iter().copied().filter(|&index| !is_list(resolved[index])).collect();
        sole(&fitting).or_else(|| sole(&open))
    }

    /// Whether null is a value of its own at `node`.
    pub fn allows_null(self, node: &'a Value) -> bool {
        let node = self.resolve(node);
        let names_null = |schema: &Value| types(schema).contains(&"null");
        match self.branches(node) {
            Some(branches) => branches.iter().any(|branch| names_null(self.resolve(branch))),
            None => names_null(node) || node.get("type").is_none() && node.get("properties").is_none(),
        }
    }

    /// All object schemas that speak about `value` at `node`: the node, the parts of `allOf`, the alternative chosen.
    pub fn parts(self, node: &'a Value, value: &Value) -> Vec<&'a Value> {
        let mut parts = Vec::new();
        self.collect_parts(node, value, &mut parts, 0);
        parts
    }

    fn collect_parts(
        self,
        node: &'a Value,
        value: &Value,
        parts: &mut Vec<&'a Value>,
        depth: usize,
    ) {
        if depth > 64 {
            return;
        }
        let node = self.resolve(node);
        parts.push(node);
        for part in node.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.collect_parts(part, value, parts, depth + 1);
        }
        if let Some(branches) = self.branches(node)
            && let Some(index) = self.select(branches, value)
        {
            self.collect_parts(&branches[index], value, parts, depth + 1);
        }
    }

    /// The schema of member `key` of `value`.
    pub fn member(self, node: &'a Value, value: &Value, key: &str) -> Option<&'a Value> {
        let parts = self.parts(node, value);
        let named = parts.iter().find_map(|part| part.get("properties")?.get(key));
        let other = || parts.iter().find_map(|part| part.get("additionalProperties"));
        named.or_else(other).filter(|schema| schema.is_object())
    }

    /// The schema of entry `index` of list `value`.
    pub fn entry(self, node: &'a Value, value: &Value, index: usize) -> Option<&'a Value> {
        self.parts(node, value)
            .iter()
            .find_map(|part| match part.get("items")? {
                Value::Array(items) => items.get(index).or_else(|| part.get("additionalItems")),
                items => Some(items),
            })
            .filter(|schema| schema.is_object())
    }

    /// The schema of the node at `pointer` in `value`.
    pub fn at(self, value: &Value, pointer: &str) -> Option<&'a Value> {
        let (mut node, mut value) = (self.root, value);
        for key in segments(pointer) {
            match value {
                Value::Array(entries) => {
                    let index = key.parse().ok()?;
                    node = self.entry(node, value, index)?;
                    value = entries.get(index)?;
                }
                _ => {
                    node = self.member(node, value, &key)?;
                    value = value.get(&key)?;
                }
            }
        }
        Some(node)
    }
}

/// The string a schema fixes, by `const` or an `enum` of one.
pub(super) fn constant(schema: &Value) -> Option<&str> {
    let listed = || match schema.get("enum")?.as_array()?.as_slice() {
        [only] => Some(only),
        _ => None,
    };
    schema.get("const").or_else(listed)?.as_str()
}

/// Whether a schema lists the values it allows.
fn is_list(schema: &Value) -> bool {
    schema.get("const").is_some() || schema.get("enum").is_some()
}

/// Whether a schema lists `value` itself, by `const` or `enum`.
fn lists(schema: &Value, value: &Value) -> bool {
    let options = schema.get("enum").and_then(Value::as_array);
    schema.get("const") == Some(value) || options.is_some_and(|options| options.contains(value))
}

/// The only property of a schema when that is also required: a variant of an externally tagged enum.
pub(super) fn sole_key(schema: &Value) -> Option<&str> {
    let properties = schema.get("properties")?.as_object()?;
    let key = properties.keys().next()?;
    let required = schema.get("required")?.as_array()?;
    (properties.len() == 1 && required.len() == 1 && required[0] == key.as_str()).then_some(key)
}

/// The types a schema allows; empty when it does not say.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Whether `value` has a type that `schema` allows.
pub(super) fn accepts_type(schema: &Value, value: &Value) -> bool {
    let types = types(schema);
    let constants = || -> Option<bool> {
        let listed = schema.get("enum").and_then(Value::as_array);
        match (schema.get("const"), listed) {
            (Some(constant), _) => Some(same_type(constant, value)),
            (None, Some(listed)) => Some(listed.iter().any(|option| same_type(option, value))),
            (None, None) => None,
        }
    };
    if types.is_empty() {
        return constants().unwrap_or(true);
    }
    types.iter().any(|&name| match value {
        Value::Null => name == "null",
        Value::Bool(_) => name == "boolean",
        Value::Number(number) => {
            name == "number" || name == "integer" && number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    })
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}
