//! What a user reads about wrong keys, types and values.

use serde_json::json;

use super::{Config, check, errors, plugin};
use crate::config::resolve_config;

#[test]
fn an_unknown_key_is_marked_and_a_near_one_proposed() {
    let expected = r"
error: unknown key `train.stepz`
   ╭─[my.yaml:2:3]
 1 │ train:
 2 │   stepz: 30
   ·   ──┬──
   ·     ╰── unknown key
   ╰────
hint: did you mean `train.steps`?
";
    check("my.yaml", "train:\n  stepz: 30\n", &[], expected);
}

#[test]
fn the_same_mistake_reads_alike_in_toml_and_json() {
    let expected = r"
error: unknown key `train.stepz`
   ╭─[my.toml:2:1]
 1 │ [train]
 2 │ stepz = 30
   · ──┬──
   ·   ╰── unknown key
   ╰────
hint: did you mean `train.steps`?
";
    check("my.toml", "[train]\nstepz = 30\n", &[], expected);
    let expected = r#"
error: unknown key `train.stepz`
   ╭─[my.json:1:12]
 1 │ {"train": {"stepz": 30}}
   ·            ───┬───
   ·               ╰── unknown key
   ╰────
hint: did you mean `train.steps`?
"#;
    check("my.json", r#"{"train": {"stepz": 30}}"#, &[], expected);
}

#[test]
fn everything_wrong_is_reported_at_once_in_order() {
    let text = "\
train:
  learning_rate: \"1e-4\"
  batch_size: 0
  shuffle: no
task:
  captions: frist
  sizes:
    - {width: 3}
";
    let expected = r#"
error: `train.learning_rate` must be a number, found the string "1e-4"
   ╭─[my.yaml:2:18]
 1 │ train:
 2 │   learning_rate: "1e-4"
   ·                  ───┬──
   ·                     ╰── must be a number
 3 │   batch_size: 0
   ╰────
hint: remove the quotes

error: `train.batch_size` must be at least 1, found the integer 0
   ╭─[my.yaml:3:15]
 2 │   learning_rate: "1e-4"
 3 │   batch_size: 0
   ·               ┬
   ·               ╰── must be at least 1
 4 │   shuffle: no
   ╰────

error: `train.shuffle` must be `true` or `false`, found the string "no"
   ╭─[my.yaml:4:12]
 3 │   batch_size: 0
 4 │   shuffle: no
   ·            ─┬
   ·             ╰── must be `true` or `false`
 5 │ task:
   ╰────
hint: write `false`

error: `task.captions` must be one of `first` or `random`, found the string "frist"
   ╭─[my.yaml:6:13]
 5 │ task:
 6 │   captions: frist
   ·             ──┬──
   ·               ╰── must be one of `first` or `random`
 7 │   sizes:
   ╰────
hint: did you mean `first`?

error: `task.sizes.0.height` is missing
   ╭─[my.yaml:8:7]
 7 │   sizes:
 8 │     - {width: 3}
   ·       ┬
   ·       ╰── a key is missing here
   ╰────

error: unknown key `train.lr`
   ╭─[--set:1:7]
 1 │ train.lr=1
   ·       ─┬
   ·        ╰── unknown key
   ╰────
hint: did you mean `train.learning_rate`?
"#;
    check("my.yaml", text, &["train.lr=1"], expected);
}

#[test]
fn a_key_of_another_kind_names_its_kind_and_who_chose_this_one() {
    let expected = r"
error: unknown key `objective.lambda`
   ╭─[my.yaml:1:24]
 1 │ objective: {kind: dsm, lambda: 0.1}
   ·                        ───┬──
   ·                           ╰── unknown key
   ╰────
hint: `lambda` belongs to `objective.kind: dsl`; here it is `dsm` (my.yaml:1:19)
";
    check(
        "my.yaml",
        "objective: {kind: dsm, lambda: 0.1}",
        &[],
        expected,
    );
}

#[test]
fn a_misspelt_key_of_another_kind_is_found_too() {
    let found = errors("my.yaml", "objective: {kind: dsm, lamda: 0.1}", &[]);
    let hint = "hint: did you mean `lambda`? It belongs to `objective.kind: dsl`; here it is `dsm` (my.yaml:1:19)\n";
    assert!(found.ends_with(hint), "{found}");
}

#[test]
fn an_unknown_kind_is_one_message_not_one_per_alternative() {
    let expected = r#"
error: `objective.kind` must be one of `dsm` or `dsl`, found the string "dls"
   ╭─[my.yaml:1:19]
 1 │ objective: {kind: dls, lambda: 2}
   ·                   ─┬─
   ·                    ╰── must be one of `dsm` or `dsl`
   ╰────
hint: did you mean `dsl`?
"#;
    check(
        "my.yaml",
        "objective: {kind: dls, lambda: 2}",
        &[],
        expected,
    );
}

#[test]
fn inside_a_tagged_enum_the_errors_are_those_of_the_kind_that_was_meant() {
    let expected = r"
error: `objective.lambda` must be less than 1.0, found the number 1.0
   ╭─[my.yaml:1:21]
 1 │ objective: {lambda: 1.0, margin: {every_epochs: -1}}
   ·                     ─┬─
   ·                      ╰── must be less than 1.0
   ╰────

error: `objective.margin.every_epochs` must be at least 0, found the integer -1
   ╭─[my.yaml:1:49]
 1 │ objective: {lambda: 1.0, margin: {every_epochs: -1}}
   ·                                                 ─┬
   ·                                                  ╰── must be at least 0
   ╰────
";
    check(
        "my.yaml",
        "objective: {lambda: 1.0, margin: {every_epochs: -1}}",
        &[],
        expected,
    );
}

#[test]
fn alternatives_without_a_tag_are_listed() {
    let found = errors("my.yaml", "objective: {margin: {source: 3}}", &[]);
    let expected = "error: `objective.margin.source` must be `gen_error`, `disc_error` or a mapping with the key `const`, \
                    found the integer 3\n";
    assert!(found.starts_with(expected), "{found}");
    let found = errors("my.yaml", "objective: {margin: {source: gen_eror}}", &[]);
    assert!(
        found.ends_with("hint: did you mean `gen_error`?\n"),
        "{found}"
    );
}

#[test]
fn a_string_in_the_place_of_a_tagged_mapping_is_told_which_key_to_write() {
    let found = errors("my.yaml", "objective: dsm", &[]);
    let expected = "error: `objective` must be a mapping with the key `kind` (`dsm` or `dsl`), found the string \"dsm\"\n";
    assert!(found.starts_with(expected), "{found}");
}

#[test]
fn a_pattern_is_explained_by_examples() {
    let expected = r#"
error: `device` must be of a form such as `cpu`, `cuda:0` or `tch`, found the string "cuda0"
   ╭─[my.yaml:1:9]
 1 │ device: cuda0
   ·         ──┬──
   ·           ╰── must be of a form such as `cpu`, `cuda:0` or `tch`
   ╰────
hint: did you mean `cuda:0`?
"#;
    check("my.yaml", "device: cuda0", &[], expected);
}

#[test]
fn a_key_in_the_wrong_section_is_sent_to_the_right_one() {
    let found = errors("my.yaml", "batch_size: 3", &[]);
    assert!(
        found.ends_with("hint: did you mean `train.batch_size`?\n"),
        "{found}"
    );
    let found = errors("my.yaml", "lr: 3", &[]);
    assert!(
        found.ends_with("hint: did you mean `train.learning_rate`?\n"),
        "{found}"
    );
    let found = errors("my.yaml", "banana: 3", &[]);
    let known = "hint: known keys: task, objective, train, device, limit_bytes, warm\n";
    assert!(found.ends_with(known), "{found}");
}

#[test]
fn types_are_told_in_words_with_the_usual_remedy() {
    let check = |text: &str, message: &str, hint: &str| {
        let found = errors("my.yaml", text, &[]);
        assert!(found.starts_with(&format!("error: {message}\n")), "{found}");
        assert!(
            hint.is_empty() || found.ends_with(&format!("hint: {hint}\n")),
            "{found}"
        );
    };
    check(
        "task: {data: {path: 12}}",
        "`task.data.path` must be a string or null, found the integer 12",
        "write it in quotes",
    );
    check(
        "train: {betas: 0.9}",
        "`train.betas` must be a list, found the number 0.9",
        "write it in `[` and `]`",
    );
    check(
        "train: {steps: many}",
        "`train.steps` must be an integer, found the string \"many\"",
        "`train.steps`: Optimiser steps",
    );
    check(
        "train: {steps: 1.5}",
        "`train.steps` must be an integer, found the number 1.5",
        "",
    );
    check(
        "train: {shuffle: on}",
        "`train.shuffle` must be `true` or `false`, found the string \"on\"",
        "write `true`",
    );
    check(
        "train: 3",
        "`train` must be a mapping, found the integer 3",
        "",
    );
}

#[test]
fn values_that_do_not_go_together_are_marked_where_the_user_wrote_them() {
    let expected = r"
error: `train.batch_size` 7 is odd
   ╭─[my.yaml:1:21]
 1 │ train: {batch_size: 7}
   ·                     ┬
   ·                     ╰── this value
   ╰────
hint: use an even number
";
    check("my.yaml", "train: {batch_size: 7}", &[], expected);
}

#[test]
fn mistakes_of_the_plugin_are_called_its_own() {
    let mut plugin = plugin();
    plugin.host_defaults = json!({"train": {"batch_size": 0}});
    let found = resolve_config::<Config>(&plugin, None, &[])
        .unwrap_err()
        .to_string();
    let expected = "\
error: `train.batch_size` must be at least 1, found the integer 0
   ╭─[recommended by plugin pictures:3:19]
 2 │   \"train\": {
 3 │     \"batch_size\": 0
   ·                   ┬
   ·                   ╰── must be at least 1
 4 │   }
   ╰────
hint: this value comes from plugin `pictures`, not from your config: tell its author; until then set `train.batch_size` yourself";
    assert_eq!(found, expected);

    plugin.host_defaults = json!({"task": {}});
    let found = resolve_config::<Config>(&plugin, None, &[])
        .unwrap_err()
        .to_string();
    assert!(
        found.starts_with("error: plugin `pictures` recommends values for `task`"),
        "{found}"
    );

    plugin.config_schema = json!({"type": "onject"});
    let found = resolve_config::<Config>(&plugin, None, &[])
        .unwrap_err()
        .to_string();
    assert!(
        found.starts_with("error: plugin `pictures` ships a config schema that is not valid: "),
        "{found}"
    );
}

#[test]
fn colour_is_only_added_to_the_same_text() {
    let found = super::resolve("my.yaml", "train: {stepz: 1}", &[]).unwrap_err();
    let coloured = found.render(true);
    assert!(coloured.contains("\u{1b}["));
    let plain: String = coloured
        .split('\u{1b}')
        .enumerate()
        .map(|(index, part)| {
            if index == 0 {
                part
            } else {
                part.split_once('m').unwrap().1
            }
        })
        .collect();
    assert_eq!(plain, found.render(false));
    let place = found.errors()[0].place.as_ref().unwrap();
    assert_eq!((place.line_column(), place.marked()), ((1, 9), "stepz"));
}
