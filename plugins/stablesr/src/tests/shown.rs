//! A user's own pictures, and samples as people look at them.

use dsl_sdk::serde_json::{Value, json};
use dsl_sdk::{Batch, Column, ColumnData, ErrorCode, Task};

use super::set::*;
use crate::{ColorFix, StableSrConfig};

fn model(prompt: Option<&str>) -> crate::StableSr {
    open(&StableSrConfig {
        prompt: prompt.map(str::to_owned),
        ..StableSrConfig::default()
    })
    .unwrap()
}

#[test]
fn a_small_picture_becomes_the_columns_of_the_train_split() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "low.png", png(12, 12));
    write(folder.path(), "large.png", png(40, 30));
    let inputs = |name: &str| json!({"image": folder.path().join(name)});
    let task = model(Some("a photo"));
    let columns = task.dataset("train").unwrap().columns();
    for name in ["low.png", "large.png"] {
        let found = task.conditions(&inputs(name)).unwrap();
        for column in &found.columns {
            let spec = columns
                .iter()
                .find(|spec| spec.name == column.name)
                .unwrap();
            assert_eq!(spec.dtype, column.data.dtype());
            let shape: Vec<u64> = spec.shape.iter().map(|length| length.unwrap()).collect();
            assert_eq!(column.data.shape()[1..], shape);
            assert_eq!(column.data.shape()[0], 1);
        }
        assert_eq!(found.texts("prompt").unwrap(), ["a photo"]);
        assert!(found.column("image").is_none() && found.column("low_resolution").is_some());
    }
    // Without a change of size: the bytes as they are. With one: the middle.
    let small = |name: &str, at: usize| {
        model(None)
            .conditions(&inputs(name))
            .unwrap()
            .f32("low_resolution_small")
            .unwrap()
            .1[at]
    };
    assert!((small("low.png", 11) - (2.0 * (11 * 255 / 12) as f32 / 255.0 - 1.0)).abs() < 1e-6);
    assert!((small("large.png", 0) - (2.0 * (14 * 255 / 40) as f32 / 255.0 - 1.0)).abs() < 1e-6);
}

#[test]
fn inputs_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "large.png", png(49, 12));
    write(folder.path(), "tiny.png", png(12, 11));
    write(folder.path(), "text.png", "hello");
    let file = |name: &str| json!({"image": folder.path().join(name)});
    let check = |inputs: Value, code: ErrorCode, parts: &[&str]| {
        let error = model(None).conditions(&inputs).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        for part in parts {
            assert!(
                error.message.contains(part),
                "`{part}` is not in: {}",
                error.message
            );
        }
        assert!(!error.help.is_empty());
    };
    use ErrorCode::{Config, Io};
    check(
        file("large.png"),
        Config,
        &[
            "`image`",
            "large.png",
            "49 × 12",
            "larger than the picture to be made, which is 48 × 48",
        ],
    );
    check(
        file("tiny.png"),
        Config,
        &["tiny.png", "12 × 11", "12 × 12"],
    );
    check(
        file("text.png"),
        Io,
        &["`image`", "text.png", "neither PNG"],
    );
    check(file("missing.png"), Io, &["`image`", "missing.png"]);
    check(
        json!({"img": "a.png"}),
        Config,
        &["unknown input `img`", "`image`"],
    );
    check(json!({}), Config, &["`image` is missing"]);
    check(json!({"image": 3}), Config, &["is 3"]);
    check(json!("a.png"), Config, &["expected an object"]);
}

/// A column of pictures of one colour each.
fn colors(name: &str, side: usize, values: &[f32]) -> Column {
    Column {
        name: name.into(),
        data: ColumnData::F32 {
            shape: vec![values.len() as u64, 3, side as u64, side as u64],
            values: values
                .iter()
                .flat_map(|&value| vec![value; 3 * side * side])
                .collect(),
        },
    }
}

#[test]
fn samples_lie_side_by_side() {
    let task = open(&StableSrConfig {
        color_fix: ColorFix::None,
        ..StableSrConfig::default()
    })
    .unwrap();
    let mut columns = vec![
        colors("low_resolution", 48, &[0.0; 2]),
        colors("low_resolution_small", 12, &[-1.0, -0.5]),
        colors("generated", 48, &[0.0, 0.25]),
        colors("image", 48, &[0.5, 1.5]),
    ];
    let picture = task
        .picture(&Batch {
            columns: columns.clone(),
        })
        .unwrap()
        .unwrap();
    // Three times enlarged; two strips of three pictures fill 440 × 296 pixels.
    assert_eq!(
        (picture.width(), picture.height()),
        (3 * 144 + 4, 2 * 144 + 8)
    );
    let at = |x: u32, y: u32| picture.rgb()[((y * picture.width() + x) * 3) as usize];
    assert_eq!(
        [at(0, 0), at(143, 0), at(144, 0), at(146, 0), at(292, 143)],
        [0, 0, 255, 128, 191]
    );
    assert_eq!(
        [at(0, 144), at(0, 152), at(146, 152), at(435, 295)],
        [255, 64, 159, 255]
    );

    // Without the truth, and without the small picture.
    columns.remove(3);
    let two = task
        .picture(&Batch {
            columns: columns.clone(),
        })
        .unwrap()
        .unwrap();
    assert_eq!(two.width() % (2 * 144 + 2), 0);
    columns.remove(1);
    let two = task
        .picture(&Batch {
            columns: columns.clone(),
        })
        .unwrap()
        .unwrap();
    assert_eq!(two.rgb()[0], 128);
    columns[1] = colors("generated", 32, &[0.0; 2]);
    let error = task
        .picture(&Batch {
            columns: columns.clone(),
        })
        .unwrap_err();
    assert!(error.message.contains("column `low_resolution`"), "{error}");
    columns.truncate(1);
    assert!(task.picture(&Batch { columns }).is_err());
}
