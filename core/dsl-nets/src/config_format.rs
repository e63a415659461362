//! `config.json` files of diffusers and transformers: what is read, what must have one value, what is kept as it is.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::error::{NetsError, json_text};

/// An option for which there is no code here: its name, the values that change nothing (the first is written), and what is
/// missing for every other one.
pub(crate) type NeutralOption = (&'static str, Vec<Value>, &'static str);

/// One kind of `config.json`.
pub(crate) struct ConfigFormat {
    /// Which file this is, for messages.
    pub what: &'static str,
    /// What `_class_name` (diffusers) or one of `architectures` (transformers) may be; the first is written.
    pub classes: &'static [&'static str],
    /// Options with a single possible value.
    pub neutral: Vec<NeutralOption>,
    /// Options without effect on the network, whatever their value.
    pub without_effect: &'static [&'static str],
}

impl ConfigFormat {
    /// Reads the options of `C`, and refuses what changes the network in a way that is not implemented.
    ///
    /// # Errors
    /// [`NetsError::Json`]; [`NetsError::UnsupportedOption`] with the name of the option.
    pub fn read<C: DeserializeOwned + Serialize + Default>(
        &self,
        text: &str,
    ) -> Result<C, NetsError> {
        let json_error = |source| NetsError::Json {
            what: self.what.to_owned(),
            source,
        };
        let all: Map<String, Value> = serde_json::from_str(text).map_err(json_error)?;
        self.read_map(all)
    }

    /// As [`Self::read`], from parsed JSON.
    pub fn read_map<C: DeserializeOwned + Serialize + Default>(
        &self,
        all: Map<String, Value>,
    ) -> Result<C, NetsError> {
        let mut own = Map::new();
        for (field, value) in all {
            if field == "_class_name" || field == "architectures" {
                self.check_class(&field, &value)?;
            } else if self.is_informative(&field) {
                continue;
            } else if let Some((_, allowed, reason)) =
                self.neutral.iter().find(|(name, ..)| *name == field)
            {
                if !allowed.contains(&value) {
                    let reason = format!("{reason}; it must be {}", json_text(&allowed[0]));
                    return Err(unsupported(&field, &value, reason));
                }
            } else {
                // Every field has a default, so one alone shows whether it is known and its value can be read.
                let alone = Map::from_iter([(field.clone(), value.clone())]);
                serde_json::from_value::<C>(Value::Object(alone)).map_err(|error| {
                    let unknown = error.to_string();
                    let reason = if unknown.starts_with(&format!("unknown field `{field}`")) {
                        "this option is not known".to_owned()
                    } else {
                        unknown
                    };
                    unsupported(&field, &value, reason)
                })?;
                own.insert(field, value);
            }
        }
        serde_json::from_value(Value::Object(own)).map_err(|source| NetsError::Json {
            what: self.what.to_owned(),
            source,
        })
    }

    /// Whether a field only says where the file comes from, or has no effect.
    fn is_informative(&self, field: &str) -> bool {
        field.starts_with('_') || self.without_effect.contains(&field)
    }

    fn check_class(&self, field: &str, value: &Value) -> Result<(), NetsError> {
        let named = |class: &Value| self.classes.iter().any(|ours| class == ours);
        let fits = match value {
            Value::Array(classes) => classes.is_empty() || classes.iter().any(named),
            Value::Null => true,
            class => named(class),
        };
        if fits {
            return Ok(());
        }
        let reason = format!("only {} can be read", self.classes.join(" or "));
        Err(unsupported(field, value, reason))
    }

    /// A diffusers `config.json`; informative fields of `original` are kept as they are.
    pub fn write<C: Serialize>(&self, config: &C, original: &Map<String, Value>) -> String {
        let mut all = Map::from_iter([("_class_name".to_owned(), json!(self.classes[0]))]);
        let informative = original
            .iter()
            .filter(|(field, _)| *field != "_class_name" && self.is_informative(field));
        all.extend(informative.map(|(field, value)| (field.clone(), value.clone())));
        all.entry("_diffusers_version")
            .or_insert_with(|| json!(DIFFUSERS_VERSION));
        if let Ok(Value::Object(own)) = serde_json::to_value(config) {
            all.extend(own);
        }
        for (name, allowed, _) in &self.neutral {
            let value = original.get(*name).filter(|value| allowed.contains(value));
            all.insert((*name).to_owned(), value.unwrap_or(&allowed[0]).clone());
        }
        let mut text = format!("{:#}", Value::Object(all));
        text.push('\n');
        text
    }
}

/// The version of diffusers whose files and numbers the tests compare with.
pub(crate) const DIFFUSERS_VERSION: &str = "0.42.1";

pub(crate) fn unsupported(field: &str, found: &Value, reason: String) -> NetsError {
    NetsError::UnsupportedOption {
        field: field.to_owned(),
        found: json_text(found),
        reason,
    }
}
