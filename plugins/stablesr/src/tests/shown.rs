//! A user's own pictures of any size, and samples as people look at them.

use dsl_sdk::image::Picture;
use dsl_sdk::serde_json::{Value, json};
use dsl_sdk::{Batch, Column, ColumnData, ErrorCode, PluginError, Task};

use super::set::*;
use crate::{ColorFix, StableSrConfig};

fn model(prompt: Option<&str>) -> crate::StableSr {
    open(&StableSrConfig {
        prompt: prompt.map(str::to_owned),
        ..StableSrConfig::default()
    })
    .unwrap()
}

/// As `Task::conditions` is asked for it.
fn image(folder: &tempfile::TempDir, name: &str) -> Value {
    json!({"image": folder.path().join(name)})
}

#[test]
fn a_picture_of_any_size_becomes_four_times_as_wide_and_as_high() {
    let folder = tempfile::tempdir().unwrap();
    let task = model(Some("a photo"));
    let columns = task.dataset("train").unwrap().columns();
    for (width, height) in [(12, 12), (20, 12), (8, 9), (49, 100)] {
        write(folder.path(), "low.png", png(width, height));
        let found = task.conditions(&image(&folder, "low.png")).unwrap();
        for (name, scale) in [("low_resolution", 4), ("low_resolution_small", 1)] {
            let (shape, values) = found.f32(name).unwrap();
            let expected = [1, 3, u64::from(scale * height), u64::from(scale * width)];
            assert_eq!(shape, expected, "{name}");
            assert_eq!(values.len() as u64, expected.iter().product::<u64>());
            assert!(values.iter().all(|value| (-1.0..=1.0).contains(value)));
        }
        // Names and types are those of the train split; the target is not there.
        assert_eq!(found.columns.len(), 3);
        for column in &found.columns {
            let spec = columns
                .iter()
                .find(|spec| spec.name == column.name)
                .unwrap();
            assert_eq!(spec.dtype, column.data.dtype());
        }
        assert!(found.column("image").is_none());
        assert_eq!(found.texts("prompt").unwrap(), ["a photo"]);
    }
}

/// The whole picture: its bytes as they are, and each of them in the middle of its 4 × 4 pixels.
#[test]
fn nothing_of_a_users_picture_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "low.png", png(20, 12));
    let found = model(None).conditions(&image(&folder, "low.png")).unwrap();
    let (_, small) = found.f32("low_resolution_small").unwrap();
    let (_, low) = found.f32("low_resolution").unwrap();
    for (at, pixel) in pattern(20, 12).pixels().enumerate() {
        let (x, y) = (at % 20, at / 20);
        for channel in 0..3 {
            let byte = f32::from(pixel[channel]) / 127.5 - 1.0;
            assert!((small[channel * 240 + at] - byte).abs() < 1e-6);
            // Red grows along rows, green along columns, both evenly.
            if channel < 2 && (2..18).contains(&x) && (2..10).contains(&y) {
                let place =
                    |dy: usize, dx: usize| low[channel * 48 * 80 + (4 * y + dy) * 80 + 4 * x + dx];
                let middle = (place(1, 1) + place(1, 2) + place(2, 1) + place(2, 2)) / 4.0;
                assert!((middle - byte).abs() < 0.02, "{channel} {x} {y}");
            }
        }
    }
}

#[test]
fn inputs_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "wide.png", png(1025, 12));
    write(folder.path(), "high.png", png(8, 1025));
    write(folder.path(), "tiny.png", png(12, 7));
    write(folder.path(), "text.png", "hello");
    let file = |name: &str| image(&folder, name);
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
    for (name, size) in [("wide.png", "1025 × 12"), ("high.png", "8 × 1025")] {
        check(
            file(name),
            Config,
            &["`image`", name, size, "at most 1024 a side"],
        );
    }
    check(
        file("tiny.png"),
        Config,
        &["`image`", "tiny.png", "12 × 7", "at least 8 × 8"],
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

/// A column of pictures of `width` × `height` pixels of one colour each.
fn colors(name: &str, [width, height]: [usize; 2], values: &[f32]) -> Column {
    Column {
        name: name.into(),
        data: ColumnData::F32 {
            shape: vec![values.len() as u64, 3, height as u64, width as u64],
            values: values
                .iter()
                .flat_map(|&value| vec![value; 3 * width * height])
                .collect(),
        },
    }
}

/// What a task without a correction of colours shows.
fn shown(columns: &[Column]) -> Result<Picture, PluginError> {
    let task = open(&StableSrConfig {
        color_fix: ColorFix::None,
        ..StableSrConfig::default()
    });
    let columns = columns.to_vec();
    Ok(task?.picture(&Batch { columns })?.expect("a picture"))
}

/// Red at a place.
fn red(picture: &Picture, x: u32, y: u32) -> u8 {
    picture.rgb()[((y * picture.width() + x) * 3) as usize]
}

#[test]
fn samples_lie_side_by_side() {
    let mut columns = vec![
        colors("low_resolution", [48; 2], &[0.0; 2]),
        colors("low_resolution_small", [12; 2], &[-1.0, -0.5]),
        colors("generated", [48; 2], &[0.0, 0.25]),
        colors("image", [48; 2], &[0.5, 1.5]),
    ];
    let picture = shown(&columns).unwrap();
    // Three times enlarged; two strips of three pictures below each other.
    assert_eq!(
        (picture.width(), picture.height()),
        (3 * 144 + 4 * 2 + 2 * 6, 2 * (144 + 2 * 2) + 3 * 6)
    );
    let at = |x, y| red(&picture, x, y);
    let (first, second) = (6 + 2, 6 + 148 + 6 + 2);
    assert_eq!([at(7, 7), at(8, first), at(151, first)], [255, 0, 0]);
    assert_eq!(
        [at(152, first), at(154, first), at(300, first + 143)],
        [255, 128, 191]
    );
    assert_eq!([at(8, second - 1), at(8, second)], [255, 64]);
    assert_eq!([at(154, second), at(443, second + 143)], [159, 255]);

    // Without the truth, and without the small picture.
    columns.remove(3);
    let two = shown(&columns).unwrap();
    assert_eq!((two.width() - 6) % (2 * 144 + 3 * 2 + 6), 0);
    columns.remove(1);
    assert_eq!(red(&shown(&columns).unwrap(), 8, 8), 128);
    columns[1] = colors("generated", [32; 2], &[0.0; 2]);
    let error = shown(&columns).unwrap_err();
    assert!(error.message.contains("column `low_resolution`"), "{error}");
    columns.truncate(1);
    assert!(shown(&columns).is_err());
}

#[test]
fn pictures_that_are_not_square_keep_their_proportions() {
    let columns = [
        colors("low_resolution", [80, 48], &[0.0]),
        colors("low_resolution_small", [20, 12], &[-1.0]),
        colors("generated", [80, 48], &[0.25]),
    ];
    let picture = shown(&columns).unwrap();
    // Twice enlarged, the small picture eight times.
    assert_eq!(
        (picture.width(), picture.height()),
        (2 * 160 + 3 * 2 + 2 * 6, 96 + 2 * 2 + 2 * 6)
    );
    let at = |x, y| red(&picture, x, y);
    assert_eq!([at(8, 8), at(167, 103), at(167, 104)], [0, 0, 255]);
    assert_eq!([at(168, 8), at(170, 8), at(329, 103)], [255, 159, 159]);
    assert_eq!([at(330, 8), at(329, 104)], [255, 255]);

    // As wide as high, but lying on its side.
    let mut turned = columns.clone();
    turned[2] = colors("generated", [48, 80], &[0.25]);
    let error = shown(&turned).unwrap_err();
    for part in ["80 × 48", "48 × 80", "column `low_resolution`"] {
        assert!(error.message.contains(part), "{error}");
    }
    // A small picture of other proportions is not shown as if it fitted.
    let mut odd = columns;
    odd[1] = colors("low_resolution_small", [20, 16], &[-1.0]);
    assert_eq!(red(&shown(&odd).unwrap(), 8, 8), 128);
}

#[test]
fn large_pictures_are_shown_as_they_are() {
    let columns = [
        colors("low_resolution", [200, 36], &[0.0]),
        colors("generated", [200, 36], &[0.25]),
    ];
    let picture = shown(&columns).unwrap();
    assert_eq!(
        (picture.width(), picture.height()),
        (2 * 200 + 3 * 2 + 2 * 6, 36 + 2 * 2 + 2 * 6)
    );
}

/// A user's picture through the whole way: what is generated has the detail of the truth in other colours, and comes out in
/// those of the low-resolution picture. `SHOW=folder` keeps the picture.
#[test]
fn colours_of_a_picture_of_any_size_are_corrected_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "low.png", png(20, 12));
    for color_fix in [ColorFix::Wavelet, ColorFix::Adain] {
        let task = open(&StableSrConfig {
            color_fix,
            ..StableSrConfig::default()
        })
        .unwrap();
        let mut batch = task.conditions(&image(&folder, "low.png")).unwrap();
        let (shape, low) = batch.f32("low_resolution").unwrap();
        let (shape, low) = (shape.to_vec(), low.to_vec());
        let generated = Column {
            name: "generated".into(),
            data: ColumnData::F32 {
                shape,
                values: low.iter().map(|value| value * 0.999 + 0.4).collect(),
            },
        };
        batch.columns.push(generated);
        let picture = task.picture(&batch).unwrap().unwrap();
        for y in 0..48 {
            for x in 0..80 {
                let expected = ((low[(y * 80 + x) as usize] + 1.0) * 127.5).round();
                let found = f32::from(red(&picture, 170 + 2 * x, 8 + 2 * y));
                assert!(
                    (found - expected).abs() <= 1.0,
                    "{color_fix:?} {x} {y}: {found} {expected}"
                );
            }
        }
        if let Some(folder) = std::env::var_os("SHOW") {
            let file = std::path::Path::new(&folder).join("stablesr-own.png");
            std::fs::write(file, picture.to_png().unwrap()).unwrap();
        }
    }
}
