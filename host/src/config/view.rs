//! Walks a JSON Schema along with a value: which part of the schema speaks about which part of the value.

use serde_json::Value;

use super::document::segments;

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
            let wrapped = match node
                .get("allOf")
                .and_then(Value::as_array)
                .map(Vec::as_slice)
            {
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
            return fitting
                .into_iter()
                .find(|&index| constant(&resolved[index]["properties"][tag.name]) == Some(kind));
        }
        if let Some(index) = (0..branches.len()).find(|&index| lists(resolved[index], value)) {
            return Some(index);
        }
        if let Some(object) = value.as_object()
            && let Some(index) = fitting.iter().copied().find(
                |&index| matches!(sole_key(resolved[index]), Some(key) if object.contains_key(key)),
            )
        {
            return Some(index);
        }
        let sole = |indices: &[usize]| match indices {
            [index] => Some(*index),
            _ => None,
        };
        let open: Vec<usize> = fitting
            .iter()
            .copied()
            .filter(|&index| !is_list(resolved[index]))
            .collect();
        sole(&fitting).or_else(|| sole(&open))
    }

    /// Whether null is a value of its own at `node`.
    pub fn allows_null(self, node: &'a Value) -> bool {
        let node = self.resolve(node);
        let names_null = |schema: &Value| types(schema).contains(&"null");
        match self.branches(node) {
            Some(branches) => branches
                .iter()
                .any(|branch| names_null(self.resolve(branch))),
            None => {
                names_null(node) || node.get("type").is_none() && node.get("properties").is_none()
            }
        }
    }

    /// Whether the type of `value` is one that `node` takes.
    pub fn accepts(self, node: &'a Value, value: &Value) -> bool {
        let node = self.resolve(node);
        match self.branches(node) {
            Some(branches) => branches
                .iter()
                .any(|branch| accepts_type(self.resolve(branch), value)),
            None => accepts_type(node, value),
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
        for part in node
            .get("allOf")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
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
        let named = parts
            .iter()
            .find_map(|part| part.get("properties")?.get(key));
        let other = || {
            parts
                .iter()
                .find_map(|part| part.get("additionalProperties"))
        };
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
            name == "number"
                || name == "integer" && number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        Value::String(_) => name == "string",
        Value::Array(_) => name == "array",
        Value::Object(_) => name == "object",
    })
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}
