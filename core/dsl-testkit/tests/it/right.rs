//! Plugins that are right.

use dsl_testkit::{CheckOptions, Status, TestkitError, check};

use super::support::{launcher, plugin, report};

fn conforms(name: &str, skipped: &[&str]) {
    let options = CheckOptions {
        soak_batches: 2_000,
        ..CheckOptions::default()
    };
    let report = report(name, "NOTHING", "", &options);
    assert!(report.conforms, "{report}");
    assert_eq!(report.counts.warning, 0, "{report}");
    for case in &report.cases {
        let may = skipped.iter().any(|part| case.case.contains(part));
        assert!(case.status == Status::Passed || may, "{report}");
    }
    assert_eq!(report.sha256.len(), 64);
}

#[test]
fn mixture_conforms() {
    conforms(
        "mixture",
        &[
            "artefacts-well-formed",
            "conditioning",
            "learned-tokens",
            "conditions",
            "picture",
            "buckets",
        ],
    );
}

#[test]
fn t2i_conforms() {
    conforms(
        "t2i",
        &[
            "evaluator",
            "metrics",
            "artefacts",
            "seeds-change",
            "learned-tokens",
            "conditions",
            "picture",
            "buckets",
        ],
    );
}

#[test]
fn misbehave_conforms_when_told_nothing() {
    conforms("misbehave", &["seeds-change", "learned-tokens", "buckets"]);
}

/// Every case of the evaluator, of one that is fed drawn samples with all columns of the data.
#[test]
fn an_evaluator_of_drawn_samples_conforms() {
    let options = CheckOptions {
        filter: Some("evaluator".to_owned()),
        ..CheckOptions::default()
    };
    let report = report("misbehave", "DSL_MISBEHAVE", "measures-samples", &options);
    assert_eq!(report.counts.passed, report.cases.len(), "{report}");
    let of = report.case("evaluator-requirements").unwrap();
    assert_eq!(of.message, "64 drawn samples of `test`");
}

/// Classes, boxes with phrases (several texts a sample), words and a camera: the cases that look at them, and those that
/// compare samples.
#[test]
fn data_that_conditions_in_many_ways_conforms() {
    for filter in ["condition", "learned-tokens", "same-", "batch", "picture"] {
        let options = CheckOptions {
            filter: Some(filter.to_owned()),
            ..CheckOptions::default()
        };
        let report = report("misbehave", "DSL_MISBEHAVE", "conditioned", &options);
        assert_eq!(report.counts.passed, report.cases.len(), "{report}");
    }
}

/// Samples of two shapes, and a plugin whose pictures are in buckets by its configuration.
#[test]
fn data_in_buckets_conforms() {
    for filter in [
        "buckets",
        "batch",
        "same-",
        "order",
        "seeds-unused",
        "cancellation",
    ] {
        let options = CheckOptions {
            filter: Some(filter.to_owned()),
            ..CheckOptions::default()
        };
        let report = report("misbehave", "DSL_MISBEHAVE", "in-buckets", &options);
        assert_eq!(report.counts.passed, report.cases.len(), "{report}");
    }
    for filter in ["batch", "buckets"] {
        let options = CheckOptions {
            filter: Some(filter.to_owned()),
            config: Some(serde_json::json!({
                "data": {"resolution": 32, "buckets": {"min": 16, "max": 64, "step": 16}}
            })),
            ..CheckOptions::default()
        };
        let report = report("t2i", "NOTHING", "", &options);
        assert!(report.conforms, "{report}");
        if let Some(found) = report.case("buckets-fit-samples") {
            assert_eq!(found.status, Status::Passed, "{found}");
        }
    }
}

#[test]
fn a_configuration_goes_over_the_default() {
    let options = CheckOptions {
        filter: Some("seeds-change".to_owned()),
        config: Some(serde_json::json!({"data": {"flip": 0.5}})),
        ..CheckOptions::default()
    };
    let report = report("t2i", "NOTHING", "", &options);
    assert_eq!(report.cases[0].status, Status::Passed, "{report}");
    assert_eq!(report.cases.len(), 1);
}

/// Every byte that a system allows in a path, and a configuration of a quarter of a megabyte.
#[cfg(unix)]
#[test]
fn any_path_and_any_configuration_reach_a_child() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(OsStr::from_bytes(b"no text \xff.so"));
    std::fs::copy(plugin("mixture"), &file).unwrap();
    let options = CheckOptions {
        filter: Some("open-and-close".to_owned()),
        config: Some(serde_json::json!({"no_such_key": "x".repeat(250_000)})),
        ..CheckOptions::default()
    };
    let report = check(&launcher("NOTHING", ""), &file, &options, &|_| {}).unwrap();
    let found = &report.cases[0];
    assert_eq!(found.status, Status::Failed, "{found}");
    assert!(found.message.contains("no_such_key"), "{found}");
    assert!(report.plugin.contains("no text "), "{}", report.plugin);
}

#[test]
fn a_filter_that_nothing_fits_and_a_file_that_is_not_there_are_errors() {
    let options = CheckOptions {
        filter: Some("no such case".to_owned()),
        ..CheckOptions::default()
    };
    let launcher = launcher("NOTHING", "");
    let error = check(&launcher, &plugin("mixture"), &options, &|_| {}).unwrap_err();
    assert!(matches!(error, TestkitError::NoCase { .. }), "{error}");
    let nowhere = "no/such/file.so".as_ref();
    let error = check(&launcher, nowhere, &CheckOptions::default(), &|_| {}).unwrap_err();
    assert!(matches!(error, TestkitError::Unreadable { .. }), "{error}");
}
