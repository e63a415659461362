//! What plugins say of themselves, also those that crash over it.

use dsl_test_support::says;
use dsl_testkit::{CheckOptions, inspect, manifest};

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
