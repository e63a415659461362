//! Calls that end the process, or do not come back.

use dsl_testkit::{
    CheckOptions,
    Status::{Crashed, Failed, Passed},
};

use super::{misbehaves, rough};
use crate::it::support::report;

#[test]
fn calls_that_do_not_come_back() {
    misbehaves(
        "asks-once",
        "cancellation-honoured",
        Failed,
        &[
            "stopped 0.0 s after a stop before",
            "after a stop meanwhile",
        ],
    );
    rough(
        "hang-at-exit",
        "ends-quietly",
        Failed,
        &["did not end within 3 s, when all was done"],
    );

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
            &["the plugin `misbehave` ", "ended the program", call, way],
        );
    };
    let (batch, case) = ("`batch of dataset `train``", "columns-agree-with-batches");
    ends("abort-in-open", "default-config-opens", "`open`", "SIGABRT");
    ends("abort-in-batch", case, batch, "SIGABRT");
    ends("abort-in-parallel", case, batch, "SIGABRT");
    ends("exit-in-batch", case, batch, "exit");
    ends("stack-overflow", case, batch, "SIGSEGV");
    ends("huge-allocation", case, batch, "SIGABRT");
    ends("huge-allocation", case, "the memory limit, 8590 MB", "");
    let own = "on a thread of its own, during the call `batch of dataset `train``";
    ends("abort-on-own-thread", case, own, "SIGABRT");
    ends("exit-on-own-thread", case, own, "it called `exit`");
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
    let case = "columns-agree-with-batches";
    let batch = "`batch of dataset `train``";
    ends("no-memory", case, batch, "SIGSEGV");
    // Where it is read no call is in progress.
    #[cfg(target_os = "linux")]
    rough(
        "lends-and-unmaps",
        "batch-outlives-its-task",
        Crashed,
        &[
            "`rough` may have ended the program, by lending memory",
            "SIGSEGV",
        ],
    );
    let release = "`release of a batch of dataset `train``";
    ends("text-abort", case, release, "SIGABRT");
    ends(
        "conditions-abort",
        "conditions-odd-inputs",
        "`release of conditions`",
        "SIGABRT",
    );
    ends(
        "picture-abort",
        "picture-repeatable",
        "`release of a picture`",
        "SIGABRT",
    );
    ends(
        "abort-in-release-of-a-wrong-batch",
        case,
        release,
        "SIGABRT",
    );
    rough(
        "abort-at-exit",
        "ends-quietly",
        Crashed,
        &["when all was done", "signal 6"],
    );
    ends("wrong-release", case, release, "SIGABRT");
    ends(
        "panic-in-batch",
        case,
        batch,
        "it called `exit`, or a panic was not caught",
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
fn work_under_a_lock_is_no_deadlock() {
    let case = "columns-agree-with-batches";
    misbehaves("works-under-lock", case, Passed, &[]);
}

/// A plugin that writes without an end fills neither the disk nor the memory, and is stopped when its time is up.
#[test]
fn output_without_an_end_is_cut() {
    let options = CheckOptions {
        filter: Some("same-at-every-call".to_owned()),
        time_limit_secs: Some(2),
        ..CheckOptions::default()
    };
    let report = report("misbehave", "DSL_MISBEHAVE", "shouts", &options);
    let found = &report.cases[0];
    assert_eq!(found.status, Failed, "{found}");
    assert!(found.output.len() <= 64 << 10, "{}", found.output.len());
    assert!(found.message.contains("did not come back"), "{found}");
}
