//! Checks a merged configuration against its schema and says everything that is wrong with it, in words.

use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

use super::{
    document::{child, describe, dotted},
    error::ConfigError,
    layers::{Layers, Mark, Origin},
    suggest::{likeness, nearest},
    view::{Tag, View, constant, sole_key, types},
};

/// A mistake at a pointer of the merged configuration.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub pointer: String,
    pub mark: Mark,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
}

/// Everything in `layers` that the schema does not allow.
pub(super) fn validate(view: View<'_>, layers: &Layers) -> Result<Vec<Finding>, ConfigError> {
    let validator = jsonschema::options().build(view.root()).map_err(|error| {
        ConfigError::new(format!("the config schema is not valid: {error}"))
            .with_help("this is a mistake in dsl-host or in the plugin, not in your config")
    })?;
    let mut explainer = Explainer {
        view,
        layers,
        findings: Vec::new(),
    };
    for error in validator.iter_errors(&layers.merged) {
        explainer.explain(&error, None);
    }
    Ok(explainer.findings)
}

/// Gives a finding its place in the text it came from, and says whose fault it is.
pub(super) fn locate(finding: Finding, layers: &Layers, plugin: Option<&str>) -> ConfigError {
    let mut error = ConfigError::new(finding.message);
    error.help = finding.help;
    let Some((origin, place)) = layers.place(&finding.pointer, finding.mark, &finding.label) else {
        return error;
    };
    let blame = match (origin, plugin) {
        (Origin::Plugin, Some(plugin)) => format!(
            "this value comes from plugin `{plugin}`, not from your config: tell its author; until then set `{}` yourself",
            dotted(&finding.pointer)
        ),
        (Origin::Host, _) => "this is a default of dsl-host itself: please report it".to_owned(),
        _ => return error.at(place),
    };
    error.help = Some(match error.help {
        Some(help) => format!("{blame} ({help})"),
        None => blame,
    });
    error.at(place)
}

/// The other alternatives of the tagged enum in which a key was refused.
#[derive(Clone, Copy)]
struct Siblings<'a, 'v> {
    at: &'v str,
    branches: &'a [Value],
    tag: &'a str,
    kind: &'v str,
}

struct Explainer<'a> {
    view: View<'a>,
    layers: &'a Layers,
    findings: Vec<Finding>,
}

impl<'a> Explainer<'a> {
    fn explain(&mut self, error: &ValidationError<'_>, siblings: Option<Siblings<'a, '_>>) {
        let at = error.instance_path().to_string();
        let keyword = error.schema_path().to_string();
        let holder = keyword.rsplit_once('/').map_or("", |(holder, _)| holder);
        let schema = self.view.pointer(holder).unwrap_or(&Value::Null);
        let value = error.instance().as_ref();
        let name = match dotted(&at) {
            name if name.is_empty() => "the config".to_owned(),
            name => format!("`{name}`"),
        };
        use ValidationErrorKind as Kind;
        match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                for key in unexpected {
                    self.unknown_key(&at, key, schema, siblings);
                }
            }
            Kind::OneOfNotValid { context } | Kind::AnyOf { context } => {
                self.alternatives(&at, &name, value, schema, context);
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let full = dotted(&child(&at, key));
                self.find(
                    &at,
                    Mark::Key,
                    format!("`{full}` is missing"),
                    "a key is missing here",
                    self.describe_key(schema, key),
                );
            }
            Kind::Type { .. } => {
                let expected = expected_types(schema);
                let help = type_help(schema, value).or_else(|| about(&name, schema));
                self.wrong(&at, &name, value, &expected, help);
            }
            Kind::Enum { options } => {
                let options: Vec<_> = options.as_array().into_iter().flatten().collect();
                self.not_listed(&at, &name, value, &options);
            }
            Kind::Constant { expected_value } => {
                self.not_listed(&at, &name, value, &[expected_value])
            }
            Kind::Minimum { limit } => {
                self.wrong(&at, &name, value, &format!("at least {limit}"), None)
            }
            Kind::Maximum { limit } => {
                self.wrong(&at, &name, value, &format!("at most {limit}"), None)
            }
            Kind::ExclusiveMinimum { limit } => {
                self.wrong(&at, &name, value, &format!("greater than {limit}"), None);
            }
            Kind::ExclusiveMaximum { limit } => {
                self.wrong(&at, &name, value, &format!("less than {limit}"), None);
            }
            Kind::MultipleOf { multiple_of } => {
                self.wrong(
                    &at,
                    &name,
                    value,
                    &format!("a multiple of {multiple_of}"),
                    None,
                );
            }
            Kind::Pattern { pattern } => {
                let examples = schema.get("examples").and_then(Value::as_array);
                let expected = match examples {
                    Some(examples) => format!("of a form such as {}", listed(examples)),
                    None => format!("text that fits the pattern `{pattern}`"),
                };
                let known = examples.into_iter().flatten().filter_map(Value::as_str);
                let help = value
                    .as_str()
                    .and_then(|text| nearest(text, known))
                    .map(|near| format!("did you mean `{near}`?"))
                    .or_else(|| about(&name, schema));
                self.wrong(&at, &name, value, &expected, help);
            }
            Kind::MinLength { limit } => {
                let expected = match limit {
                    1 => "a string that is not empty".to_owned(),
                    limit => format!("at least {limit} characters long"),
                };
                self.wrong(&at, &name, value, &expected, None);
            }
            Kind::MaxLength { limit } => {
                self.wrong(
                    &at,
                    &name,
                    value,
                    &format!("at most {limit} characters long"),
                    None,
                );
            }
            Kind::MinItems { limit } => {
                self.wrong(
                    &at,
                    &name,
                    value,
                    &format!("a list of at least {limit}"),
                    None,
                );
            }
            Kind::MaxItems { limit } => {
                self.wrong(
                    &at,
                    &name,
                    value,
                    &format!("a list of at most {limit}"),
                    None,
                );
            }
            Kind::UniqueItems => self.wrong(&at, &name, value, "a list without repeats", None),
            _ => {
                let message = format!("{name} does not fit the schema: {}", error.masked());
                self.find(
                    &at,
                    Mark::Value,
                    message,
                    "does not fit",
                    about(&name, schema),
                );
            }
        }
    }

    /// A key that the object does not have: did you mean one that it has, one elsewhere, one of another kind?
    fn unknown_key(
        &mut self,
        at: &str,
        key: &str,
        schema: &'a Value,
        siblings: Option<Siblings<'a, '_>>,
    ) {
        let pointer = child(at, key);
        let message = format!("unknown key `{}`", dotted(&pointer));
        let known: Vec<&str> = match schema.get("properties").and_then(Value::as_object) {
            Some(properties) => properties.keys().map(String::as_str).collect(),
            None => Vec::new(),
        };
        let near = nearest(key, known.iter().copied());
        let siblings = siblings.filter(|siblings| siblings.at == at && near.is_none());
        let owner = siblings.and_then(|siblings| {
            let (known, kind) = self.of_other_kind(siblings, key)?;
            Some((siblings, known, kind))
        });
        let help = if let Some((siblings, known, kind)) = owner {
            let (tag, now) = (dotted(&child(at, siblings.tag)), siblings.kind);
            let set_by = self.layers.origin(&child(at, siblings.tag));
            let here = format!("belongs to `{tag}: {kind}`; here it is `{now}` ({set_by})");
            match known == key {
                true => format!("`{key}` {here}"),
                false => format!("did you mean `{known}`? It {here}"),
            }
        } else if let Some(near) = near {
            format!("did you mean `{}`?", dotted(&child(at, near)))
        } else if let Some(path) = self.elsewhere(key) {
            format!("did you mean `{path}`?")
        } else if known.is_empty() {
            "no keys are expected here".to_owned()
        } else {
            let known = known.iter().filter(|known| **known != "$schema");
            format!(
                "known keys: {}",
                known.copied().collect::<Vec<_>>().join(", ")
            )
        };
        self.find(&pointer, Mark::Key, message, "unknown key", Some(help));
    }

    /// A key like this one that another kind of a tagged enum has, and that kind.
    fn of_other_kind(&self, siblings: Siblings<'a, '_>, key: &str) -> Option<(&'a str, &'a str)> {
        siblings.branches.iter().find_map(|branch| {
            let properties = self.view.resolve(branch).get("properties")?.as_object()?;
            let known = nearest(key, properties.keys().map(String::as_str))?;
            Some((known, constant(properties.get(siblings.tag)?)?))
        })
    }

    /// The path of a key of such a name in another part of the configuration, when there is exactly one.
    fn elsewhere(&self, key: &str) -> Option<String> {
        let mut paths = Vec::new();
        let mut open = vec![(self.view.root(), &self.layers.merged, String::new())];
        while let Some((node, value, at)) = open.pop() {
            let Value::Object(members) = value else {
                continue;
            };
            let parts = self.view.parts(node, value);
            for part in parts {
                let keys = part.get("properties").and_then(Value::as_object);
                let keys = keys.into_iter().flat_map(|properties| properties.keys());
                let alike = keys.filter(|known| likeness(key, known) > 0.95);
                paths.extend(alike.map(|known| dotted(&child(&at, known))));
            }
            for (name, member) in members {
                if let Some(schema) = self.view.member(node, value, name) {
                    open.push((schema, member, child(&at, name)));
                }
            }
        }
        match paths.as_slice() {
            [path] => Some(path.clone()),
            _ => None,
        }
    }

    /// `oneOf` and `anyOf`: the errors of the alternative that was meant, or what the alternatives are.
    fn alternatives(
        &mut self,
        at: &str,
        name: &str,
        value: &Value,
        schema: &'a Value,
        context: &[Vec<ValidationError<'static>>],
    ) {
        let branches = self.view.branches(schema).unwrap_or_default();
        let tag = self.view.tag(branches);
        if let Some(index) = self.view.select(branches, value)
            && let Some(errors) = context.get(index)
        {
            let siblings = tag.and_then(|tag| {
                let kind = value.get(tag.name)?.as_str()?;
                Some(Siblings {
                    at,
                    branches,
                    tag: tag.name,
                    kind,
                })
            });
            for error in errors {
                self.explain(error, siblings);
            }
            return;
        }
        match tag {
            Some(tag) => self.no_such_kind(at, name, value, &tag),
            None => self.no_alternative(at, name, value, branches),
        }
    }

    /// The tag of a tagged enum is missing or unknown.
    fn no_such_kind(&mut self, at: &str, name: &str, value: &Value, tag: &Tag<'_>) {
        let kinds: Vec<Value> = tag.values.iter().map(|kind| Value::from(*kind)).collect();
        let pointer = child(at, tag.name);
        let key = dotted(&pointer);
        match value.get(tag.name) {
            Some(kind) => {
                self.not_listed(
                    &pointer,
                    &format!("`{key}`"),
                    kind,
                    &kinds.iter().collect::<Vec<_>>(),
                );
            }
            None if value.is_object() => {
                let help = format!("it says which kind is meant: {}", listed(&kinds));
                let message = format!("`{key}` is missing");
                self.find(at, Mark::Key, message, "a key is missing here", Some(help));
            }
            None => {
                let expected =
                    format!("a mapping with the key `{}` ({})", tag.name, listed(&kinds));
                self.wrong(at, name, value, &expected, None);
            }
        }
    }

    fn no_alternative(&mut self, at: &str, name: &str, value: &Value, branches: &'a [Value]) {
        let mut constants: Vec<&Value> = Vec::new();
        let mut shapes: Vec<String> = Vec::new();
        for branch in branches {
            let branch = self.view.resolve(branch);
            match (branch.get("const"), branch.get("enum"), sole_key(branch)) {
                (Some(constant), ..) => constants.push(constant),
                (None, Some(Value::Array(options)), _) => constants.extend(options),
                (None, _, Some(key)) => shapes.push(format!("a mapping with the key `{key}`")),
                (None, _, None) => shapes.push(expected_types(branch)),
            }
        }
        if shapes.iter().all(|shape| shape == "null") {
            return self.not_listed(at, name, value, &constants);
        }
        shapes.dedup();
        let mut words: Vec<String> = constants.iter().map(|constant| quoted(constant)).collect();
        words.extend(shapes);
        let known = constants.iter().filter_map(|constant| constant.as_str());
        let near = value.as_str().and_then(|text| nearest(text, known));
        let help = near.map(|near| format!("did you mean `{near}`?"));
        self.wrong(at, name, value, &either(&words), help);
    }

    fn not_listed(&mut self, at: &str, name: &str, value: &Value, options: &[&Value]) {
        let all = listed(options.iter().copied());
        let expected = match options {
            [_] => all.clone(),
            _ => format!("one of {all}"),
        };
        let known = options.iter().filter_map(|option| option.as_str());
        let near = value.as_str().and_then(|text| nearest(text, known));
        let help = near.map(|near| format!("did you mean `{near}`?"));
        self.wrong(at, name, value, &expected, help);
    }

    fn wrong(&mut self, at: &str, name: &str, value: &Value, expected: &str, help: Option<String>) {
        let message = format!("{name} must be {expected}, found {}", describe(value));
        self.find(
            at,
            Mark::Value,
            message,
            &format!("must be {expected}"),
            help,
        );
    }

    fn find(&mut self, at: &str, mark: Mark, message: String, label: &str, help: Option<String>) {
        // Several keywords may refuse one node for the same reason.
        if self
            .findings
            .iter()
            .any(|known| known.pointer == at && known.message == message)
        {
            return;
        }
        // A long list of options stands in the message already.
        let label = if label.chars().count() > 60 {
            "this value"
        } else {
            label
        };
        self.findings.push(Finding {
            pointer: at.to_owned(),
            mark,
            message,
            label: label.to_owned(),
            help,
        });
    }

    fn describe_key(&self, schema: &'a Value, key: &str) -> Option<String> {
        let property = schema.get("properties")?.get(key)?;
        let text = description(property).or_else(|| description(self.view.resolve(property)))?;
        Some(format!("`{key}`: {text}"))
    }
}

/// The types of a schema in words.
fn expected_types(schema: &Value) -> String {
    let words: Vec<_> = types(schema)
        .into_iter()
        .map(|name| match name {
            "integer" => "an integer",
            "number" => "a number",
            "boolean" => "`true` or `false`",
            "string" => "a string",
            "array" => "a list",
            "object" => "a mapping",
            other => other,
        })
        .collect();
    match words.is_empty() {
        true => "something else".to_owned(),
        false => words.join(" or "),
    }
}

/// What to do about usual mix-ups of types.
fn type_help(schema: &Value, value: &Value) -> Option<String> {
    let types = types(schema);
    let help = match value {
        Value::String(text) if types.contains(&"boolean") => {
            match text.to_ascii_lowercase().as_str() {
                "no" | "off" | "n" | "false" => "write `false`",
                "yes" | "on" | "y" | "true" => "write `true`",
                _ => return None,
            }
        }
        Value::String(text)
            if types.contains(&"integer") && text.parse::<i64>().is_ok()
                || types.contains(&"number") && text.parse::<f64>().is_ok() =>
        {
            "remove the quotes"
        }
        Value::Number(_) | Value::Bool(_) if types.contains(&"string") => "write it in quotes",
        _ if types == ["array"] && !value.is_null() => "write it in `[` and `]`",
        _ => return None,
    };
    Some(help.to_owned())
}

fn description(schema: &Value) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    // The first paragraph says what it is; line breaks in it come from the source code.
    let first = text.split("\n\n").next()?.replace('\n', " ");
    Some(first.trim_end_matches('.').to_owned())
}

fn about(name: &str, schema: &Value) -> Option<String> {
    Some(format!("{name}: {}", description(schema)?))
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

/// `` `a`, `b` or `c` ``
fn listed<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    either(&values.into_iter().map(quoted).collect::<Vec<_>>())
}

/// a, b or c
fn either(words: &[String]) -> String {
    match words.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}
