//! Reading YAML, TOML and JSON: equal values, places, mistakes of syntax.

use serde_json::{Value, json};

use super::{check, errors};
use crate::config::{Document, Format, Source};

fn parse(format: Format, text: &str) -> Document {
    Document::parse(format, Source::new("text", text)).unwrap()
}

#[track_caller]
fn check_value(format: Format, text: &str, expected: Value) {
    assert_eq!(parse(format, text).value, expected);
}

/// The texts of key and value of every node.
fn places(document: &Document) -> Vec<(String, String)> {
    let text = &document.source.text;
    let place = |(pointer, span): (&String, &crate::config::NodeSpan)| {
        let key = span.key.clone().map_or("", |key| &text[key]);
        (
            pointer.clone(),
            format!("{key} => {}", &text[span.value.clone()]),
        )
    };
    document.spans.iter().map(place).collect()
}

#[test]
fn the_three_formats_say_the_same() {
    let expected = json!({"a": {"b": [1, -2, 1e-4, true, "no", "x y"]}, "c": {"d": ""}});
    check_value(
        Format::Yaml,
        "a:\n  b: [1, -2, 1e-4, true, no, 'x y']\nc: {d: ''}\n",
        expected.clone(),
    );
    check_value(
        Format::Toml,
        "a.b = [1, -2, 1e-4, true, \"no\", 'x y']\n[c]\nd = \"\"\n",
        expected.clone(),
    );
    check_value(Format::Json, &expected.to_string(), expected);
}

#[test]
fn yaml_numbers_are_numbers_and_words_are_strings() {
    check_value(
        Format::Yaml,
        "a: 1e-4\nb: 1.\nc: 0x1F\nd: 1_000\ne: yes\nf: off\ng: ~\nh: null\ni: '1'\nj: 18446744073709551615\nk: True\n",
        json!({"a": 1e-4, "b": 1.0, "c": 31, "d": 1000, "e": "yes", "f": "off", "g": null, "h": null, "i": "1",
               "j": 18446744073709551615_u64, "k": true}),
    );
}

#[test]
fn an_empty_document_is_an_empty_mapping() {
    check_value(Format::Yaml, "", json!({}));
    check_value(Format::Yaml, "# nothing\n", json!({}));
    check_value(Format::Toml, "", json!({}));
    check_value(Format::Json, "{}", json!({}));
}

#[test]
fn every_node_has_its_place() {
    let expected = |quote: &str, braces: &str| {
        vec![
            (String::new(), braces.to_owned()),
            (
                "/a~1b".to_owned(),
                format!("{quote}a/b{quote} => [1, {quote}é{quote}]"),
            ),
            ("/a~1b/0".to_owned(), " => 1".to_owned()),
            ("/a~1b/1".to_owned(), format!(" => {quote}é{quote}")),
            ("/c".to_owned(), format!("{quote}c{quote} => -3.5")),
        ]
    };
    let text = "{\"a/b\": [1, \"é\"],\n \"c\": -3.5}";
    let json = parse(Format::Json, text);
    assert_eq!(places(&json), expected("\"", &format!(" => {text}")));
    let found = places(&parse(Format::Toml, "\"a/b\" = [1, \"é\"]\n\"c\" = -3.5"));
    assert_eq!(found[1..], expected("\"", "")[1..]);
    // YAML marks the opening of a list only; scalars are exact.
    let found = places(&parse(Format::Yaml, "\"a/b\": [1, \"é\"]\n\"c\": -3.5\n"));
    let exact = expected("\"", "");
    assert_eq!(found[2..], exact[2..]);
    assert!(found[1].1.starts_with("\"a/b\" => ["), "{found:?}");
}

#[test]
fn json_places_survive_escapes() {
    let text = r#" { "a\"b" : { "\u00e9\\" : [ [ ] , { } , "]}" ] } , "z":null } "#;
    let document = parse(Format::Json, text);
    assert_eq!(
        document.value,
        json!({"a\"b": {"é\\": [[], {}, "]}"]}, "z": null})
    );
    let found: Vec<_> = places(&document)
        .into_iter()
        .skip(1)
        .map(|(_, place)| place)
        .collect();
    let list = r#"[ [ ] , { } , "]}" ]"#;
    let expected = [
        format!(r#""a\"b" => {{ "\u00e9\\" : {list} }}"#),
        format!(r#""\u00e9\\" => {list}"#),
        " => [ ]".to_owned(),
        " => { }".to_owned(),
        r#" => "]}""#.to_owned(),
        r#""z" => null"#.to_owned(),
    ];
    assert_eq!(found, expected);
}

#[test]
fn yaml_syntax_errors_are_marked() {
    let expected = r"
error: cannot read the YAML: while parsing a block mapping, did not find expected key
   ╭─[my.yaml:3:2]
 2 │   steps: 1
 3 │  batch: 2
   ·  ▲
   ·  ╰── here
   ╰────
";
    check("my.yaml", "train:\n  steps: 1\n batch: 2", &[], expected);
    let expected = r"
error: cannot read the YAML: duplicate mapping key `a` is not allowed here
   ╭─[my.yaml:2:1]
 1 │ a: 1
 2 │ a: 2
   · ┬
   · ╰── here
   ╰────
";
    check("my.yaml", "a: 1\na: 2", &[], expected);
    let starts = |text: &str, start: &str| {
        let found = errors("my.yaml", text, &[]);
        assert!(found.starts_with(start), "{found}");
    };
    starts(
        "a: .nan",
        "error: cannot read the YAML: value `.nan` is not a finite number\n",
    );
    starts(
        "a: 1\n---\nb: 1",
        "error: cannot read the YAML: only single YAML document expected but multiple found\n",
    );
    starts(
        "a: *x",
        "error: cannot read the YAML: reference to unknown value\n",
    );
    starts(
        "[1]",
        "error: the config must be a mapping of keys to values, found a list of 1\n",
    );
    starts(
        "train",
        "error: the config must be a mapping of keys to values, found the string \"train\"\n",
    );
}

#[test]
fn all_toml_syntax_errors_are_marked() {
    let expected = r"
error: cannot read the TOML: string values must be quoted, expected literal string
   ╭─[my.toml:1:5]
 1 │ a = b
   ·     ┬
   ·     ╰── here
 2 │ c = 1
   ╰────

error: cannot read the TOML: duplicate key
   ╭─[my.toml:3:1]
 2 │ c = 1
 3 │ c = 2
   · ┬
   · ╰── here
   ╰────
";
    check("my.toml", "a = b\nc = 1\nc = 2\n", &[], expected);
    let expected = r"
error: cannot read the TOML: the number must be finite
   ╭─[my.toml:1:5]
 1 │ a = inf
   ·     ─┬─
   ·      ╰── here
 2 │ b = 2020-01-01
   ╰────

error: cannot read the TOML: dates are not used here; write it in quotes
   ╭─[my.toml:2:5]
 1 │ a = inf
 2 │ b = 2020-01-01
   ·     ─────┬────
   ·          ╰── here
   ╰────
";
    check("my.toml", "a = inf\nb = 2020-01-01\n", &[], expected);
}

#[test]
fn json_syntax_errors_are_those_of_json() {
    let expected = r#"
error: cannot read the JSON: trailing comma
   ╭─[my.json:2:9]
 1 │ {
 2 │  "a": 1,}
   ·         ▲
   ·         ╰── here
   ╰────
"#;
    check("my.json", "{\n \"a\": 1,}", &[], expected);
    let expected = r#"
error: cannot read the JSON: duplicate key `a`
   ╭─[my.json:1:18]
 1 │ {"a": 1, "b": 2, "a": 3}
   ·                  ─┬─
   ·                   ╰── second time
   ╰────
"#;
    check("my.json", r#"{"a": 1, "b": 2, "a": 3}"#, &[], expected);
    let starts = |text: &str, start: &str| {
        let found = errors("my.json", text, &[]);
        assert!(found.starts_with(start), "{found}");
    };
    // What YAML would take is still wrong in a JSON file.
    starts(
        "{a: 1}",
        "error: cannot read the JSON: key must be a string\n",
    );
    starts(
        "{\"a\": 1",
        "error: cannot read the JSON: the text ends while parsing an object\n",
    );
    starts(
        "",
        "error: cannot read the JSON: the text ends while parsing a value\n",
    );
    starts(
        "{\"a\": 1e999}",
        "error: cannot read the JSON: number out of range\n",
    );
}

#[test]
fn a_long_line_is_shown_around_the_mark() {
    let text = format!(
        "{{\"train\": {{\"betas\": [{}1], \"stepz\": 3}}}}",
        "1, ".repeat(300)
    );
    let found = errors("my.json", &text, &[]);
    assert!(found.contains("╭─[my.json:1:926]"), "{found}");
    assert!(found.contains("───┬───"), "{found}");
    assert!(
        found.lines().all(|line| line.chars().count() < 170),
        "{found}"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let found = errors("my.ini", "", &[]);
    let expected = "\
error: cannot tell the format of config file `my.ini`: unknown extension `.ini`
hint: use a file that ends in `.yaml`, `.toml` or `.json`
";
    assert_eq!(found, expected);
    let folder = tempfile::tempdir().unwrap();
    let fail = |name: &str| Document::read(&folder.path().join(name)).unwrap_err()[0].render(false);
    assert!(fail("absent.yaml").starts_with("error: cannot read config file `"));
    std::fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    assert!(fail("folder.yaml").contains("folder.yaml`: "));
    std::fs::write(folder.path().join("bytes.yaml"), b"a: \xff\n").unwrap();
    assert!(fail("bytes.yaml").contains("bytes.yaml` is not UTF-8 text: byte 3 breaks it"));
    std::fs::write(folder.path().join("mark.json"), "\u{feff}{\"a\": 1}").unwrap();
    assert_eq!(
        Document::read(&folder.path().join("mark.json"))
            .unwrap()
            .value,
        json!({"a": 1})
    );
}
