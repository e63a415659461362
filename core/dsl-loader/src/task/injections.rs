//! The injections of a description, held against the rules that need no column.

use std::fmt::Debug;

use crate::Injection;

/// Something other than what has to be.
#[derive(Debug)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) found: String,
}

/// One rule of one injection.
struct Rule {
    /// What has to be.
    expected: &'static str,
    /// Whether it is.
    holds: bool,
    /// What is.
    found: String,
}

fn rule(expected: &'static str, holds: bool, found: &dyn Debug) -> Rule {
    Rule {
        expected,
        holds,
        found: format!("{found:?}"),
    }
}

/// Each kind is there at most once, and its numbers and words can be.
pub(super) fn check_injections(injections: &[Injection]) -> Result<(), Mismatch> {
    for (index, injection) in injections.iter().enumerate() {
        let kind = injection.kind();
        let earlier = &injections[..index];
        if earlier.iter().any(|earlier| earlier.kind() == kind) {
            return Err(Mismatch {
                expected: format!("injection {kind} at most once"),
                found: "two of it".to_owned(),
            });
        }
        if let Some(broken) = rules(injection).into_iter().find(|rule| !rule.holds) {
            return Err(Mismatch {
                expected: format!("{} for injection {kind}", broken.expected),
                found: broken.found,
            });
        }
    }
    Ok(())
}

fn rules(injection: &Injection) -> Vec<Rule> {
    let share = |dropout: &f64| rule("a dropout in 0..1", (0.0..=1.0).contains(dropout), dropout);
    match injection {
        Injection::CrossAttention { dropout, .. }
        | Injection::ConcatChannels { dropout, .. }
        | Injection::GroundingTokens { dropout, .. }
        | Injection::FeaturePyramid { dropout, .. }
        | Injection::CameraPose { dropout, .. } => vec![share(dropout)],
        Injection::ClassLabel {
            classes, dropout, ..
        } => vec![
            share(dropout),
            rule("1 class or more", *classes >= 1, classes),
        ],
        Injection::LearnedTokens {
            tokens,
            initializer,
        } => {
            let are_unique = (tokens.iter().enumerate())
                .all(|(index, token)| !token.is_empty() && !tokens[..index].contains(token));
            let is_known = !initializer.is_empty() && !tokens.contains(initializer);
            vec![
                rule("1 token or more", !tokens.is_empty(), tokens),
                rule("tokens that differ and are not empty", are_unique, tokens),
                rule(
                    "an initializer that is a word beside the tokens",
                    is_known,
                    initializer,
                ),
            ]
        }
        Injection::ViewVolume {
            half_side,
            depth_range,
            dropout,
            ..
        } => {
            let [near, far] = *depth_range;
            let is_range = 0.0 < near && near < far && far.is_finite();
            let is_length = *half_side > 0.0 && half_side.is_finite();
            vec![
                share(dropout),
                rule("a half_side above 0", is_length, half_side),
                rule(
                    "a depth_range above 0 whose second number is the greater one",
                    is_range,
                    depth_range,
                ),
            ]
        }
        Injection::MultiView { domains, .. } => {
            vec![rule("1 domain or more", *domains >= 1, domains)]
        }
        Injection::CameraRegression { weight, .. } => {
            let is_weight = *weight >= 0.0 && weight.is_finite();
            vec![rule("a weight of 0 or more", is_weight, weight)]
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(injections: Value) -> String {
        let injections: Vec<Injection> = serde_json::from_value(injections).unwrap();
        match check_injections(&injections) {
            Ok(()) => "fine".to_owned(),
            Err(Mismatch { expected, found }) => format!("expected {expected}, found {found}"),
        }
    }

    /// One of each kind, all of them right.
    fn all() -> Vec<Value> {
        vec![
            json!({"kind": "cross_attention", "column": "a", "dropout": 0.1}),
            json!({"kind": "class_label", "column": "a", "classes": 1, "dropout": 0}),
            json!({"kind": "concat_channels", "column": "a", "dropout": 1}),
            json!({"kind": "grounding_tokens", "boxes": "a", "phrases": "b", "mask": "c", "dropout": 0.5}),
            json!({"kind": "learned_tokens", "tokens": ["<a>", "<b>"], "initializer": "toy"}),
            json!({"kind": "feature_pyramid", "column": "a", "dropout": 0}),
            json!({"kind": "view_volume", "projections": "a", "half_side": 0.5, "depth_range": [1, 2], "dropout": 0}),
            json!({"kind": "multi_view", "attention": "row_wise", "domains": 2}),
            json!({"kind": "camera_pose", "column": "a", "dropout": 0}),
            json!({"kind": "camera_regression", "elevation": "a", "inverse_focal": "b", "weight": 0}),
        ]
    }

    #[test]
    fn all_kinds_may_be_there_once_and_none_twice() {
        assert_eq!(check(json!(all())), "fine");
        for injection in all() {
            let kind = injection["kind"].as_str().unwrap();
            assert_eq!(
                check(json!([injection, injection])),
                format!("expected injection {kind} at most once, found two of it")
            );
        }
    }

    #[test]
    fn numbers_and_words_that_cannot_be_are_refused() {
        let spoilt = |key: &str, value: Value, expected: &str| {
            let mut count = 0;
            for mut injection in all() {
                let kind = injection["kind"].as_str().unwrap().to_owned();
                let Some(place) = injection.get_mut(key) else {
                    continue;
                };
                *place = value.clone();
                let said = check(json!([injection]));
                let expected = expected.replace("KIND", &kind);
                assert_eq!(said, format!("expected {expected}"), "{kind}");
                count += 1;
            }
            count
        };
        let dropout = "a dropout in 0..1 for injection KIND, found";
        assert_eq!(spoilt("dropout", json!(1.5), &format!("{dropout} 1.5")), 7);
        assert_eq!(
            spoilt("dropout", json!(-0.1), &format!("{dropout} -0.1")),
            7
        );
        for (key, value, expected) in [
            (
                "classes",
                json!(0),
                "1 class or more for injection KIND, found 0",
            ),
            (
                "tokens",
                json!([]),
                "1 token or more for injection KIND, found []",
            ),
            (
                "tokens",
                json!(["<a>", ""]),
                r#"tokens that differ and are not empty for injection KIND, found ["<a>", ""]"#,
            ),
            (
                "tokens",
                json!(["<a>", "<a>"]),
                r#"tokens that differ and are not empty for injection KIND, found ["<a>", "<a>"]"#,
            ),
            (
                "initializer",
                json!(""),
                r#"an initializer that is a word beside the tokens for injection KIND, found """#,
            ),
            (
                "initializer",
                json!("<b>"),
                r#"an initializer that is a word beside the tokens for injection KIND, found "<b>""#,
            ),
            (
                "half_side",
                json!(0),
                "a half_side above 0 for injection KIND, found 0.0",
            ),
            (
                "depth_range",
                json!([0, 1]),
                "a depth_range above 0 whose second number is the greater one for injection KIND, found [0.0, 1.0]",
            ),
            (
                "depth_range",
                json!([2, 2]),
                "a depth_range above 0 whose second number is the greater one for injection KIND, found [2.0, 2.0]",
            ),
            (
                "domains",
                json!(0),
                "1 domain or more for injection KIND, found 0",
            ),
            (
                "weight",
                json!(-1),
                "a weight of 0 or more for injection KIND, found -1.0",
            ),
        ] {
            assert_eq!(spoilt(key, value, expected), 1, "{key}");
        }
    }
}
