//! Batches: not as declared, outside their range, or not the same at every call.

use dsl_testkit::Status::{Failed, Passed, Skipped};

use super::{misbehaves, rough};

#[test]
fn batches_that_are_not_as_declared() {
    let case = "columns-agree-with-batches";
    for (fault, parts) in [
        (
            "wrong-shape",
            [
                "column `point`: expected shape [1, 2]",
                "found shape [1, 3]",
            ],
        ),
        ("wrong-dtype", ["column `point`: expected f32", "found i64"]),
        ("missing-column", ["column `point`", "a batch without it"]),
        ("extra-column", ["column `surprise`", "a further column"]),
        ("few-texts", ["column `name`: expected 1 texts", "found 0"]),
    ] {
        misbehaves(fault, case, Failed, &parts);
    }
    misbehaves(
        "no-target",
        "description-fits-columns",
        Failed,
        &["`nowhere`"],
    );
    misbehaves(
        "wrong-dropout",
        "description-fits-columns",
        Failed,
        &["dropout", "found 2"],
    );
    misbehaves(
        "not-finite",
        "values-in-range",
        Failed,
        &["column `point`", "NaN"],
    );
    misbehaves(
        "any-split",
        "unknown-split-refused",
        Failed,
        &["no-such-split"],
    );
    misbehaves("empty", "train-not-empty", Failed, &["is empty"]);
}

#[test]
fn batches_below_the_rules_of_the_sdk() {
    let case = "columns-agree-with-batches";
    rough(
        "unknown-dtype",
        case,
        Failed,
        &["plugin `rough`", "column `point`", "data type number 99"],
    );
    rough(
        "misaligned",
        case,
        Failed,
        &["column `point`", "aligned to 4 bytes"],
    );
    rough(
        "short-buffer",
        case,
        Failed,
        &["expected 2 values", "found 1 values"],
    );
    rough(
        "shape-overflow",
        case,
        Failed,
        &["column `point`", "expected shape"],
    );
    rough(
        "null-pointer",
        case,
        Failed,
        &["memory for column `point`", "a null pointer to 8 bytes"],
    );
    rough(
        "text-null",
        case,
        Failed,
        &["memory for column `text`", "a null pointer"],
    );
    rough(
        "endless-memory",
        case,
        Failed,
        &["memory for column `point`", "more than there can be"],
    );
    rough("text-not-utf8", case, Failed, &["column `text`", "UTF-8"]);
    rough("text-offsets", case, Failed, &["column `text`", "offsets"]);
    rough(
        "columns-twice",
        "description-fits-columns",
        Failed,
        &["two columns of that name"],
    );
    rough("any-index", "out-of-range-index", Failed, &["there are 50"]);
    rough(
        "describe-no-json",
        "description-fits-columns",
        Failed,
        &["describe"],
    );
    rough(
        "lends-and-reuses",
        "batch-outlives-its-task",
        Failed,
        &["change when its dataset is gone"],
    );
}

#[test]
fn samples_that_depend_on_more_than_index_and_seed() {
    for (fault, case) in [
        ("depends-on-neighbours", "batch-is-concatenation"),
        ("sorts-indices", "any-order-and-repetition"),
        ("depends-on-calls", "same-at-every-call"),
        ("depends-on-thread", "same-across-threads"),
        ("depends-on-process", "same-across-processes"),
        ("uses-seeds-always", "seeds-unused-without-augment"),
        ("depends-on-neighbours", "large-batch"),
        ("depends-on-tasks", "two-tasks-at-once"),
        ("columns-change", "same-columns-at-every-call"),
    ] {
        misbehaves(fault, case, Failed, &[]);
    }
}

#[test]
fn seeds_that_change_nothing_are_told() {
    misbehaves(
        "none",
        "seeds-change-augmented-samples",
        Skipped,
        &["no sample changes"],
    );
    rough(
        "remembers-errors",
        "usable-after-an-error",
        Failed,
        &["sample 0 is another one"],
    );
}

#[test]
fn data_beyond_what_its_injection_says() {
    for (fault, said) in [
        (
            "label-out-of-range",
            "column `label` has the class 3, expected 0..3",
        ),
        (
            "box-out-of-range",
            "column `boxes` has the box [0.25, 0.25, 1.5, 0.5]",
        ),
        ("mask-between", "column `mask` has the value 0.5"),
        (
            "phrase-without-box",
            "column `phrases` has the phrase `part 1",
        ),
        (
            "elevation-in-degrees",
            "column `elevation` has the value 30, expected radians",
        ),
    ] {
        misbehaves(fault, "conditioning-in-range", Failed, &[said]);
    }
    misbehaves(
        "token-never-said",
        "learned-tokens-said",
        Failed,
        &["says `<dot>`", "such as `point "],
    );
}

/// Samples of 12.5 MB: the questions ask for no more of them than memory holds.
#[test]
fn large_samples_are_not_taken_for_a_crash() {
    for case in ["cancellation-honoured", "large-batch"] {
        misbehaves("large", case, Passed, &[]);
    }
}
