//! The forms in which a set may come.

use dsl_sdk::{Injection, Task};

use super::set::*;
use crate::{DataConfig, Format};

const COLORS: [[u8; 3]; 3] = [[250, 5, 5], [5, 250, 5], [5, 5, 250]];
const NAMES: [&str; 3] = ["red", "green", "blue"];

/// Every sample must be a flat picture of the colour that its caption names.
#[track_caller]
fn check_colors(task: &crate::T2i, split: &str) {
    let rows = all(task, split);
    assert_eq!(rows.len(), 3);
    for (values, caption) in rows {
        let color = COLORS[NAMES.iter().position(|name| *name == caption).unwrap()];
        for (channel, plane) in values.chunks(64).enumerate() {
            let expected = f32::from(color[channel]) / 127.5 - 1.0;
            // 4 of 255 steps: a JPEG does not keep a colour exactly.
            assert!(
                plane.iter().all(|value| (value - expected).abs() < 0.032),
                "{caption}, channel {channel}"
            );
        }
    }
}

#[test]
fn imagefolder_with_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for (((extension, format), color), name) in FORMATS.into_iter().zip(COLORS).zip(NAMES) {
        write(
            folder.path(),
            &format!("deep/{name}.{extension}"),
            picture(color, format),
        );
        lines +=
            &format!("{{\"file_name\": \"deep/{name}.{extension}\", \"text\": \" {name}\\n\"}}\n");
    }
    write(folder.path(), "metadata.jsonl", lines);
    let task = open(config(folder.path())).unwrap();
    assert_eq!(task.splits(), ["train"]);
    assert_eq!(task.describe().sample_prompts, NAMES);
    check_colors(&task, "train");
}

#[test]
fn imagefolder_with_text_files_and_splits() {
    let folder = tempfile::tempdir().unwrap();
    for (((extension, format), color), name) in FORMATS.into_iter().zip(COLORS).zip(NAMES) {
        for split in ["train", "validation"] {
            write(
                folder.path(),
                &format!("{split}/{name}.{extension}"),
                picture(color, format),
            );
            write(folder.path(), &format!("{split}/{name}.txt"), name);
        }
    }
    let task = open(config(folder.path())).unwrap();
    assert_eq!(task.splits(), ["train", "test"]);
    check_colors(&task, "train");
    check_colors(&task, "test");
}

/// A shard with the three colours in the three formats; captions as .txt, .caption and in .json.
fn shard() -> Vec<u8> {
    let pictures: Vec<_> = FORMATS
        .iter()
        .zip(COLORS)
        .map(|((_, format), color)| picture(color, *format))
        .collect();
    let record = br#"{"caption": "blue", "keywords": ["sea", "sky"]}"#;
    tar(&[
        ("a/0.png", &pictures[0]),
        ("a/0.txt", b"red"),
        ("a/1.JPG", &pictures[1]),
        ("a/1.caption", b"green"),
        ("a/2.webp", &pictures[2]),
        ("a/2.json", record),
    ])
}

#[test]
fn webdataset_in_all_its_forms() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "set-train-000.tar", shard());
    write(folder.path(), "set-test-000.tar.gz", gz(&shard()));
    write(folder.path(), "one/shard.tgz", gz(&shard()));
    write(folder.path(), "split/train/0.tar", shard());
    write(folder.path(), "split/test/0.tar", shard());

    let whole = open(config(folder.path())).unwrap();
    assert_eq!(whole.splits(), ["train", "test"]);
    check_colors(&whole, "train");
    check_colors(&whole, "test");
    assert_eq!(
        open(config(folder.path().join("split"))).unwrap().splits(),
        ["train", "test"]
    );
    for path in ["one", "one/shard.tgz", "set-train-{000..000}.tar"] {
        check_colors(&open(config(folder.path().join(path))).unwrap(), "train");
    }
    let listed = "set-{train-000.tar,test-000.tar.gz}";
    let task = open(config(folder.path().join(listed))).unwrap();
    assert_eq!(task.splits(), ["train", "test"]);
    check_colors(&task, "test");
}

#[test]
fn pictures_and_archives_together_are_pictures_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "0.tar", shard());
    write(folder.path(), "x.png", picture([0; 3], FORMATS[0].1));
    write(folder.path(), "x.txt", "black");
    let located = crate::dataset::locate::locate(&config(folder.path())).unwrap();
    assert!(
        located.notes[0].contains("the pictures were taken"),
        "{:?}",
        located.notes
    );
    assert_eq!(
        captions(&open(config(folder.path())).unwrap(), "train"),
        ["black"]
    );
    let shards = DataConfig {
        format: Format::WebDataset,
        ..config(folder.path())
    };
    check_colors(&open(shards).unwrap(), "train");
}

#[test]
fn two_readings_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let white = picture([255; 3], FORMATS[0].1);
    write(
        folder.path(),
        "metadata.jsonl",
        r#"{"file_name": "a.png", "text": "one", "caption": "two"}"#,
    );
    write(folder.path(), "a.png", &white);
    write(folder.path(), "a.txt", "three");
    write(
        folder.path(),
        "shards/0.tar",
        tar(&[
            ("0.png", &white),
            ("0.left.png", &white),
            ("0.txt", b"a"),
            ("0.json", b"{\"text\": \"b\"}"),
        ]),
    );
    let source = |path: std::path::PathBuf| {
        let config = config(path);
        let located = crate::dataset::locate::locate(&config).unwrap();
        crate::dataset::source::Source::open(&located.train, &config, &dsl_sdk::Host::detached())
            .unwrap()
    };
    // metadata.jsonl was read although .txt files are there, and `text` although `caption` is.
    let notes = source(folder.path().to_owned()).notes.join("\n");
    assert!(
        notes.contains("metadata.jsonl were taken") && notes.contains("`text` was taken"),
        "{notes}"
    );
    let notes = source(folder.path().join("shards")).notes.join("\n");
    assert!(
        notes.contains(".png was taken") && notes.contains(".txt was taken"),
        "{notes}"
    );
}

#[test]
fn columns_keywords_and_lists() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.png", picture([1; 3], FORMATS[0].1));
    let line =
        r#"{"file_name": "a.png", "text": "t", "label": ["first", "second"], "tags": "x, y"}"#;
    write(folder.path(), "metadata.jsonl", line);
    let base = DataConfig {
        caption_column: Some("label".into()),
        keywords_column: "tags".into(),
        ..config(folder.path())
    };
    use dsl_sdk::captions::CaptionChoice::*;
    for (caption, expected) in [
        (Caption, "first"),
        (Keywords, "x, y"),
        (CaptionAndKeywords, "first, x, y"),
    ] {
        assert_eq!(
            captions(
                &open(DataConfig {
                    caption,
                    ..base.clone()
                })
                .unwrap(),
                "train"
            ),
            [expected]
        );
    }
}

#[test]
fn the_emoji_set_inside() {
    let config = DataConfig::default();
    let task = open(config).unwrap();
    assert_eq!(task.splits(), ["train", "test"]);
    let (train, test) = (
        task.dataset("train").unwrap(),
        task.dataset("test").unwrap(),
    );
    assert_eq!((train.len(), test.len()), (1441, 165));
    assert_eq!(train.columns()[0].shape, [Some(3), Some(32), Some(32)]);
    let captions = captions(&task, "train");
    for prompt in &task.describe().sample_prompts {
        assert!(captions.contains(prompt), "{prompt}");
    }
    assert_eq!(
        task.describe().injections,
        [Injection::CrossAttention {
            column: "caption".into(),
            dropout: 0.1
        }]
    );
    let (apple, _) = &rows(
        &*train,
        &[captions
            .iter()
            .position(|text| text == "red apple")
            .unwrap() as u64],
        &[0],
        false,
    )
    .unwrap()[0];
    // The middle of the apple is red, the corner is white.
    let at = |channel: usize, y: usize, x: usize| apple[channel * 1024 + y * 32 + x];
    assert!(at(0, 18, 16) > 0.3 && at(1, 18, 16) < 0.0 && at(2, 18, 16) < 0.0);
    assert!((0..3).all(|channel| at(channel, 0, 0) > 0.98));
}
