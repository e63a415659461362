//! The cases, by what they look at.

mod buckets;
mod conditioning;
mod conditions;
mod config;
mod evaluator;
mod file;
mod manifest;
mod picture;
mod repeat;
pub(crate) mod resources;
mod task;
mod wrong_calls;

use crate::{Case, case::Outcome, context::Context};

const fn case(name: &'static str, rule: &'static str, run: fn(&Context) -> Outcome) -> Case {
    Case {
        name,
        rule,
        time_limit_secs: 60,
        run,
    }
}

pub(crate) fn all() -> Vec<Case> {
    [
        file::CASES,
        manifest::CASES,
        config::CASES,
        task::CASES,
        conditioning::CASES,
        repeat::CASES,
        wrong_calls::CASES,
        buckets::CASES,
        conditions::CASES,
        picture::CASES,
        evaluator::CASES,
        resources::CASES,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::all;

    #[test]
    fn names_are_unique_and_plain_and_rules_are_sentences() {
        let cases = all();
        assert!(cases.len() >= 40, "{}", cases.len());
        let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        for case in cases {
            assert!(
                (case.name.bytes())
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{}",
                case.name
            );
            assert!(
                case.rule.len() > 20 && !case.rule.ends_with('.'),
                "{}",
                case.name
            );
        }
    }
}
