//! The composed schema.

use serde_json::{Value, json};

use super::{Config, plugin};
use crate::config::{compose, export};

fn composed() -> Value {
    compose::<Config>(Some(&plugin())).unwrap()
}

#[test]
fn it_is_draft_7_and_every_reference_leads_somewhere() {
    fn references(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                out.extend(
                    members
                        .get("$ref")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                members.values().for_each(|member| references(member, out));
            }
            Value::Array(entries) => entries.iter().for_each(|entry| references(entry, out)),
            _ => {}
        }
    }
    let schema = composed();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    let mut found = Vec::new();
    references(&schema, &mut found);
    assert!(found.len() > 5, "{found:?}");
    for reference in found {
        assert!(schema.pointer(&reference[1..]).is_some(), "{reference}");
    }
    assert_eq!(
        schema["properties"]["task"]["allOf"],
        json!([{"$ref": "#/definitions/plugin.pictures"}])
    );
}

#[test]
fn every_object_is_closed() {
    fn open(value: &Value, at: &str, out: &mut Vec<String>) {
        if let Value::Object(members) = value {
            if members.get("properties").is_some_and(Value::is_object)
                && !members.contains_key("additionalProperties")
            {
                out.push(at.to_owned());
            }
            for (key, member) in members {
                open(member, &format!("{at}/{key}"), out);
            }
        }
        for (index, entry) in value.as_array().into_iter().flatten().enumerate() {
            open(entry, &format!("{at}/{index}"), out);
        }
    }
    let mut found = Vec::new();
    open(&composed(), "", &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn descriptions_and_defaults_are_there() {
    let schema = composed();
    let steps = &schema["definitions"]["Train"]["properties"]["steps"];
    assert_eq!(
        (&steps["description"], &steps["default"]),
        (&json!("Optimiser steps."), &json!(1000))
    );
    let path = &schema["definitions"]["plugin.pictures"]["$defs"]["Data"]["properties"]["path"];
    assert_eq!(path["description"], "Folder; null takes the bundled set.");
    assert_eq!(schema["properties"]["objective"]["default"]["kind"], "dsl");
}

#[test]
fn what_resolves_also_fits_the_exported_schema() {
    let validator = jsonschema::draft7::new(&composed()).unwrap();
    let fits = json!({"objective": {"kind": "dsm"}, "task": {"background": {"kind": "colour", "alpha": 0.5}}});
    assert!(validator.is_valid(&fits));
    let wrong = json!({"task": {"background": {"kind": "colour", "alfa": 0.5}}});
    assert!(!validator.is_valid(&wrong));
}

#[test]
fn editors_may_leave_out_the_tag_of_the_default_kind_alone() {
    let schema = export::<Config>(Some(&plugin())).unwrap();
    let validator = jsonschema::draft7::new(&schema).unwrap();
    assert!(validator.is_valid(&json!({"objective": {"lambda": 0.1}})));
    assert!(validator.is_valid(&json!({"objective": {"kind": "dsm"}})));
    assert!(!validator.is_valid(&json!({"objective": {"kind": "dsm", "lambda": 0.1}})));
    assert!(!validator.is_valid(&json!({"task": {"background": {"alpha": 0.1}}})));
}

#[test]
fn editors_see_the_defaults_in_force_with_the_plugin() {
    let schema = export::<Config>(Some(&plugin())).unwrap();
    assert_eq!(schema["properties"]["train"]["default"]["batch_size"], 8);
    assert_eq!(
        schema["properties"]["task"]["default"]["data"]["name"],
        "emoji"
    );
}

#[test]
fn without_a_plugin_the_task_is_any_mapping() {
    let schema = compose::<Config>(None).unwrap();
    assert_eq!(schema["properties"]["task"]["type"], "object");
    let validator = jsonschema::draft7::new(&schema).unwrap();
    assert!(validator.is_valid(&json!({"task": {"anything": 1}})));
    assert!(!validator.is_valid(&json!({"anything": 1})));
}
