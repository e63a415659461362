//! Panics: each is told with its call, and none leaves the plugin.

use dsl_testkit::Status::Failed;

use super::misbehaves;

#[test]
fn panics_in_every_entry_point() {
    let panicked = |fault: &str, case: &str, call: &str| {
        misbehaves(
            fault,
            case,
            Failed,
            &[
                "plugin `misbehave`, ",
                call,
                "panicked at ",
                ".rs:",
                "told to panic",
            ],
        );
    };
    panicked("panic-in-schema", "schema-valid", "config_schema");
    panicked(
        "panic-in-default-config",
        "default-config-opens",
        "default_config",
    );
    panicked(
        "panic-in-host-defaults",
        "host-defaults-object",
        "host_defaults",
    );
    panicked("panic-in-assets", "assets-readable", "asset names");
    panicked("panic-in-open", "default-config-opens", "open");
    panicked("panic-in-describe", "description-fits-columns", "describe");
    panicked("panic-in-splits", "splits-named", "splits");
    panicked("panic-in-dataset", "train-not-empty", "dataset `train`");
    panicked("panic-in-len", "train-not-empty", "dataset `train`");
    panicked(
        "panic-in-columns",
        "description-fits-columns",
        "dataset `train`",
    );
    panicked("panic-in-batch", "columns-agree-with-batches", "sample ");
    panicked(
        "panic-in-parallel",
        "columns-agree-with-batches",
        "told to panic in piece 5",
    );
    panicked(
        "panic-on-empty",
        "empty-index-list",
        "empty batch of dataset `train`",
    );
    panicked(
        "panic-on-zero-scale",
        "extreme-values-without-panic",
        "`task.scale` = 0",
    );
    panicked("panic-in-evaluator", "evaluator-requirements", "evaluator");
    panicked(
        "panic-in-requirements",
        "evaluator-requirements",
        "requirements of the evaluator",
    );
    panicked(
        "panic-in-update",
        "evaluator-one-sample",
        "update of the evaluator",
    );
    panicked(
        "panic-in-finish",
        "evaluator-one-sample",
        "finish of the evaluator",
    );
    panicked(
        "panic-without-samples",
        "evaluator-without-samples",
        "finish of the evaluator",
    );
    panicked(
        "panic-on-missing-column",
        "evaluator-missing-column",
        "update of the evaluator",
    );
    misbehaves(
        "panic-in-drop",
        "no-errors-logged",
        Failed,
        &["while dropping", "told to panic"],
    );
}
