//! A user's own conditions, and pictures of samples.

use dsl_testkit::Status::Failed;

use super::{misbehaves, rough};

#[test]
fn conditions_of_a_user() {
    misbehaves(
        "any-inputs",
        "conditions-unknown-key-refused",
        Failed,
        &["for the unknown input `no_such_key_as_this`"],
    );
    let called = "plugin `misbehave`, conditions: ";
    misbehaves(
        "panic-in-conditions",
        "conditions-unknown-key-refused",
        Failed,
        &[called, "told to panic in conditions"],
    );
    misbehaves(
        "panic-on-odd-input",
        "conditions-odd-inputs",
        Failed,
        &[called, "told to panic at an odd input"],
    );
    misbehaves(
        "conditions-twice",
        "conditions-odd-inputs",
        Failed,
        &[
            called,
            "column `name`: expected 1 texts for 1 samples, found 2",
        ],
    );
    misbehaves(
        "conditions-change",
        "conditions-repeatable",
        Failed,
        &["a second time: column `name` of sample 0 differs"],
    );
    rough(
        "conditions-target",
        "conditions-repeatable",
        Failed,
        &["conditions: ", "the target `point` among them"],
    );
}

#[test]
fn pictures_of_samples() {
    let called = "plugin `misbehave`, picture: ";
    misbehaves(
        "panic-in-picture",
        "picture-with-and-without-truth",
        Failed,
        &[called, "told to panic in a picture"],
    );
    misbehaves(
        "picture-needs-truth",
        "picture-with-and-without-truth",
        Failed,
        &[called, "column `point`"],
    );
    misbehaves(
        "picture-changes",
        "picture-repeatable",
        Failed,
        &["another picture"],
    );
    misbehaves(
        "panic-on-missing-condition",
        "picture-missing-column",
        Failed,
        &[called, "told to panic without names"],
    );
    misbehaves(
        "pictures-nothing",
        "picture-missing-column",
        Failed,
        &["without the column `generated`"],
    );
    rough(
        "picture-four-channels",
        "picture-repeatable",
        Failed,
        &["plugin `rough`, picture: ", "found u8 [2, 2, 4]"],
    );
    rough(
        "picture-null",
        "picture-repeatable",
        Failed,
        &["memory for column `picture`", "a null pointer to 12 bytes"],
    );
}
