//! Buckets: what a dataset says of its samples' shapes.

use dsl_testkit::Status::{Failed, Passed, Skipped};

use super::misbehaves;

#[test]
fn buckets_that_do_not_hold_are_named() {
    misbehaves(
        "buckets-change",
        "buckets-do-not-change",
        Failed,
        &["the buckets of split `train` change"],
    );
    misbehaves(
        "other-buckets-shape",
        "buckets-fit-samples",
        Failed,
        &[
            "column `point`",
            "the shape [2] of their bucket",
            "found [3]",
        ],
    );
    misbehaves(
        "no-such-bucket",
        "train-not-empty",
        Failed,
        &[
            "the buckets of split `train`",
            "sample 7 is of bucket 2, and there are 2",
        ],
    );
    misbehaves("in-buckets", "mixed-buckets-refused", Passed, &[]);
    misbehaves(
        "none",
        "mixed-buckets-refused",
        Skipped,
        &["not two buckets"],
    );
}
