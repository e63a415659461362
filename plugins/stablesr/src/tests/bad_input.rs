//! What users get wrong.

use dsl_sdk::serde_json::json;
use dsl_sdk::{BatchRequest, ErrorCode, Task};

use super::set::*;
use crate::{Layout, PerClass, StableSrConfig};

/// The defaults with a JSON document on top of them.
fn given(value: dsl_sdk::serde_json::Value) -> StableSrConfig {
    dsl_sdk::serde_json::from_value(value).unwrap()
}

#[test]
fn numbers_outside_of_their_ranges_are_named() {
    for (value, part) in [
        (
            json!({"data": {"size": 50}}),
            "`task.data.size` is 50, expected a multiple of 4",
        ),
        (json!({"data": {"size": 12}}), "`task.data.size`"),
        (json!({"data": {"flip": 1.5}}), "`task.data.flip` is 1.5"),
        (json!({"dropout": -0.1}), "`task.dropout`"),
        (json!({"data": {"path": " "}}), "`task.data.path` is empty"),
        (
            json!({"data": {"path": "x", "train_split": "a/b"}}),
            "`task.data.train_split`",
        ),
        (
            json!({"data": {"path": "x", "train_split": "a", "test_split": "a"}}),
            "`task.data.test_split`",
        ),
        (
            json!({"data": {"path": "x", "classes": ["a", "a"]}}),
            "`a` twice",
        ),
        (
            json!({"data": {"path": "x", "classes": [".."]}}),
            "`task.data.classes`",
        ),
        (
            json!({"data": {"path": "x", "per_class": {"train": 0}}}),
            "`task.data.per_class.train`",
        ),
        (
            json!({"data": {"path": "x", "layout": "paired", "classes": ["a"]}}),
            "class_folders",
        ),
        (
            json!({"data": {"classes": ["a"]}}),
            "`task.data.path` names none",
        ),
        (
            json!({"realesrgan": {"clean_probability": 2}}),
            "`task.realesrgan.clean_probability` is 2",
        ),
        (
            json!({"realesrgan": {"final_sinc_size": 20}}),
            "`task.realesrgan.final_sinc_size`",
        ),
        (
            json!({"realesrgan": {"sharpen": {"weight": -1}}}),
            "`task.realesrgan.sharpen.weight`",
        ),
        (
            json!({"realesrgan": {"sharpen": {"radius": 0}}}),
            "`task.realesrgan.sharpen.radius`",
        ),
        (
            json!({"realesrgan": {"first": {"sigma": [2, 1]}}}),
            "`task.realesrgan.first.sigma` is [2, 1]",
        ),
        (
            json!({"realesrgan": {"second": {"sigma": [0, 1]}}}),
            "`task.realesrgan.second.sigma`",
        ),
        (
            json!({"realesrgan": {"first": {"kernel_size": [8, 8]}}}),
            "an odd number",
        ),
        (
            json!({"realesrgan": {"first": {"kernel_size": [7, 999]}}}),
            "kernel_size",
        ),
        (
            json!({"realesrgan": {"first": {"jpeg_quality": [0, 90]}}}),
            "jpeg_quality",
        ),
        (
            json!({"realesrgan": {"first": {"resize_range": [1.1, 1.5]}}}),
            "a range around 1",
        ),
        (
            json!({"realesrgan": {"second": {"resize": {"up": 0, "down": 0, "keep": 0}}}}),
            "`task.realesrgan.second.resize`",
        ),
        (
            json!({"realesrgan": {"first": {"grey_probability": 7}}}),
            "grey_probability",
        ),
    ] {
        check_error(&given(value), &[part]);
    }
}

#[test]
fn a_part_of_a_stage_leaves_the_rest_of_that_stage_as_it_is() {
    let config = given(json!({"realesrgan": {"second": {"sigma": [0.1, 0.3]}}}));
    let second = config.realesrgan.second;
    assert_eq!(
        (second.sigma, second.kernel_size, second.jpeg_quality),
        ([0.1, 0.3], [7, 11], [60, 100])
    );
    let unknown = dsl_sdk::serde_json::from_value::<StableSrConfig>(
        json!({"realesrgan": {"first": {"sigmas": 1}}}),
    );
    assert!(unknown.unwrap_err().to_string().contains("sigmas"));
}

#[test]
fn folders_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    check_error(&config, &["no pictures in"]);
    write(folder.path(), "notes.md", "x");
    let mut file = config.clone();
    file.data.path = Some(folder.path().join("notes.md").display().to_string());
    check_error(&file, &["notes.md", "not a folder"]);
    file.data.path = Some("nowhere/at/all".into());
    check_error(&file, &["there is no `nowhere/at/all`, seen from"]);

    write(folder.path(), "test/a.png", png(16, 16));
    check_error(&config, &["has a folder `test`, but none to train on"]);
    let mut named = config.clone();
    named.data.test_split = Some("holdout".into());
    check_error(&named, &["`task.data.test_split` is `holdout`"]);

    // Held-out pictures are not what broke: those to train on are.
    write(folder.path(), "train/small.png", png(20, 12));
    check_error(
        &config,
        &["small.png", "20 × 12", "`task.data.size`, which is 16"],
    );
    write(folder.path(), "train/small.png", "no picture");
    check_error(&config, &["small.png", "neither PNG, JPEG nor WebP"]);
}

#[test]
fn classes_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.data.layout = Layout::ClassFolders;
    check_error(&config, &["no folders, so no classes"]);
    write(folder.path(), "Port/a.png", png(16, 16));
    check_error(
        &config,
        &[
            "the class `Port` has 1 pictures",
            "1 to train on and 1 to test on",
        ],
    );
    config.data.classes = vec!["Ports".into()];
    check_error(&config, &["`task.data.classes` has `Ports`"]);
    let help = open(&config).unwrap_err().help;
    assert!(help.contains("`Port`"), "{help}");
    config.data.classes.clear();
    config.data.per_class = PerClass {
        train: Some(1),
        test: Some(3),
    };
    check_error(&config, &["fewer than 1 to train on and 3 to test on"]);
}

#[test]
fn pairs_that_cannot_be() {
    let check = |low: (u32, u32), target: (u32, u32), parts: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "inputs/deep/x.png", png(low.0, low.1));
        write(folder.path(), "gts/deep/x.png", png(target.0, target.1));
        check_error(&config(folder.path()), parts);
    };
    check(
        (32, 32),
        (16, 16),
        &["the pair `deep/x`", "32 × 32", "larger than its target"],
    );
    check(
        (8, 8),
        (16, 16),
        &["the pair `deep/x`", "expected a target 4 times"],
    );
    check(
        (4, 5),
        (16, 16),
        &["the pair `deep/x`", "4 × 5", "expected a target 4 times"],
    );
    check(
        (3, 3),
        (12, 12),
        &["12 × 12 pixels, smaller than `task.data.size`"],
    );

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "inputs/a.png", png(4, 4));
    write(folder.path(), "gts/b.png", png(16, 16));
    check_error(&config(folder.path()), &["a.png", "there is no `gts/a`"]);
    write(folder.path(), "gts/a.png", png(16, 16));
    check_error(&config(folder.path()), &["b.png", "there is no `inputs/b`"]);
    write(folder.path(), "inputs/b.png", png(4, 4));
    write(folder.path(), "inputs/b.jpg", png(4, 4));
    check_error(
        &config(folder.path()),
        &["the same name but for their ending"],
    );
    let empty = tempfile::tempdir().unwrap();
    let mut paired = config(empty.path());
    paired.data.layout = Layout::Paired;
    check_error(&paired, &["inputs"]);
}

#[test]
fn requests_that_break_the_contract() {
    let dataset = split(&StableSrConfig::default(), "test");
    let request = |indices: &[u64], seeds: &[u64]| {
        let request = BatchRequest {
            indices,
            seeds,
            augment: false,
        };
        dataset.batch(&request).unwrap_err()
    };
    assert_eq!(request(&[0], &[]).code, ErrorCode::Contract);
    assert!(
        request(&[100], &[0])
            .message
            .contains("index 100 of a dataset of 100")
    );
    let unknown = open(&StableSrConfig::default())
        .unwrap()
        .dataset("dev")
        .err()
        .unwrap();
    assert!(unknown.message.contains("there are: train, test"));
}
