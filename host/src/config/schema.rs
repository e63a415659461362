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

use super::{document::child, error::ConfigError};

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
    Ok(heading_first(schema))
}

/// The same schema with what a reader looks for first at its top.
fn heading_first(schema: Value) -> Value {
    let Value::Object(mut members) = schema else {
        return schema;
    };
    let heading: Vec<_> = ["$schema", "title", "description"]
        .into_iter()
        .filter_map(|key| members.shift_remove_entry(key))
        .collect();
    Value::Object(heading.into_iter().chain(members).collect())
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
        let is_combined = combined
            .iter()
            .any(|keyword| schema.get(*keyword).is_some());
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
            let reference = match (
                schema.get("$ref"),
                schema.get("allOf")?.as_array()?.as_slice(),
            ) {
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
