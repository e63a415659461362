//! Each fault is named by the case that is there for it.

use dsl_test_support::says;
use dsl_testkit::{CheckOptions, Status};

use super::support::report;

mod batches;
mod buckets;
mod ends;
mod evaluators;
#[cfg(target_os = "linux")]
mod leftovers;
mod library;
mod panics;
mod shown;

/// Puts one case to a plugin with a fault.
#[track_caller]
fn named(plugin: &str, fault: &str, case: &str, status: Status, parts: &[&str]) {
    let variable = match plugin {
        "rough" => "DSL_ROUGH",
        _ => "DSL_MISBEHAVE",
    };
    let options = CheckOptions {
        filter: Some(case.to_owned()),
        time_limit_secs: Some(match fault {
            "hang-at-exit" => 6,
            hangs if hangs.starts_with("hang") => 1,
            _ => 60,
        }),
        soak_batches: 2_000,
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
