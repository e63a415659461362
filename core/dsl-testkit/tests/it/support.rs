//! Builds the plugins, and puts cases to them.

use std::{env, ffi::OsString, path::PathBuf, process::Command, sync::LazyLock};

use dsl_testkit::{CheckOptions, Launcher, Report, check, is_child, run_child};

/// The folder of the built plugins; see the tests of dsl-loader.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap().to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .arg("build")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("--target-dir")
        .arg(profile.parent().unwrap());
    for package in ["mixture", "t2i", "misbehave", "rough", "other-abi"] {
        cargo.args(["--package", package]);
    }
    match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => {}
        Some(name) => {
            cargo.args(["--profile", name]);
        }
    }
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    profile
});

/// The built library of a plugin.
pub fn plugin(name: &str) -> PathBuf {
    FOLDER.join(format!(
        "{}{name}{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    ))
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
