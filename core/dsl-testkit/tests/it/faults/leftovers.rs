//! What a plugin leaves behind: memory, threads and processes, as Linux tells of them.

use dsl_testkit::{CheckOptions, Status::Failed, check};

use super::{misbehaves, rough};
use crate::it::support::{launcher_with, plugin, report};

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

/// What a plugin starts ends with its question.
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
