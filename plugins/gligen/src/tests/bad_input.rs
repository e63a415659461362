//! Sets with flaws: each is one error that names file, line and field, or is left out and counted.

use dsl_sdk::Task;
use dsl_sdk::image::Window;
use dsl_sdk::serde_json::{Value, json};

use super::set::*;
use crate::config::OnError;
use crate::{DataConfig, Format};

fn objects(boxes: Value, names: Value) -> Value {
    json!({"text": "x", "objects": {"bbox": boxes, "categories": names}})
}

fn shares(edges: Value) -> Value {
    json!({"text": "x", "boxes": [{"xyxy": [0, 0, 1, 1], "phrase": "all"}, {"xyxy": edges, "phrase": "a"}]})
}

#[test]
fn boxes_that_cannot_be() {
    let line = "metadata.jsonl, line 1";
    let cases: Vec<(Value, &[&str])> = vec![
        (
            objects(json!([[8, 4, 16, 8], [8, 4, -3, 8]]), json!(["a", "b"])),
            &["`objects.bbox[1]` is reversed: left 8, top 4, right 5, bottom 12"],
        ),
        (
            objects(json!([[8, 4, 0, 8]]), json!(["a"])),
            &["`objects.bbox[0]` is empty"],
        ),
        (
            objects(json!([[8, 4, 26, 8]]), json!(["a"])),
            &["`objects.bbox[0]` reaches outside of the picture, which is 32 × 32 pixels"],
        ),
        (
            objects(json!([[8, 4, 16, 8], [1, 1, 9, 9]]), json!(["a"])),
            &["`objects.categories` holds 1 phrases for 2 boxes"],
        ),
        (
            objects(json!([]), json!(["a"])),
            &["`objects.categories` holds 1 phrases for 0 boxes"],
        ),
        (
            objects(json!([[8, 4, 16, 8]]), json!([3])),
            &["`objects.categories[0]` is 3, expected a phrase"],
        ),
        (
            objects(json!([[8, 4, 16]]), json!(["a"])),
            &["`objects.bbox[0]`", "four finite numbers"],
        ),
        (
            objects(json!([[8, 4, 16, "NaN"]]), json!(["a"])),
            &["`objects.bbox[0]`", "four finite numbers"],
        ),
        (
            objects(json!([[8, 4, 1e300, 8]]), json!(["a"])),
            &["`objects.bbox[0]`", "four finite numbers"],
        ),
        (
            shares(json!([0.5, 0.1, 0.4, 0.2])),
            &["`boxes[1].xyxy` is reversed"],
        ),
        (
            shares(json!([0.5, 0.1, 0.5, 0.2])),
            &["`boxes[1].xyxy` is empty"],
        ),
        (
            shares(json!([0.5, 0.1, 1.2, 0.2])),
            &["`boxes[1].xyxy` reaches outside of 0..1"],
        ),
        (
            shares(json!([12, 10, 20, 20])),
            &["`boxes[1].xyxy` reaches outside of 0..1"],
        ),
        (
            shares(json!([null, 0, 1, 1])),
            &["`boxes[1].xyxy`", "four finite numbers"],
        ),
        (
            json!({"boxes": [{"xyxy": [0, 0, 1, 1]}]}),
            &["`boxes[0].phrase` is missing"],
        ),
        (
            json!({"boxes": [{"xyxy": [0, 0, 1, 1], "phrase": " "}]}),
            &["`boxes[0].phrase`", "expected a phrase"],
        ),
        (
            json!({"boxes": [{"phrase": "a"}]}),
            &["`boxes[0].xyxy` is missing"],
        ),
        (
            json!({"boxes": [{"xywh": [0, 0, 1, 1], "phrase": "a"}]}),
            &["`boxes[0]` has the key `xywh`"],
        ),
        (
            json!({"boxes": {"a": 1}}),
            &["`boxes` is", "expected a list"],
        ),
        (
            json!({"text": "x", "bboxes": []}),
            &["neither `boxes` nor `objects`", "`bboxes`"],
        ),
    ];
    for (record, parts) in cases {
        let folder = folder_with(record);
        let mut parts = parts.to_vec();
        parts.push(line);
        check_error(config(folder.path()), &parts);
    }
}

#[test]
fn not_a_number_as_python_writes_it_is_named_with_its_line() {
    let folder = folder_with(json!({"boxes": []}));
    write(
        folder.path(),
        "metadata.jsonl",
        "{\"file_name\": \"a.png\", \"boxes\": [{\"xyxy\": [NaN, 0, 1, 1], \"phrase\": \"a\"}]}",
    );
    let error = open(config(folder.path())).unwrap_err();
    assert!(
        error.message.contains("metadata.jsonl, line 1, column 4"),
        "{}",
        error.message
    );
}

#[test]
fn what_is_rounded_is_cut() {
    let folder = folder_with(objects(json!([[-0.5, 4, 33, 8]]), json!(["a"])));
    let batch = all(&open(config(folder.path())).unwrap(), "train").unwrap();
    assert_eq!(boxes(&batch)[0].0, [0.0, 0.125, 1.0, 0.375]);
}

#[test]
fn flaws_can_be_skipped() {
    let folder = folder_with(json!({"boxes": []}));
    let thing = Window {
        left: 0,
        top: 0,
        width: 4,
        height: 4,
    };
    write(folder.path(), "b.png", picture(32, 32, thing));
    write(folder.path(), "broken.png", "no picture");
    let line = |name: &str, edges: Value| {
        let boxes = json!({"bbox": [edges], "categories": ["a"]});
        json!({"file_name": name, "text": "x", "objects": boxes}).to_string()
    };
    let lines = [
        line("a.png", json!([0, 0, 9, 9])),
        line("b.png", json!([0, 0, 99, 9])),
        line("broken.png", json!([0, 0, 9, 9])),
        line("gone.png", json!([0, 0, 9, 9])),
        line("a.png", json!([0, 0, -9, 9])),
    ];
    write(folder.path(), "metadata.jsonl", lines.join("\n"));
    check_error(config(folder.path()), &["line 4", "gone.png"]);
    let skipping = DataConfig {
        on_error: OnError::Skip,
        ..config(folder.path())
    };
    let task = open(skipping.clone()).unwrap();
    assert_eq!(task.dataset("train").unwrap().len(), 1);
    write(folder.path(), "metadata.jsonl", lines[2..].join("\n"));
    check_error(skipping, &["all 3 samples were skipped", "gone.png"]);
}

#[test]
fn nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    check_error(
        config(folder.path().join("nowhere")),
        &["task.data.path", "nowhere"],
    );
    check_error(config(folder.path()), &["no pictures in"]);
    let coco = DataConfig {
        format: Format::Coco,
        ..config(folder.path())
    };
    check_error(coco.clone(), &["no COCO file of the split `train`"]);
    write(
        folder.path(),
        "annotations/instances_train.json",
        "{\"images\": 3}",
    );
    check_error(
        coco.clone(),
        &["instances_train.json", "not as COCO writes it"],
    );
    let escaping = json!({"images": [{"id": 1, "file_name": "../a.png"}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [8, 4, 16, 8]}],
        "categories": [{"id": 1, "name": "box"}]});
    write(
        folder.path(),
        "annotations/instances_train.json",
        escaping.to_string(),
    );
    let error = open(coco).unwrap_err();
    assert!(
        error.message.contains("leaves the folder"),
        "{}",
        error.message
    );
    // A picture with a text beside it has no boxes.
    let side = tempfile::tempdir().unwrap();
    write(side.path(), "a.png", "");
    write(side.path(), "a.txt", "a");
    check_error(
        config(side.path()),
        &["there is no metadata.jsonl", "a.png"],
    );
}

#[test]
fn values_of_the_configuration() {
    let wrong = [
        DataConfig {
            max_boxes: 0,
            ..DataConfig::default()
        },
        DataConfig {
            flip: f64::NAN,
            ..DataConfig::default()
        },
        DataConfig {
            min_box_area: 2.0,
            ..DataConfig::default()
        },
        DataConfig {
            train_split: "a/b".into(),
            ..DataConfig::default()
        },
    ];
    for (config, key) in wrong
        .into_iter()
        .zip(["max_boxes", "flip", "min_box_area", "train_split"])
    {
        let error = open(config).unwrap_err();
        assert!(
            error.message.contains(&format!("task.data.{key}")),
            "{}",
            error.message
        );
    }
}
