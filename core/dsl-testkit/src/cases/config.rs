//! The configuration: its schema, its default, and what is refused.

use dsl_loader::{ErrorCode, LoaderError, Plugin};
use serde_json::{Map, Value, json};

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::Context,
};

pub(super) const CASES: &[Case] = &[
    case(
        "schema-valid",
        "The configuration's JSON Schema is a valid schema of an object",
        schema_valid,
    ),
    case(
        "schema-describes-keys",
        "Every key of the configuration has a description, which is what users read",
        schema_describes,
    ),
    case(
        "schema-refuses-unknown-keys",
        "The schema refuses keys that it does not know, since users mistype keys",
        schema_refuses_unknown,
    ),
    case(
        "default-config-fits-schema",
        "The default configuration satisfies the schema",
        default_fits,
    ),
    case(
        "default-config-opens",
        "A task opens with the default configuration, or says what the user has to add",
        default_opens,
    ),
    case(
        "unknown-key-refused",
        "Opening with an unknown key fails with the code `config` and names the key",
        unknown_key,
    ),
    case(
        "wrong-type-refused-with-path",
        "Opening with a value of the wrong type fails with the code `config` and names the path of the key",
        wrong_type,
    ),
    case(
        "no-object-refused",
        "Opening with something that is no object fails with the code `config`",
        no_object,
    ),
    case(
        "extreme-values-without-panic",
        "Opening with extreme values either works or fails with an error that is no panic",
        extreme_values,
    ),
    case(
        "host-defaults-object",
        "The recommendations for the host's configuration are an object that leaves out the task's own part",
        host_defaults,
    ),
];

fn schema_valid(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let schema = plugin.config_schema()?;
    if let Err(error) = jsonschema::meta::validate(&schema) {
        return Err(Verdict::failed(format!(
            "not a valid JSON Schema at `{}`: {error}",
            error.instance_path()
        )));
    }
    if let Err(error) = jsonschema::validator_for(&schema) {
        return Err(Verdict::failed(format!(
            "the schema cannot be used: {error}"
        )));
    }
    if schema["type"] != "object" {
        return Err(Verdict::failed(format!(
            "expected a schema of the type object, found {}",
            schema["type"]
        )));
    }
    Ok(Verdict::passed(format!(
        "{} keys",
        schema["properties"].as_object().map_or(0, Map::len)
    )))
}

fn schema_describes(context: &Context) -> Outcome {
    let schema = context.plugin()?.config_schema()?;
    let silent: Vec<String> = properties(&schema)
        .filter(|(_, property)| property["description"].as_str().is_none_or(str::is_empty))
        .map(|(name, _)| format!("`{name}`"))
        .collect();
    if silent.is_empty() {
        return Ok(Verdict::passed(""));
    }
    Ok(
        Verdict::warning(format!("no description for {}", silent.join(", ")))
            .with_help("a `///` comment on the field of the configuration becomes its description"),
    )
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn schema_refuses_unknown(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let (schema, mut config) = (plugin.config_schema()?, plugin.default_config()?);
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| Verdict::skipped(format!("the schema cannot be used: {error}")))?;
    if let Some(config) = config.as_object_mut() {
        config.insert(UNKNOWN.to_owned(), Value::from(1));
    }
    if validator.is_valid(&config) {
        return Err(
            Verdict::failed(format!("the schema accepts the unknown key `{UNKNOWN}`"))
                .with_help("put #[serde(deny_unknown_fields)] on the configuration"),
        );
    }
    Ok(Verdict::passed(""))
}

fn default_fits(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let (schema, config) = (plugin.config_schema()?, plugin.default_config()?);
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| Verdict::skipped(format!("the schema cannot be used: {error}")))?;
    let errors: Vec<String> = validator
        .iter_errors(&config)
        .map(|error| format!("{} at `task{}`", error, error.instance_path()))
        .collect();
    match errors.as_slice() {
        [] => Ok(Verdict::passed("")),
        errors => Err(Verdict::failed(errors.join("; "))),
    }
}

fn default_opens(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    match plugin.open_task(&plugin.default_config()?) {
        Ok(_) => Ok(Verdict::passed("")),
        Err(error @ LoaderError::Plugin { .. })
            if matches!(&error, LoaderError::Plugin { code, .. }
                if matches!(code, ErrorCode::Config | ErrorCode::Io))
                && error.help().is_some() =>
        {
            Ok(Verdict::warning(error.to_string())
                .with_help(error.help().unwrap_or_default())
                .with_detail("a plugin that runs without any configuration is easier to try"))
        }
        Err(error) => Err(error.into()),
    }
}

const UNKNOWN: &str = "no_such_key_as_this";

/// What opening with a configuration that is wrong has to end with.
fn refused(plugin: &Plugin, config: &Value, must_name: &str) -> Result<(), Verdict> {
    match plugin.open_task(config) {
        Ok(_) => Err(Verdict::failed(format!(
            "a task opens with {}",
            short(config)
        ))),
        Err(LoaderError::Plugin {
            code: ErrorCode::Config,
            message,
            ..
        }) => {
            if message.contains(must_name) {
                Ok(())
            } else {
                Err(Verdict::failed(format!(
                    "the error does not name `{must_name}`: {message}"
                )))
            }
        }
        Err(error) => Err(Verdict::failed(format!(
            "expected an error of the code config for {}, found: {error}",
            short(config)
        ))
        .with_detail(error.detail().unwrap_or_default())),
    }
}

fn short(config: &Value) -> String {
    let text = config.to_string();
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn unknown_key(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let mut config = context.config(&plugin)?;
    let Some(keys) = config.as_object_mut() else {
        return Err(Verdict::failed("the default configuration is no object"));
    };
    keys.insert(UNKNOWN.to_owned(), Value::from(1));
    refused(&plugin, &config, UNKNOWN)?;
    Ok(Verdict::passed(""))
}

/// The value with the key at `path` replaced.
fn with(config: &Value, path: &[String], value: Value) -> Value {
    let mut changed = config.clone();
    let mut place = &mut changed;
    for key in path {
        place = &mut place[key.as_str()];
    }
    *place = value;
    changed
}

/// Paths of all keys in objects of the configuration, outermost first.
fn paths(config: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), config)];
    while let Some((path, value)) = open.pop() {
        for (key, value) in value.as_object().into_iter().flatten() {
            let path: Vec<String> = [path.as_slice(), std::slice::from_ref(key)].concat();
            open.push((path.clone(), value));
            found.push(path);
        }
    }
    found.sort();
    found
}

fn wrong_type(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let config = context.config(&plugin)?;
    let schema = plugin.config_schema()?;
    let validator = jsonschema::validator_for(&schema)
        .map_err(|error| Verdict::skipped(format!("the schema cannot be used: {error}")))?;
    let mut tried = 0;
    for path in paths(&config) {
        // No configuration takes a list with an object that has this key.
        let changed = with(&config, &path, json!([{ UNKNOWN: [] }]));
        if validator.is_valid(&changed) {
            // A key of any type, by its schema.
            continue;
        }
        refused(&plugin, &changed, &path.join("."))?;
        tried += 1;
    }
    match tried {
        0 => Ok(Verdict::skipped("the configuration has no keys")),
        count => Ok(Verdict::passed(format!("{count} keys"))),
    }
}

fn no_object(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    for config in [json!(7), json!("text"), json!([1])] {
        refused(&plugin, &config, "task")?;
    }
    Ok(Verdict::passed(""))
}

fn extreme_values(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let config = context.config(&plugin)?;
    let mut tried = 0;
    for path in paths(&config) {
        let place = path.iter().fold(&config, |place, key| &place[key.as_str()]);
        let values = match place {
            Value::Number(_) => vec![json!(0), json!(-1), json!(1e-300), json!(u64::MAX)],
            Value::String(_) => vec![json!(""), json!("\u{0}"), json!("no/such/place")],
            Value::Array(_) => vec![json!([])],
            Value::Null => vec![json!(0), json!(""), json!([])],
            Value::Bool(_) | Value::Object(_) => vec![],
        };
        for value in values {
            let changed = with(&config, &path, value.clone());
            tried += 1;
            // Opening and asking for the first sample: some slips show only then.
            let outcome = plugin.open_task(&changed).and_then(|task| {
                let dataset = task.dataset("train")?;
                match dataset.len() {
                    0 => Ok(Vec::new()),
                    _ => dataset.batch(&[0], &[0], true),
                }
            });
            if let Err(error) = outcome
                && matches!(
                    &error,
                    LoaderError::Plugin {
                        code: ErrorCode::Panic,
                        ..
                    }
                )
            {
                return Err(Verdict::failed(format!(
                    "`task.{}` = {value}: {error}",
                    path.join(".")
                ))
                .with_help("check the configuration in `Task::open`, and name the key in the error")
                .with_detail(error.detail().unwrap_or_default()));
            }
        }
    }
    Ok(Verdict::passed(format!("{tried} configurations")))
}

fn host_defaults(context: &Context) -> Outcome {
    let defaults = context.plugin()?.host_defaults()?;
    if defaults.get("task").is_some() {
        return Err(Verdict::failed("the recommendations have the key `task`")
            .with_help("defaults of the task's own part are those of `Task::Config`"));
    }
    Ok(Verdict::passed(short(&defaults)))
}
