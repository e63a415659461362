//! The library and what it says of itself: manifest, interfaces, configuration.

use dsl_testkit::{
    CheckOptions,
    Status::{Failed, Warning},
};

use super::{misbehaves, named, rough};
use crate::it::support::report;

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
        &["`dsl.assets/1`"],
    );
    rough("slow-manifest", "scan-under-100-ms", Failed, &["ms"]);
    rough(
        "manifest-changes",
        "loads-twice",
        Failed,
        &["differs from one call to the next"],
    );
    rough(
        "panic-abort",
        "panic-strategy",
        Failed,
        &["panic = \"abort\""],
    );
    rough(
        "self-test-lies",
        "panic-comes-back",
        Failed,
        &["with the message"],
    );
    rough(
        "self-test-lies",
        "log-reaches-the-host",
        Failed,
        &["did not arrive; the host heard: nothing"],
    );
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
        &["dsl.task/1 differs: mismatched package"],
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
    misbehaves(
        "silent-key",
        "schema-describes-keys",
        Warning,
        &["no description for `scale`"],
    );
    rough(
        "names-no-key",
        "wrong-type-refused-with-path",
        Failed,
        &["does not name `some`"],
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

#[test]
fn a_file_that_changes_meanwhile_is_refused() {
    let options = CheckOptions {
        filter: Some("loads-with".to_owned()),
        sha256: Some("00".repeat(32)),
        ..CheckOptions::default()
    };
    let report = report("mixture", "NOTHING", "", &options);
    let found = &report.cases[0];
    assert_eq!(found.status, Failed, "{found}");
    assert!(
        found.message.contains("not the file that was asked about"),
        "{found}"
    );
}
