//! `task.data.only`: what is kept, in which order, and what is said when nothing is.

use dsl_sdk::Task;
use dsl_sdk::serde_json::{Value, from_value, json};

use super::set::*;
use crate::{DataConfig, OnError, T2iConfig};

const WHITE: [u8; 3] = [255; 3];

/// `config` with the filter as it would stand in a file.
#[track_caller]
fn only(config: DataConfig, only: Value) -> DataConfig {
    let parsed: T2iConfig = from_value(json!({"data": {"only": only}})).unwrap();
    DataConfig {
        only: parsed.data.only,
        ..config
    }
}

const RECORDS: [(&str, &str); 5] = [
    ("a", r#""kind": "cat", "size": 3, "tags": ["soft", "red"]"#),
    ("b", r#""kind": "dog", "size": 2.5, "tags": ["red"]"#),
    ("c", r#""kind": "cat", "size": 12, "tags": []"#),
    ("d", r#""kind": null, "tags": "soft""#),
    ("e", r#""kind": "cow", "old": true, "size": 3"#),
];

/// The five records as a folder and as shards.
fn both_forms(folder: &std::path::Path) -> [DataConfig; 2] {
    let white = picture(WHITE, FORMATS[0].1);
    let mut lines = String::new();
    let mut members: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, record) in RECORDS {
        write(folder, &format!("pictures/{name}.png"), &white);
        lines += &format!("{{\"file_name\": \"{name}.png\", \"text\": \"{name}\", {record}}}\n");
        members.push((format!("{name}.png"), white.clone()));
        members.push((format!("{name}.txt"), name.into()));
        members.push((format!("{name}.json"), format!("{{{record}}}").into()));
    }
    write(folder, "pictures/metadata.jsonl", lines);
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    write(folder, "shards/0.tar", tar(&members));
    ["pictures", "shards"].map(|form| config(folder.join(form)))
}

#[test]
fn columns_of_both_forms() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (json!({}), "abcde"),
        (json!({"kind": ["cat"]}), "ac"),
        (json!({"kind": ["cow", "dog"]}), "be"),
        (json!({"size": [3]}), "ae"),
        (json!({"size": ["2.5", 12]}), "bc"),
        (json!({"old": [true]}), "e"),
        (json!({"tags": ["soft"]}), "ad"),
        (json!({"tags": ["red"], "kind": ["cat", "cow"]}), "a"),
    ];
    for base in both_forms(folder.path()) {
        for (filter, expected) in &cases {
            for on_error in [OnError::Fail, OnError::Skip] {
                let config = DataConfig {
                    on_error,
                    ..only(base.clone(), filter.clone())
                };
                let task = open(config).unwrap();
                assert_eq!(captions(&task, "train").concat(), *expected, "{filter}");
                assert_eq!(task.describe().sample_prompts.concat(), *expected);
            }
        }
    }
}

#[track_caller]
fn check(config: DataConfig, filter: Value, message: &str, help: &str) {
    let error = open(only(config, filter)).expect_err("nothing is left");
    assert_eq!(error.message, format!("`task.data.only.{message}"));
    assert!(error.help.contains(help), "{}", error.help);
}

#[test]
fn what_keeps_nothing_says_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    for base in both_forms(folder.path()) {
        let has_text = base.path.as_ref().unwrap().ends_with("pictures");
        let text = if has_text { "`text`, " } else { "" };
        check(
            base.clone(),
            json!({"knid": ["cat"]}),
            &format!(
                "knid`: no sample has the column `knid`; there are {text}`kind`, `size`, `tags`, `old`"
            ),
            "did you mean `task.data.only.kind`?",
        );
        check(
            base.clone(),
            json!({"kind": ["Cats"]}),
            "kind`: no sample has the value `Cats`; there are `cat` (2), `dog` (1), `cow` (1)",
            "did you mean `cat`?",
        );
        // Each of the two columns keeps some; none is in both.
        check(
            base,
            json!({"kind": ["dog"], "size": [3, 12]}),
            "size`: no sample among those that `kind` keeps has the value `3` or `12`; there are `2.5` (1)",
            "leave the column out",
        );
    }
    // No more than twelve of many. The captions of the set are its names, typographic quotes aside.
    let names = captions(&open(DataConfig::default()).unwrap(), "train");
    let first: String = names[..12]
        .iter()
        .map(|name| format!("`{name}` (1), "))
        .collect();
    let first = first.trim_end_matches(", ");
    check(
        DataConfig::default(),
        json!({"name": ["red aple"]}),
        &format!("name`: no sample has the value `red aple`; there are {first} and 1429 more"),
        "did you mean `red apple`?",
    );
    check(
        DataConfig::default(),
        json!({"group": []}),
        "group` is an empty list, expected one value or more; without the column, its values do not matter",
        "",
    );
    assert!(from_value::<T2iConfig>(json!({"data": {"only": {"group": [null]}}})).is_err());
}

#[test]
fn pictures_without_records_have_no_columns() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", picture(WHITE, FORMATS[0].1));
    write(folder.path(), "a.txt", "a");
    check(
        config(folder.path()),
        json!({"kind": ["cat"]}),
        "kind`: no sample has the column `kind`; there are none",
        "the keys in metadata.jsonl",
    );
}

#[test]
fn flaws_of_samples_that_are_not_kept_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let white = picture(WHITE, FORMATS[0].1);
    write(folder.path(), "pictures/a.png", &white);
    write(folder.path(), "pictures/unlisted.png", "no picture");
    let lines = r#"{"file_name": "a.png", "text": "a", "kind": "cat"}
{"file_name": "gone.png", "kind": "dog"}"#;
    write(folder.path(), "pictures/metadata.jsonl", lines);
    let members: [(&str, &[u8]); 5] = [
        ("a.png", &white),
        ("a.json", br#"{"text": "a", "kind": "cat"}"#),
        ("b.png", b"no picture"),
        ("b.json", br#"{"kind": "dog"}"#),
        ("c.png", b"no picture"),
    ];
    write(folder.path(), "shards/0.tar", tar(&members));
    let broken: [(&str, &[u8]); 2] = [("d.png", &white), ("d.json", b"{")];
    write(
        folder.path(),
        "broken/0.tar",
        tar(&[&members[..], &broken].concat()),
    );
    for form in ["pictures", "shards"] {
        let config = config(folder.path().join(form));
        assert!(
            open(config.clone()).is_err(),
            "{form}: the whole set has flaws"
        );
        let task = open(only(config, json!({"kind": ["cat"]}))).unwrap();
        assert_eq!(captions(&task, "train"), ["a"], "{form}");
    }
    // A record that cannot be read could say either.
    let broken = only(
        config(folder.path().join("broken")),
        json!({"kind": ["cat"]}),
    );
    check_message(broken.clone(), "d.json` is not JSON");
    let task = open(DataConfig {
        on_error: OnError::Skip,
        ..broken
    })
    .unwrap();
    assert_eq!(captions(&task, "train"), ["a"]);
}

#[track_caller]
fn check_message(config: DataConfig, part: &str) {
    let error = open(config).expect_err("this set has a flaw");
    assert!(error.message.contains(part), "{}", error.message);
}

#[test]
fn groups_of_the_emoji_set() {
    let whole = open(DataConfig::default()).unwrap();
    let groups = json!({"group": ["Smileys & Emotion", "Food & Drink", "Animals & Nature"]});
    let part = open(only(DataConfig::default(), groups)).unwrap();
    for (split, count) in [("train", 411), ("test", 39)] {
        let (whole, kept) = (captions(&whole, split), captions(&part, split));
        assert_eq!(kept.len(), count);
        // In the order of the whole set.
        let mut rest = whole.iter();
        assert!(kept.iter().all(|text| rest.any(|other| other == text)));
    }
    assert_eq!(
        part.describe().sample_prompts,
        [
            "red apple",
            "grinning face",
            "red heart",
            "sunflower",
            "evergreen tree",
            "watermelon",
            "tiger face",
            "ghost"
        ]
    );
}

#[test]
fn prompts_are_in_what_is_left() {
    for (filter, count) in [
        (json!({"group": ["Flags"]}), 8),
        (json!({"group": ["Objects"]}), 8),
        (json!({"name": ["red apple", "pizza", "melon"]}), 3),
    ] {
        let task = open(only(DataConfig::default(), filter.clone())).unwrap();
        let (texts, mut prompts) = (captions(&task, "train"), task.describe().sample_prompts);
        assert!(prompts.iter().all(|prompt| texts.contains(prompt)));
        prompts.sort();
        prompts.dedup();
        assert_eq!(prompts.len(), count, "{filter}");
    }
}

#[test]
fn a_test_split_of_which_nothing_is_left_is_none() {
    let one = only(DataConfig::default(), json!({"name": ["red apple"]}));
    let task = open(one).unwrap();
    assert_eq!(task.splits(), ["train"]);
    assert_eq!(task.dataset("train").unwrap().len(), 1);
}

#[test]
fn values_that_nothing_has_are_noted() {
    let config = only(
        DataConfig::default(),
        json!({"group": ["Flags", "Food & Drinks"]}),
    );
    let located = crate::dataset::locate::locate(&config).unwrap();
    let host = dsl_sdk::Host::detached();
    let source = crate::dataset::source::Source::open(&located.train, &config, &host).unwrap();
    let kept = source.kept.unwrap();
    assert_eq!((kept.samples, kept.of), (8, 1441));
    assert_eq!(
        kept.unmatched,
        [
            "`task.data.only.group`: no sample has the value `Food & Drinks`; did you mean `Food & Drink`?"
        ]
    );
}
