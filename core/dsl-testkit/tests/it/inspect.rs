//! What plugins say of themselves, also those that crash over it.

use dsl_test_support::says;
use dsl_testkit::{CheckOptions, check, inspect, manifest};

use super::support::{launcher, plugin};

#[test]
fn everything_is_told() {
    let options = CheckOptions::default();
    let found = inspect(&launcher("NOTHING", ""), &plugin("mixture"), &options).unwrap();
    assert_eq!(found.problem, None);
    let who = found.manifest.as_ref().unwrap();
    assert_eq!(
        (who.id.as_str(), who.panic_strategy.as_str()),
        ("mixture", "unwind")
    );
    assert!(who.target.contains('-'), "{}", who.target);
    let key = |name: &str| found.config.iter().find(|key| key.key == name).unwrap();
    assert_eq!(
        (key("components").kind.as_str(), &key("components").default),
        ("integer", &8.into())
    );
    assert!(key("transform.scale").description.contains("Factor"));
    assert_eq!(found.splits[1].name, "test");
    assert_eq!(found.splits[0].columns[0].shape, [Some(2)]);
    let evaluator = found.evaluator.as_ref().unwrap();
    assert_eq!(evaluator.metrics.len(), 3);
    let text = found.to_string();
    says(
        &text,
        &[
            "sha256",
            "Split `train`",
            "f32 [2]",
            "the target",
            "lower is better",
            "components = 8",
        ],
    );
}

#[test]
fn every_way_of_conditioning_and_of_feeding_is_told() {
    let options = CheckOptions::default();
    let ask = |fault| {
        let launcher = launcher("DSL_MISBEHAVE", fault);
        inspect(&launcher, &plugin("misbehave"), &options).unwrap()
    };
    let mut found = ask("conditioned");
    assert_eq!(found.problem, None);
    let more = serde_json::json!([
        {"kind": "concat_channels", "column": "low", "dropout": 0.25},
        {"kind": "feature_pyramid", "column": "low", "dropout": 0},
        {"kind": "view_volume", "projections": "views", "half_side": 0.5, "depth_range": [1, 2.5], "dropout": 0.1},
        {"kind": "multi_view", "attention": "row_wise", "domains": 2},
        {"kind": "camera_pose", "column": "pose", "dropout": 0},
    ]);
    let more: Vec<dsl_loader::Injection> = serde_json::from_value(more).unwrap();
    found.conditioning.extend(more);
    says(
        &found.to_string(),
        &[
            "on 64 noised samples of `test`",
            "  cross_attention from `name`, dropped in 10 % of samples",
            "  class_label from `label` of 3 classes, dropped in 10 % of samples",
            "  grounding_tokens from boxes `boxes`, phrases `phrases` and mask `mask`, dropped in 10 % of samples",
            "  learned_tokens <dot> from the word `point`",
            "  camera_regression of `elevation` and `inverse_focal`, weight 1",
            "  concat_channels from `low`, dropped in 25 % of samples",
            "  feature_pyramid from `low`, dropped in 0 % of samples",
            "  view_volume from `views`, cube of half side 0.5, depths 1 to 2.5, dropped in 10 % of samples",
            "  multi_view row-wise, 2 domains",
            "  camera_pose from `pose`, dropped in 0 % of samples",
            "text [2]",
        ],
    );
    let text = ask("measures-samples").to_string();
    says(
        &text,
        &["on 64 samples drawn under the conditions of `test`"],
    );
}

/// What programs read: keys may come, and none may go without another number in `format`.
#[test]
fn the_keys_of_the_json_are_these() {
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let launcher = launcher("NOTHING", "");
    let options = CheckOptions {
        filter: Some("loads-twice".to_owned()),
        ..CheckOptions::default()
    };
    let found = inspect(&launcher, &plugin("mixture"), &options).unwrap();
    let found = serde_json::to_value(found).unwrap();
    assert_eq!(found["format"], 1);
    assert_eq!(
        keys(&found).join(" "),
        "format path sha256 bytes problem help manifest assets config host_defaults target conditioning sample_prompts \
         splits evaluator"
    );
    assert_eq!(
        keys(&found["config"][0]).join(" "),
        "key type default description"
    );
    assert_eq!(keys(&found["splits"][0]).join(" "), "name samples columns");
    assert_eq!(
        keys(&found["splits"][0]["columns"][0]).join(" "),
        "name dtype shape role"
    );
    assert_eq!(
        keys(&found["evaluator"]).join(" "),
        "requirements metrics artefacts"
    );
    let report = check(&launcher, &plugin("mixture"), &options, &|_| {}).unwrap();
    let report = serde_json::to_value(report).unwrap();
    assert_eq!(report["format"], 1);
    assert_eq!(
        keys(&report).join(" "),
        "format plugin sha256 conforms counts cases"
    );
    assert_eq!(
        keys(&report["counts"]).join(" "),
        "passed failed crashed skipped warning"
    );
    assert_eq!(
        keys(&report["cases"][0]).join(" "),
        "case rule status message help detail output seconds"
    );
}

#[test]
fn what_was_said_before_a_crash_stays() {
    let ask = |variable, fault, name, seconds| {
        let options = CheckOptions {
            time_limit_secs: seconds,
            ..CheckOptions::default()
        };
        inspect(&launcher(variable, fault), &plugin(name), &options).unwrap()
    };
    let found = ask("DSL_MISBEHAVE", "abort-in-open", "misbehave", None);
    let problem = found.problem.unwrap();
    assert!(
        problem.contains("`misbehave` ended the program in the call `open`"),
        "{problem}"
    );
    assert_eq!(found.manifest.unwrap().id, "misbehave");
    assert!(!found.config.is_empty() && found.splits.is_empty());

    let found = ask("DSL_MISBEHAVE", "hang-in-open", "misbehave", Some(1));
    let problem = found.problem.unwrap();
    assert!(
        problem.contains("the call `open` did not come back within 1 s"),
        "{problem}"
    );
    assert!(found.manifest.is_some());

    let found = ask("DSL_ROUGH", "exit-at-load", "rough", None);
    let problem = found.problem.unwrap();
    assert!(problem.contains("loading the library"), "{problem}");
    assert!(found.manifest.is_none() && found.bytes > 0);

    let found = ask("NOTHING", "", "other_abi", None);
    let problem = found.problem.unwrap();
    assert!(
        problem.contains("another version of the plugin interface"),
        "{problem}"
    );
}

#[test]
fn a_manifest_alone_is_told_without_opening() {
    let options = CheckOptions::default();
    let told = manifest(
        &launcher("DSL_MISBEHAVE", "abort-in-open"),
        &plugin("misbehave"),
        &options,
    );
    assert_eq!(told.unwrap().unwrap().id, "misbehave");
    let told = manifest(
        &launcher("DSL_ROUGH", "panic-in-manifest"),
        &plugin("rough"),
        &options,
    );
    let problem = told.unwrap().unwrap_err();
    assert!(problem.contains("in the call `manifest`"), "{problem}");
}
