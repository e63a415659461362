//! Each fault is named by the case that is there for it.

use dsl_test_support::says;
use dsl_testkit::{
    CheckOptions,
    Status::{self, Crashed, Failed, Warning},
};

use super::support::report;

/// Puts one case to a plugin with a fault.
#[track_caller]
fn named(plugin: &str, fault: &str, case: &str, status: Status, parts: &[&str]) {
    let variable = match plugin {
        "rough" => "DSL_ROUGH",
        _ => "DSL_MISBEHAVE",
    };
    let options = CheckOptions {
        filter: Some(case.to_owned()),
        time_limit_secs: Some(if fault.starts_with("hang") { 1 } else { 60 }),
        ..CheckOptions::default()
    };
    let report = report(plugin, variable, fault, &options);
    let found = report
        .case(case)
        .unwrap_or_else(|| panic!("no case {case}"));
    assert_eq!(found.status, status, "{fault}: {found}");
    says(&found.message, parts);
    assert_eq!(report.conforms, !status.is_bad());
    assert!(!status.is_bad() || found.to_string().contains("rule: "));
}

#[track_caller]
fn misbehaves(fault: &str, case: &str, status: Status, parts: &[&str]) {
    named("misbehave", fault, case, status, parts);
}

#[track_caller]
fn rough(fault: &str, case: &str, status: Status, parts: &[&str]) {
    named("rough", fault, case, status, parts);
}

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
    ] {
        misbehaves(fault, case, Failed, &[]);
    }
}

#[test]
fn calls_that_do_not_come_back() {
    misbehaves(
        "hang-in-open",
        "default-config-opens",
        Failed,
        &["the call `open` did not come back within 1 s"],
    );
    misbehaves(
        "hang-in-batch",
        "same-at-every-call",
        Failed,
        &["`batch of dataset `train``", "within 1 s"],
    );
    misbehaves(
        "hang-in-batch",
        "cancellation-honoured",
        Failed,
        &["`batch of dataset `train``"],
    );
    misbehaves(
        "hang-in-finish",
        "evaluator-one-sample",
        Failed,
        &["`finish of the evaluator`"],
    );
}

#[cfg(unix)]
#[test]
fn calls_that_end_the_process() {
    let ends = |fault: &str, case: &str, call: &str, way: &str| {
        misbehaves(
            fault,
            case,
            Crashed,
            &["the plugin `misbehave` ended the program", call, way],
        );
    };
    let (batch, case) = ("`batch of dataset `train``", "columns-agree-with-batches");
    ends("abort-in-open", "default-config-opens", "`open`", "SIGABRT");
    ends("abort-in-batch", case, batch, "SIGABRT");
    ends("abort-in-parallel", case, batch, "SIGABRT");
    ends("exit-in-batch", case, batch, "exit");
    ends("stack-overflow", case, batch, "SIGSEGV");
    ends("huge-allocation", case, batch, "SIGABRT");
    ends(
        "abort-in-drop",
        case,
        "`release of dataset `train``",
        "SIGABRT",
    );
    ends(
        "abort-in-finish",
        "evaluator-one-sample",
        "`finish of the evaluator`",
        "SIGABRT",
    );
}

#[cfg(unix)]
#[test]
fn libraries_that_end_the_process() {
    let ends = |fault: &str, case: &str, call: &str, way: &str| {
        rough(fault, case, Crashed, &["ended the program", call, way]);
    };
    // Where it is read no call is in progress.
    let parts = ["signal 11", "memory that the plugin lent"];
    rough("null-pointer", "values-in-range", Crashed, &parts);
    let case = "columns-agree-with-batches";
    ends(
        "wrong-release",
        case,
        "`release of a batch of dataset `train``",
        "SIGABRT",
    );
    ends(
        "panic-in-batch",
        case,
        "`batch of dataset `train``",
        "it called `exit`",
    );
    ends(
        "panic-in-manifest",
        "loads-with-all-symbols",
        "`manifest`",
        "SIGABRT",
    );
    ends(
        "exit-at-load",
        "loads-with-all-symbols",
        "`loading the library`",
        "exit",
    );
}

#[test]
fn manifests_and_interfaces() {
    rough(
        "manifest-no-json",
        "loads-with-all-symbols",
        Failed,
        &["manifest", "expected a JSON manifest"],
    );
    rough(
        "manifest-id",
        "loads-with-all-symbols",
        Failed,
        &["an `id` of lower-case letters", "`../rough`"],
    );
    rough(
        "manifest-incomplete",
        "manifest-complete",
        Failed,
        &["description", "rustc", "target"],
    );
    rough(
        "manifest-lists-more",
        "manifest-extensions-answer",
        Failed,
        &["`dsl.assets/0`"],
    );
    rough("slow-manifest", "scan-under-100-ms", Failed, &["ms"]);
    rough(
        "offers-everything",
        "unknown-extension",
        Failed,
        &["dsl.no-such-interface/7"],
    );
    named(
        "other_abi",
        "",
        "loads-with-all-symbols",
        Failed,
        &["dsl.task/0 differs: mismatched package"],
    );
}

#[test]
fn configurations() {
    rough("schema-no-schema", "schema-valid", Failed, &["JSON Schema"]);
    rough(
        "default-no-fit",
        "default-config-fits-schema",
        Failed,
        &["some"],
    );
    rough(
        "accepts-anything",
        "schema-refuses-unknown-keys",
        Failed,
        &["no_such_key"],
    );
    rough(
        "accepts-anything",
        "unknown-key-refused",
        Failed,
        &["a task opens with"],
    );
    rough(
        "accepts-anything",
        "no-object-refused",
        Failed,
        &["a task opens with 7"],
    );
    rough(
        "host-defaults-list",
        "host-defaults-object",
        Failed,
        &["a JSON object"],
    );
    rough("", "splits-named", Warning, &["no split beside `train`"]);
}

#[test]
fn evaluators() {
    misbehaves(
        "nan-metric",
        "metrics-finite-with-directions",
        Failed,
        &["`mean_square` is NaN"],
    );
    misbehaves(
        "same-metric-twice",
        "metrics-finite-with-directions",
        Failed,
        &["unique names"],
    );
    misbehaves(
        "artefact-with-folder",
        "artefacts-well-formed",
        Failed,
        &["../mean-square.txt"],
    );
    misbehaves(
        "artefact-of-other-kind",
        "artefacts-well-formed",
        Failed,
        &["`picture.png` is not image/png"],
    );
    misbehaves(
        "evaluator-remembers",
        "evaluator-as-new-after-finish",
        Failed,
        &["`mean_square` is first"],
    );
    misbehaves(
        "weights-batches",
        "evaluator-batches-add-up",
        Failed,
        &["`mean_square` is first"],
    );
    misbehaves(
        "evaluator-split",
        "evaluator-requirements",
        Failed,
        &["`nowhere`"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_not_given_back() {
    misbehaves("leaks", "memory-returned", Failed, &["MB more after"]);
    misbehaves(
        "leaks-threads",
        "open-and-close",
        Failed,
        &["threads went from"],
    );
    misbehaves(
        "works-before-open",
        "no-work-before-open",
        Failed,
        &["threads went from"],
    );
}

#[test]
fn a_plugin_that_does_not_load_fails_one_case_only() {
    let report = report("other_abi", "NOTHING", "", &CheckOptions::default());
    assert_eq!(
        (report.counts.failed, report.counts.crashed),
        (1, 0),
        "{report}"
    );
    assert_eq!(report.counts.skipped, report.cases.len() - 1);
    assert!(!report.conforms);
}
