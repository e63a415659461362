//! Each fault is named by the case that is there for it.

use dsl_test_support::says;
use dsl_testkit::{
    CheckOptions,
    Status::{self, Crashed, Failed, Passed, Skipped, Warning},
    check,
};

use super::support::{launcher_with, plugin, report};

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
    rough(
        "null-pointer",
        case,
        Failed,
        &["memory for column `point`", "a null pointer to 8 bytes"],
    );
    rough(
        "text-null",
        case,
        Failed,
        &["memory for column `text`", "a null pointer"],
    );
    rough(
        "endless-memory",
        case,
        Failed,
        &["memory for column `point`", "more than there can be"],
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
        ("depends-on-neighbours", "large-batch"),
        ("depends-on-tasks", "two-tasks-at-once"),
        ("columns-change", "same-columns-at-every-call"),
    ] {
        misbehaves(fault, case, Failed, &[]);
    }
}

#[test]
fn seeds_that_change_nothing_are_told() {
    misbehaves(
        "none",
        "seeds-change-augmented-samples",
        Skipped,
        &["no sample changes"],
    );
    rough(
        "remembers-errors",
        "usable-after-an-error",
        Failed,
        &["sample 0 is another one"],
    );
}

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
        "needs-discriminator",
        "evaluator-many-samples",
        Failed,
        &["eps_pred/discriminator"],
    );
    misbehaves(
        "evaluator-split",
        "evaluator-requirements",
        Failed,
        &["`nowhere`"],
    );
    misbehaves(
        "panic-without-truth",
        "evaluator-missing-column",
        Failed,
        &["update of the evaluator", "told to panic without truth"],
    );
}

#[test]
fn data_beyond_what_its_injection_says() {
    for (fault, said) in [
        (
            "label-out-of-range",
            "column `label` has the class 3, expected 0..3",
        ),
        (
            "box-out-of-range",
            "column `boxes` has the box [0.25, 0.25, 1.5, 0.5]",
        ),
        ("mask-between", "column `mask` has the value 0.5"),
        (
            "phrase-without-box",
            "column `phrases` has the phrase `part 1",
        ),
        (
            "elevation-in-degrees",
            "column `elevation` has the value 30, expected radians",
        ),
    ] {
        misbehaves(fault, "conditioning-in-range", Failed, &[said]);
    }
    misbehaves(
        "token-never-said",
        "learned-tokens-said",
        Failed,
        &["says `<dot>`", "such as `point "],
    );
}

#[test]
fn conditions_of_a_user() {
    misbehaves(
        "any-inputs",
        "conditions-unknown-key-refused",
        Failed,
        &["for the unknown input `no_such_key_as_this`"],
    );
    let called = "plugin `misbehave`, conditions: ";
    misbehaves(
        "panic-in-conditions",
        "conditions-unknown-key-refused",
        Failed,
        &[called, "told to panic in conditions"],
    );
    misbehaves(
        "panic-on-odd-input",
        "conditions-odd-inputs",
        Failed,
        &[called, "told to panic at an odd input"],
    );
    misbehaves(
        "conditions-twice",
        "conditions-odd-inputs",
        Failed,
        &[
            called,
            "column `name`: expected 1 texts for 1 samples, found 2",
        ],
    );
    misbehaves(
        "conditions-change",
        "conditions-repeatable",
        Failed,
        &["a second time: column `name` of sample 0 differs"],
    );
    rough(
        "conditions-target",
        "conditions-repeatable",
        Failed,
        &["conditions: ", "the target `point` among them"],
    );
}

#[test]
fn pictures_of_samples() {
    let called = "plugin `misbehave`, picture: ";
    misbehaves(
        "panic-in-picture",
        "picture-with-and-without-truth",
        Failed,
        &[called, "told to panic in a picture"],
    );
    misbehaves(
        "picture-needs-truth",
        "picture-with-and-without-truth",
        Failed,
        &[called, "column `point`"],
    );
    misbehaves(
        "picture-changes",
        "picture-repeatable",
        Failed,
        &["another picture"],
    );
    misbehaves(
        "panic-on-missing-condition",
        "picture-missing-column",
        Failed,
        &[called, "told to panic without names"],
    );
    misbehaves(
        "pictures-nothing",
        "picture-missing-column",
        Failed,
        &["without the column `generated`"],
    );
    rough(
        "picture-four-channels",
        "picture-repeatable",
        Failed,
        &["plugin `rough`, picture: ", "found u8 [2, 2, 4]"],
    );
    rough(
        "picture-null",
        "picture-repeatable",
        Failed,
        &["memory for column `picture`", "a null pointer to 12 bytes"],
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_not_given_back() {
    // 4,000 bytes of every batch.
    let most = CheckOptions {
        filter: Some("memory-returned".to_owned()),
        ..CheckOptions::default()
    };
    let found = report("misbehave", "DSL_MISBEHAVE", "leaks", &most);
    assert_eq!(found.cases[0].status, Failed, "{found}");
    rough(
        "never-released",
        "memory-returned",
        Failed,
        &["MB more after"],
    );
    misbehaves(
        "slow-before-open",
        "no-work-before-open",
        Failed,
        &["the limit is 100 ms"],
    );
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

/// Samples of 12.5 MB: the questions ask for no more of them than memory holds.
#[test]
fn large_samples_are_not_taken_for_a_crash() {
    for case in ["cancellation-honoured", "large-batch"] {
        misbehaves("large", case, Passed, &[]);
    }
}

#[test]
fn work_under_a_lock_is_no_deadlock() {
    let case = "columns-agree-with-batches";
    misbehaves("works-under-lock", case, Passed, &[]);
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

/// What a plugin starts ends with its question.
#[cfg(target_os = "linux")]
#[test]
fn no_process_is_left_behind() {
    // Its argument is how it is found.
    let seconds = format!("60.{}", std::process::id());
    let is_there = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        (processes)
            .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
            .any(|line| line == format!("sleep\0{seconds}\0").as_bytes())
    };
    let options = CheckOptions {
        filter: Some("default-config-opens".to_owned()),
        time_limit_secs: Some(1),
        ..CheckOptions::default()
    };
    let variables = [
        ("DSL_MISBEHAVE", "leaves-process"),
        ("DSL_MISBEHAVE_SLEEP", seconds.as_str()),
    ];
    let launcher = launcher_with(&variables);
    let done = std::sync::atomic::AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut seen = false;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                seen |= is_there();
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            seen
        });
        let report = check(&launcher, &plugin("misbehave"), &options, &|_| {}).unwrap();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(report.cases[0].status, Failed, "{report}");
        watch.join().unwrap()
    });
    assert!(seen && !is_there(), "{seen}");
}

#[test]
fn buckets_that_do_not_hold_are_named() {
    misbehaves(
        "buckets-change",
        "buckets-do-not-change",
        Failed,
        &["the buckets of split `train` change"],
    );
    misbehaves(
        "other-buckets-shape",
        "buckets-fit-samples",
        Failed,
        &[
            "column `point`",
            "the shape [2] of their bucket",
            "found [3]",
        ],
    );
    misbehaves(
        "no-such-bucket",
        "train-not-empty",
        Failed,
        &[
            "the buckets of split `train`",
            "sample 7 is of bucket 2, and there are 2",
        ],
    );
    misbehaves("in-buckets", "mixed-buckets-refused", Passed, &[]);
    misbehaves(
        "none",
        "mixed-buckets-refused",
        Skipped,
        &["not two buckets"],
    );
}
