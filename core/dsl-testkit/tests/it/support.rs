//! Builds the plugins, and puts cases to them.

use std::{env, path::PathBuf, sync::LazyLock};

use dsl_test_support::Built;
use dsl_testkit::{CheckOptions, Launcher, Report, check, is_child, run_child};

/// Built once for each run of the tests.
static BUILT: LazyLock<Built> =
    LazyLock::new(|| Built::of(&["mixture", "t2i", "misbehave", "rough", "other-abi"]));

/// The built library of a plugin.
pub fn plugin(name: &str) -> PathBuf {
    BUILT.plugin(name)
}

/// The test that children are: this program with its name as the filter.
#[test]
fn child() {
    if is_child() {
        run_child();
    }
}

/// Starts children with a variable set, which says what is wrong with a plugin. The variable goes through `env`, since
/// tests of one process must not change each other's environment.
pub fn launcher(variable: &str, fault: &str) -> Launcher {
    let program = env::current_exe().unwrap();
    let set = format!("{variable}={fault}");
    Launcher::of(
        "env",
        [
            set.as_ref(),
            program.as_os_str(),
            "--exact".as_ref(),
            "it::support::child".as_ref(),
            "--nocapture".as_ref(),
        ],
    )
}

pub fn report(name: &str, variable: &str, fault: &str, options: &CheckOptions) -> Report {
    check(&launcher(variable, fault), &plugin(name), options, &|_| {})
        .unwrap_or_else(|error| panic!("{error}"))
}
