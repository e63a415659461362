//! Conditions of a user's own, pictures of samples, and what is measured.

use dsl_sdk::image::Picture;
use dsl_sdk::serde_json::{Value, json};
use dsl_sdk::{Artefacts, Batch, Column, Task};

use super::set::*;
use crate::{DataConfig, Gligen};

fn task() -> Gligen {
    open(DataConfig {
        resolution: 32,
        ..DataConfig::default()
    })
    .unwrap()
}

#[test]
fn conditions_as_text_and_as_json_are_the_same() {
    let task = task();
    let list = json!([{"xyxy": [0.1, 0.2, 0.5, 0.6], "phrase": "tree"}, {"xyxy": [0, 0, 1, 1], "phrase": "meadow, wide"}]);
    let text = "0.1,0.2,0.5,0.6,tree; 0, 0, 1, 1, meadow,  wide;";
    let expected = task
        .conditions(&json!({"caption": "a  tree", "boxes": list}))
        .unwrap();
    for boxes in [json!(text), json!(list.to_string())] {
        let found = task
            .conditions(&json!({"caption": "a tree", "boxes": boxes}))
            .unwrap();
        assert_eq!(found, expected);
    }
    assert_eq!(expected.texts("caption").unwrap(), ["a tree"]);
    assert_eq!(expected.f32("boxes").unwrap().0, [1, 10, 4]);
    assert_eq!(
        boxes(&expected),
        [
            ([0.1, 0.2, 0.5, 0.6], "tree".to_owned()),
            ([0.0, 0.0, 1.0, 1.0], "meadow, wide".to_owned())
        ]
    );
    assert_eq!(expected.texts("phrases").unwrap().len(), 10);
    let alone = task.conditions(&json!({"boxes": text})).unwrap();
    assert_eq!(alone.texts("caption").unwrap(), ["tree, meadow, wide"]);
    let nothing = task.conditions(&json!({"caption": "x"})).unwrap();
    assert_eq!(boxes(&nothing), []);
}

#[test]
fn conditions_that_cannot_be() {
    let many = ["0,0,1,1,a"; 11].join(";");
    let cases: [(Value, &str); 10] = [
        (
            json!({"prompt": "x"}),
            "there is no input `prompt`; there are: `caption`, `boxes`",
        ),
        (json!({"caption": 3}), "`caption` is 3"),
        (json!({"boxes": "0,0,1,1"}), "no phrase"),
        (
            json!({"boxes": "0,0,NaN,1,a"}),
            "`boxes[0]` is `0,0,NaN,1,a`",
        ),
        (
            json!({"boxes": "0,0,1,1,a; 0.5,0,0.4,1,b"}),
            "`boxes[1]` is reversed",
        ),
        (
            json!({"boxes": [{"xyxy": [0, 0, 2, 1], "phrase": "a"}]}),
            "`boxes[0].xyxy` reaches outside",
        ),
        (
            // Cut at the edge, nothing is left.
            json!({"boxes": "1,0,1.004,1,a"}),
            "`boxes[0]` is empty",
        ),
        (json!({"boxes": "[{"}), "`boxes` is not JSON"),
        (
            json!({"boxes": many}),
            "11 boxes, but `task.data.max_boxes` is 10",
        ),
        (json!([]), "expected an object"),
    ];
    let task = task();
    for (inputs, part) in cases {
        let error = task.conditions(&inputs).unwrap_err();
        assert!(
            error.message.contains(part),
            "`{part}` is not in: {}",
            error.message
        );
        assert!(
            error.help.contains("0.1,0.1,0.5,0.5,tree"),
            "{}",
            error.help
        );
    }
}

/// The first samples of the test split, with `generated` made of the truth by `change`.
fn drawn(task: &Gligen, count: u64, change: impl Fn(usize, f32) -> f32) -> Batch {
    let dataset = task.dataset("test").unwrap();
    let indices: Vec<u64> = (0..count).map(|index| index * 7).collect();
    let mut batch = batch(&*dataset, &indices, &indices, false).unwrap();
    let mut data = batch.column("image").unwrap().clone();
    if let dsl_sdk::ColumnData::F32 { values, .. } = &mut data {
        for (index, value) in values.iter_mut().enumerate() {
            *value = change(index, *value);
        }
    }
    batch.columns.push(Column {
        name: "generated".into(),
        data,
    });
    batch
}

/// Where `DSL_KEEP_PICTURES` names a folder, pictures are left there to look at.
fn keep(name: &str, picture: &Picture) {
    if let Some(folder) = std::env::var_os("DSL_KEEP_PICTURES") {
        std::fs::write(
            std::path::Path::new(&folder).join(name),
            picture.to_png().unwrap(),
        )
        .unwrap();
    }
}

#[test]
fn pictures_have_boxes_labels_and_the_truth_beside_them() {
    let task = task();
    let samples = drawn(&task, 4, |_, value| 0.5 * value);
    let picture = task.picture(&samples).unwrap().unwrap();
    keep("gligen-samples.png", &picture);
    // A tile is two pictures of 6 × 32 pixels with a gap of 2; four tiles, two gaps of 6 beside each.
    let tile = 2 * (192 + 2) + 2;
    assert_eq!(picture.width() % (tile + 6), 6);
    let yellow = picture
        .rgb()
        .chunks(3)
        .filter(|pixel| *pixel == [255, 214, 0])
        .count();
    assert!(yellow > 1000, "{yellow}");

    let conditions = "0.05,0.1,0.5,0.6,dead tree; 0.45,0.4,0.95,0.9,live tree; 0.6,0,1,0.3,a lake with swans on it";
    let mut own = task.conditions(&json!({"boxes": conditions})).unwrap();
    let grey = dsl_sdk::ColumnData::F32 {
        shape: vec![1, 3, 32, 32],
        values: vec![0.0; 3 * 32 * 32],
    };
    own.columns.push(Column {
        name: "generated".into(),
        data: grey,
    });
    let picture = task.picture(&own).unwrap().unwrap();
    keep("gligen-own.png", &picture);
    assert_eq!(
        (picture.width(), picture.height()),
        (192 + 4 + 12, 192 + 4 + 12)
    );
    let broken = Batch {
        columns: own
            .columns
            .into_iter()
            .filter(|column| column.name != "phrases")
            .collect(),
    };
    assert!(
        task.picture(&broken)
            .unwrap_err()
            .message
            .contains("phrases")
    );
}

#[test]
fn scores_of_the_truth_itself_and_of_its_negative() {
    let task = task();
    let value = |batch: &Batch, name: &str| -> Option<f64> {
        let mut evaluator = task.evaluator().unwrap().unwrap();
        evaluator.update(batch, 0).unwrap();
        let mut artefacts = Artefacts::default();
        let metrics = evaluator.finish(&mut artefacts).unwrap();
        assert!(artefacts.get("layouts.png").is_some());
        assert!(
            evaluator
                .finish(&mut Artefacts::default())
                .unwrap()
                .is_empty()
        );
        metrics
            .iter()
            .find(|metric| metric.name == name)
            .map(|metric| metric.value)
    };
    let near = |found: Option<f64>, expected: f64| {
        let found = found.expect("there is a value");
        assert!((found - expected).abs() < 1e-3, "{found} for {expected}");
    };
    let same = drawn(&task, 12, |_, value| value);
    near(value(&same, "ssim"), 1.0);
    near(value(&same, "box_contrast"), 1.0);
    near(value(&same, "box_contrast_error"), 0.0);
    assert_eq!(
        value(&same, "psnr"),
        None,
        "equal pictures have no finite one"
    );
    let negative = drawn(&task, 12, |_, value| -value);
    near(value(&negative, "box_contrast"), -1.0);
    // Two steps of 255 in every byte: 10 log10(255² / 4) = 42.1 dB.
    let shifted = drawn(&task, 12, |_, value| {
        let step = 2.0 / 127.5;
        if value > 0.0 {
            value - step
        } else {
            value + step
        }
    });
    near(
        value(&shifted, "psnr"),
        10.0 * (255.0_f64 * 255.0 / 4.0).log10(),
    );
    let mut evaluator = task.evaluator().unwrap().unwrap();
    assert!(evaluator.update(&Batch::default(), 0).is_err());
}
