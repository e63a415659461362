//! What this plugin recommends for the host's part of the configuration.

use dsl_sdk::serde_json::{Value, json};

const DEFAULTS: &str = include_str!("../defaults.json");

/// The content of `defaults.json`, an object with any subset of the host's keys.
///
/// The file is part of the source and a test parses it, so the empty object for a broken one is never seen.
pub(crate) fn host_defaults() -> Value {
    dsl_sdk::serde_json::from_str(DEFAULTS).unwrap_or_else(|_| json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_an_object() {
        let parsed: Value = dsl_sdk::serde_json::from_str(DEFAULTS).unwrap();
        assert!(parsed.is_object());
        assert_eq!(parsed, host_defaults());
    }
}
