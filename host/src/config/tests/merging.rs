//! Which layer wins, what `--set` takes, where values come from.

use std::path::Path;

use serde_json::{Value, json};

use super::{Config, check, errors, file, plugin, resolve};
use crate::config::resolve_config;

/// The value at a pointer of a resolved configuration.
#[track_caller]
fn at(text: &str, sets: &[&str], pointer: &str) -> Value {
    match resolve("my.yaml", text, sets) {
        Ok(resolved) => resolved.value.pointer(pointer).unwrap().clone(),
        Err(errors) => panic!("{errors}"),
    }
}

#[test]
fn every_default_is_spelled_out() {
    let resolved = resolve_config::<Config>(&plugin(), None, &[]).unwrap();
    let expected = json!({
        "task": {
            "data": {"path": null, "name": "emoji", "resolution": 32},
            "captions": "first",
            "background": {"kind": "white"},
            "sizes": []
        },
        "objective": {"kind": "dsl", "lambda": 0.05, "margin": {"every_epochs": 5, "source": "gen_error"}},
        "train": {"steps": 1000, "batch_size": 8, "learning_rate": 1e-4, "betas": [0.9, 0.999], "shuffle": true},
        "device": "cpu",
        "limit_bytes": null,
        "warm": null
    });
    assert_eq!(resolved.value, expected);
    assert_eq!(serde_json::to_value(&resolved.config).unwrap(), expected);
}

#[test]
fn higher_layers_win_key_by_key() {
    let text = "train: {batch_size: 4, steps: 5}";
    assert_eq!(at("", &[], "/train/batch_size"), 8);
    assert_eq!(at(text, &[], "/train/batch_size"), 4);
    assert_eq!(at(text, &["train.batch_size=2"], "/train/batch_size"), 2);
    assert_eq!(at(text, &["train.batch_size=2"], "/train/steps"), 5);
    assert_eq!(at(text, &[], "/train/learning_rate"), 1e-4);
    assert_eq!(
        at("task: {data: {resolution: 8}}", &[], "/task/data"),
        json!({"path": null, "name": "emoji", "resolution": 8})
    );
    assert_eq!(
        at("train: {betas: [0.5]}", &[], "/train/betas"),
        json!([0.5])
    );
}

#[test]
fn another_kind_takes_nothing_from_the_layers_below() {
    assert_eq!(
        at("objective: {kind: dsm}", &[], "/objective"),
        json!({"kind": "dsm"})
    );
    assert_eq!(
        at(
            "objective: {lambda: 0.3}",
            &["objective.kind=dsm"],
            "/objective"
        ),
        json!({"kind": "dsm"})
    );
    let back = at(
        "objective: {kind: dsm}",
        &["objective.kind=dsl"],
        "/objective/lambda",
    );
    assert_eq!(back, 0.05);
    let colour = at(
        "task: {background: {kind: colour, alpha: 1}}",
        &[],
        "/task/background",
    );
    assert_eq!(
        colour,
        json!({"kind": "colour", "alpha": 1, "rgb": [0, 0, 0]})
    );
    let source = at(
        "objective: {margin: {source: {const: {value: 2}}}}",
        &[],
        "/objective/margin/source",
    );
    assert_eq!(source, json!({"const": {"value": 2.0}}));
}

#[test]
fn one_kind_keeps_what_the_layers_below_say_of_it() {
    let objective = at(
        "objective: {lambda: 0.3}",
        &["objective.margin.every_epochs=2"],
        "/objective",
    );
    assert_eq!(
        objective,
        json!({"kind": "dsl", "lambda": 0.3, "margin": {"every_epochs": 2, "source": "gen_error"}})
    );
}

#[test]
fn the_order_of_sets_does_not_lose_any() {
    for sets in [
        ["objective.kind=dsm", "objective.lambda=0.1"],
        ["objective.lambda=0.1", "objective.kind=dsm"],
    ] {
        let expected = r"
error: unknown key `objective.lambda`
   ╭─[--set:1:11]
 1 │ objective.lambda=0.1
   ·           ───┬──
   ·              ╰── unknown key
   ╰────
hint: `lambda` belongs to `objective.kind: dsl`; here it is `dsm` (--set objective.kind=dsm)
";
        check("my.yaml", "", &sets, expected);
    }
    assert_eq!(
        at("", &["train.steps=1", "train.steps=2"], "/train/steps"),
        2
    );
}

#[test]
fn sets_take_scalars_lists_mappings_and_free_text() {
    let name = |text: &str| at("", &[&format!("task.data.name={text}")], "/task/data/name");
    assert_eq!(name("cats"), "cats");
    assert_eq!(
        name("a cat: red # not a comment"),
        "a cat: red # not a comment"
    );
    assert_eq!(name("a=b"), "a=b");
    assert_eq!(name("'quoted'"), "quoted");
    assert_eq!(name(""), "");
    // Where only text will do, numbers and words of YAML are text.
    assert_eq!(name("12"), "12");
    assert_eq!(name("1e-4"), "1e-4");
    assert_eq!(name("true"), "true");
    assert_eq!(name("no"), "no");
    assert_eq!(at("", &["task.data.path=12"], "/task/data/path"), "12");
    assert_eq!(
        at(
            "task: {data: {path: x}}",
            &["task.data.path=null"],
            "/task/data/path"
        ),
        Value::Null
    );
    assert_eq!(
        at("", &["train.learning_rate=1e-3"], "/train/learning_rate"),
        1e-3
    );
    assert_eq!(at("", &["train.shuffle=false"], "/train/shuffle"), false);
    assert_eq!(
        at("", &["train.betas=[0.1, 0.2]"], "/train/betas"),
        json!([0.1, 0.2])
    );
    assert_eq!(
        at("", &["train.betas.1=0.2"], "/train/betas"),
        json!([0.9, 0.2])
    );
    assert_eq!(at("", &["train={steps: 3}"], "/train/steps"), 3);
    assert_eq!(at("", &["train={steps: 3}"], "/train/batch_size"), 8);
    let sizes = "task: {sizes: [{width: 1, height: 2}]}";
    assert_eq!(
        at(sizes, &["task.sizes.0.height=5"], "/task/sizes"),
        json!([{"width": 1, "height": 5}])
    );
}

#[test]
fn whole_floats_serve_as_integers() {
    assert_eq!(at("train: {steps: 1e3}", &[], "/train/steps"), 1000);
    assert_eq!(
        at(
            "task: {data: {resolution: 16.0}}",
            &[],
            "/task/data/resolution"
        ),
        16
    );
}

#[test]
fn a_section_of_comments_says_nothing_and_null_means_none() {
    assert_eq!(
        at("train:\n  # steps: 3\ntask:\n", &[], "/train/steps"),
        1000
    );
    assert_eq!(at("warm: {steps: 3}", &[], "/warm/steps"), 3);
    assert_eq!(at("warm: {steps: 3}", &["warm=null"], "/warm"), Value::Null);
}

#[test]
fn wrong_paths_of_sets_are_marked() {
    let expected = r"
error: `--set train.steps` has no `=`
   ╭─[--set:1:1]
 1 │ train.steps
   · ─────┬─────
   ·      ╰── no `=`
   ╰────
hint: write `--set key.subkey=value`, for example `--set train.steps=2000`

error: `--set train..steps=3` has an empty key in its path
   ╭─[--set:1:7]
 1 │ train..steps=3
   ·       ▲
   ·       ╰── no key here
   ╰────
hint: write `--set key.subkey=value`, for example `--set train.steps=2000`

error: cannot read the value of `--set`: unclosed bracket '['
   ╭─[--set:1:13]
 1 │ train.betas=[1, 2
   ·             ──┬──
   ·               ╰── not YAML
   ╰────
hint: lists are `[1, 2]`, mappings `{a: 1}`, and quotes come in pairs

error: `train.betas` is a list of 2: it has no entry `5`
   ╭─[--set:1:13]
 1 │ train.betas.5=1
   ·             ┬
   ·             ╰── no such entry
   ╰────
hint: entries count from 0; `--set train.betas=[...]` replaces the list
";
    let sets = [
        "train.steps",
        "train..steps=3",
        "train.betas=[1, 2",
        "train.betas.5=1",
    ];
    check("my.yaml", "", &sets, expected);
}

#[test]
fn a_set_below_a_wrong_value_does_not_hide_it() {
    let found = errors("my.yaml", "train: 3", &["train.steps=5"]);
    assert!(
        found.contains("error: `train` must be a mapping, found the integer 3\n   ╭─[my.yaml:1:8]"),
        "{found}"
    );
    assert!(
        found.contains("error: `train` is the integer 3: it has no key `steps`\n   ╭─[--set:1:7]"),
        "{found}"
    );
}

#[test]
fn values_know_where_they_come_from() {
    let (_folder, path) = file("my.yaml", "train:\n  steps: 5\n");
    let sets = ["task.captions=random".to_owned()];
    let resolved = resolve_config::<Config>(&plugin(), Some(&path), &sets).unwrap();
    assert_eq!(
        resolved.origin("/train/steps"),
        format!("{}:2:10", path.display())
    );
    assert_eq!(
        resolved.origin("/train/batch_size"),
        "recommended by plugin pictures"
    );
    assert_eq!(resolved.origin("/train/shuffle"), "default");
    assert_eq!(
        resolved.origin("/task/captions"),
        "--set task.captions=random"
    );
    assert_eq!(
        resolved.origin("/task/data/name"),
        "default of plugin pictures"
    );
    let origins = resolved.origins();
    assert!(origins.contains(&(
        "train.steps".into(),
        json!(5),
        format!("{}:2:10", path.display())
    )));
}

#[test]
fn a_resolved_config_resolves_to_itself() {
    let text = "objective: {kind: dsm}\ntrain: {betas: [0.5]}\nwarm: {steps: 3}\ntask: {background: {kind: colour}}";
    let first = resolve("my.yaml", text, &["task.data.path=x"])
        .unwrap()
        .value;
    let second = resolve("config.json", &format!("{first:#}"), &[])
        .unwrap()
        .value;
    assert_eq!(first, second);
}

#[test]
fn the_schema_key_of_editors_is_left_out() {
    let resolved = resolve(
        "my.json",
        r#"{"$schema": "x.json", "train": {"steps": 2}}"#,
        &[],
    )
    .unwrap();
    assert_eq!(resolved.value.get("$schema"), None);
}

#[test]
fn paths_become_absolute() {
    let mut plugin = plugin();
    plugin.config_schema["$defs"]["Data"]["properties"]["path"]["format"] = json!("path");
    let path = |text: &str| {
        let set = [format!("task.data.path={text}")];
        let resolved = resolve_config::<Config>(&plugin, None, &set).unwrap();
        resolved.value["task"]["data"]["path"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let here = std::env::current_dir().unwrap();
    assert_eq!(Path::new(&path("data/cats")), here.join("data/cats"));
    assert_eq!(Path::new(&path("/data/cats")), Path::new("/data/cats"));
    assert_eq!(path("https://example.org/cats"), "https://example.org/cats");
}
