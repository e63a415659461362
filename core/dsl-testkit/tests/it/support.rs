//! Builds the plugins, and puts cases to them.

use std::{env, ffi::OsString, path::PathBuf, sync::LazyLock};

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

/// Starts children with a variable set, which says what is wrong with a plugin.
pub fn launcher(variable: &str, fault: &str) -> Launcher {
    launcher_with(&[(variable, fault)])
}

/// Starts children with variables set. They go through `env`, since tests of one process must not change each other's
/// environment.
pub fn launcher_with(variables: &[(&str, &str)]) -> Launcher {
    let program = env::current_exe().unwrap();
    let set = (variables.iter()).map(|(name, value)| OsString::from(format!("{name}={value}")));
    let test = ["--exact", "it::support::child", "--nocapture"].map(OsString::from);
    Launcher::of("env", set.chain([program.into_os_string()]).chain(test))
}

pub fn report(name: &str, variable: &str, fault: &str, options: &CheckOptions) -> Report {
    check(&launcher(variable, fault), &plugin(name), options, &|_| {})
        .unwrap_or_else(|error| panic!("{error}"))
}
