//! Sets with flaws: each is one error that names the place, or is left out and counted.

use dsl_sdk::{Dataset as _, Host, Task};

use super::set::*;
use crate::dataset::CaptionedImages;
use crate::dataset::locate::locate;
use crate::dataset::source::Source;
use crate::{DataConfig, OnError};

fn skip(config: DataConfig) -> DataConfig {
    DataConfig {
        on_error: OnError::Skip,
        ..config
    }
}

/// Opens the set with `on_error: skip` and returns how many samples are left, and how many pictures and captions were not usable.
#[track_caller]
fn counts(config: DataConfig) -> (u64, u64, u64) {
    let config = skip(config);
    let source = Source::open(&locate(&config).unwrap().train, &config, &Host::detached()).unwrap();
    let images = CaptionedImages::new(source, &config, &Host::detached()).unwrap();
    // Every sample that is left can be read.
    let indices: Vec<u64> = (0..images.len()).collect();
    rows(&images, &indices, &indices, true).unwrap();
    (
        images.len(),
        images.skipped().pictures,
        images.skipped().captions,
    )
}

#[test]
fn a_broken_picture_in_a_folder() {
    for (extension, format) in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let whole = picture([9, 99, 200], format);
        for (name, bytes) in [
            ("a", &whole[..]),
            ("b", &whole[..whole.len() * 2 / 3]),
            ("c", &whole[..]),
            ("d", b""),
        ] {
            write(folder.path(), &format!("{name}.{extension}"), bytes);
            write(folder.path(), &format!("{name}.txt"), name);
        }
        check_error(config(folder.path()), &[&format!("b.{extension}")]);
        assert_eq!(counts(config(folder.path())), (2, 2, 0), "{extension}");
        assert_eq!(
            captions(&open(skip(config(folder.path()))).unwrap(), "train"),
            ["a", "c"]
        );
    }
}

#[test]
fn a_broken_picture_in_a_shard() {
    for (extension, format) in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let whole = picture([9, 99, 200], format);
        let (first, second) = (format!("1.{extension}"), format!("2.{extension}"));
        let half = &whole[..whole.len() / 2];
        let bytes = tar(&[
            (&first, half),
            ("1.txt", b"one"),
            (&second, &whole),
            ("2.txt", b"two"),
        ]);
        write(folder.path(), "plain.tar", &bytes);
        write(folder.path(), "packed.tar.gz", gz(&bytes));
        for shard in ["plain.tar", "packed.tar.gz"] {
            check_error(config(folder.path().join(shard)), &[shard, &first]);
            assert_eq!(counts(config(folder.path().join(shard))), (1, 1, 0));
        }
    }
}

#[test]
fn all_pictures_broken_is_an_error_even_when_they_are_skipped() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", "no picture");
    write(folder.path(), "a.txt", "a");
    check_error(
        skip(config(folder.path())),
        &["all 1 pictures were skipped", "a.png"],
    );
}

#[test]
fn missing_captions() {
    let white = picture([255; 3], FORMATS[0].1);
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "side/a.png", &white);
    write(folder.path(), "side/a.txt", "a");
    write(folder.path(), "side/b.png", &white);
    write(folder.path(), "empty/a.png", &white);
    write(folder.path(), "empty/a.txt", " \n");
    write(folder.path(), "line/a.png", &white);
    write(
        folder.path(),
        "line/metadata.jsonl",
        "{\"file_name\": \"a.png\", \"text\": \"a\"}\n{\"file_name\": \"a.png\", \"label\": 3}\n",
    );
    write(folder.path(), "unlisted/a.png", &white);
    write(folder.path(), "unlisted/b.png", &white);
    write(
        folder.path(),
        "unlisted/metadata.jsonl",
        "{\"file_name\": \"a.png\", \"text\": \"a\"}",
    );
    write(
        folder.path(),
        "shard/0.tar",
        tar(&[
            ("1.png", &white),
            ("1.txt", b"a"),
            ("2.png", &white),
            ("2.json", b"{\"x\": 1}"),
            ("3.txt", b"c"),
        ]),
    );
    let at = |name: &str| config(folder.path().join(name));
    check_error(at("side"), &["b.png", "no .txt beside it"]);
    check_error(at("empty"), &["a.txt", "the text is empty"]);
    check_error(
        at("line"),
        &["metadata.jsonl, line 2", "`text` or `caption`", "`label`"],
    );
    check_error(at("unlisted"), &["b.png", "no line of metadata.jsonl"]);
    check_error(
        at("shard"),
        &[
            "0.tar: 2",
            "no text in the column `text` or `caption`; there are `x`",
        ],
    );
    check_error(
        DataConfig {
            caption_column: Some("title".into()),
            ..at("line")
        },
        &["line 1", "`title`", "`text`"],
    );
    for name in ["side", "line", "unlisted"] {
        assert_eq!(counts(at(name)), (1, 0, 1), "{name}");
    }
    assert_eq!(counts(at("shard")), (1, 1, 1));
}

#[test]
fn a_line_without_its_picture() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", picture([0; 3], FORMATS[0].1));
    let lines = "{\"file_name\": \"a.png\", \"text\": \"a\"}\n{\"file_name\": \"gone.png\", \"text\": \"b\"}\n";
    write(folder.path(), "metadata.jsonl", lines);
    check_error(
        config(folder.path()),
        &["metadata.jsonl, line 2", "gone.png"],
    );
    assert_eq!(counts(config(folder.path())), (1, 1, 0));
}

#[test]
fn a_record_cannot_reach_outside() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "secret.png", picture([0; 3], FORMATS[0].1));
    for name in [
        "../secret.png",
        "x/../../secret.png",
        &folder.path().join("secret.png").display().to_string(),
    ] {
        write(
            folder.path(),
            "set/metadata.jsonl",
            format!("{{\"file_name\": \"{name}\", \"text\": \"a\"}}"),
        );
        check_error(
            config(folder.path().join("set")),
            &["metadata.jsonl, line 1"],
        );
        // Not a flaw to be skipped, but an attempt.
        check_error(
            skip(config(folder.path().join("set"))),
            &["metadata.jsonl, line 1"],
        );
    }
}

#[test]
fn nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    check_error(
        config(folder.path()),
        &["no pictures in", "the folder is empty"],
    );
    check_error(
        config(folder.path().join("nowhere")),
        &["task.data.path", "nowhere"],
    );
    check_error(
        config("relative/nowhere"),
        &["relative/nowhere", "seen from"],
    );
    check_error(config(folder.path().join("a-{0..1}.tar")), &["a-0.tar"]);
    check_error(
        config(folder.path().join("a-{0..x}.tar")),
        &["pattern", "`x` is not a number"],
    );
    write(folder.path(), "notes/readme.md", "");
    check_error(
        config(folder.path().join("notes")),
        &["1 files of other kinds, such as `readme.md`"],
    );
    check_error(
        config(folder.path().join("notes/readme.md")),
        &["is the file", "readme.md"],
    );
    write(folder.path(), "bad/0.tar", "this is no archive".repeat(40));
    check_error(
        config(folder.path().join("bad")),
        &["0.tar", "no tar archive"],
    );
    write(folder.path(), "only/test/a.png", "");
    check_error(
        config(folder.path().join("only")),
        &["has a folder `test`, but none named `train`"],
    );
}

#[test]
fn values_out_of_range() {
    let base = DataConfig::default();
    check_config(
        DataConfig {
            flip: 1.5,
            ..base.clone()
        },
        "task.data.flip",
    );
    check_config(
        DataConfig {
            dropout: f64::NAN,
            ..base.clone()
        },
        "task.data.dropout",
    );
    check_config(
        DataConfig {
            resolution: 0,
            ..base.clone()
        },
        "task.data.resolution",
    );
    check_config(
        DataConfig {
            path: Some(String::new()),
            ..base.clone()
        },
        "task.data.path",
    );
    check_config(
        DataConfig {
            test_split: Some("train".into()),
            ..base.clone()
        },
        "task.data.test_split",
    );
    check_config(
        DataConfig {
            train_split: "../x".into(),
            ..base
        },
        "task.data.train_split",
    );
}

#[track_caller]
fn check_config(config: DataConfig, key: &str) {
    let error = open(config).expect_err("this value is out of range");
    assert!(error.message.contains(key), "{}", error.message);
}

#[test]
fn an_unknown_split_and_an_index_past_the_end() {
    let task = open(DataConfig::default()).unwrap();
    let Err(error) = task.dataset("dev") else {
        panic!("there is no such split")
    };
    assert!(
        error.message.contains("`dev`") && error.message.contains("train, test"),
        "{}",
        error.message
    );
    let train = task.dataset("train").unwrap();
    assert!(rows(&*train, &[1441], &[0], false).is_err());
}
