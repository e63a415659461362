//! What a user gives for a sample of their own: keys and values, checked, for [`crate::Task::conditions`].

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::PluginError;

/// Keys and values of `dsl-host sample --input KEY=VALUE`. Plain data: any thread may use it.
///
/// ```
/// use dsl_sdk::{inputs::Inputs, serde_json::json};
///
/// # fn main() -> Result<(), dsl_sdk::PluginError> {
/// let given = json!({"image": "chair.png", "elevation": "20"});
/// let inputs = Inputs::new(&given, &["image", "elevation"])?;
/// assert_eq!(inputs.path("image")?.to_str(), Some("chair.png"));
/// assert_eq!(inputs.number("elevation")?, Some(20.0));
/// assert!(Inputs::new(&given, &["image"]).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    given: Option<&'a Map<String, Value>>,
}

impl<'a> Inputs<'a> {
    /// Checks that there are no other keys than `known`.
    ///
    /// # Errors
    /// Another key, which is named beside the known ones; a value that is no object.
    pub fn new(inputs: &'a Value, known: &[&str]) -> Result<Self, PluginError> {
        let given = match inputs {
            Value::Null => None,
            Value::Object(given) => Some(given),
            other => {
                return Err(PluginError::config(format!(
                    "the inputs are {other}, expected keys and values"
                )));
            }
        };
        let names = || {
            known
                .iter()
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
        };
        match (given.into_iter().flat_map(Map::keys)).find(|key| !known.contains(&key.as_str())) {
            None => Ok(Self { given }),
            Some(key) => Err(PluginError::config(format!("there is no input `{key}`"))
                .with_help(format!("inputs of this task: {}", names().join(", ")))),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.given.and_then(|given| given.get(key))
    }

    /// A file or folder that has to be given.
    ///
    /// # Errors
    /// A key that is missing, or whose value is no text.
    pub fn path(&self, key: &str) -> Result<PathBuf, PluginError> {
        match self.get(key) {
            Some(Value::String(path)) if !path.is_empty() => Ok(PathBuf::from(path)),
            Some(other) => Err(PluginError::config(format!(
                "the input `{key}` is {other}, expected the name of a file"
            ))),
            None => Err(PluginError::config(format!("the input `{key}` is missing"))
                .with_help(format!("add `--input {key}=FILE`"))),
        }
    }

    /// A number, as such or as text, if it is given.
    ///
    /// # Errors
    /// A value that is no finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, PluginError> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        match number.filter(|number: &f64| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(PluginError::config(format!(
                "the input `{key}` is {value}, expected a number"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_inputs_are_named() {
        let error = |given: Value| {
            let inputs = Inputs::new(&given, &["image", "size"]);
            let error =
                inputs.and_then(|inputs| Ok((inputs.path("image")?, inputs.number("size")?)));
            error.unwrap_err().to_string()
        };
        assert!(error(json!({"picture": "a.png"})).contains("`picture`"));
        assert!(error(json!({"picture": "a.png"})).contains("`image`, `size`"));
        assert!(error(json!({})).contains("`image` is missing"));
        assert!(error(json!({"image": 3})).contains("`image` is 3"));
        assert!(error(json!({"image": "a", "size": "big"})).contains("`size`"));
        assert!(error(json!({"image": "a", "size": "nan"})).contains("`size`"));
        assert!(error(json!([1])).contains("keys and values"));
        assert!(error(Value::Null).contains("missing"));
    }
}
