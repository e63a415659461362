//! Builds the program and the plugins that the tests run.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The folder of what was built: once for each run of the tests, in the profile of the tests and into the same target
/// folder, where a build of the workspace finds it ready.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    // target/PROFILE/deps/THIS_TEST
    let test = env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).unwrap().to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .arg("build")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("--target-dir")
        .arg(profile.parent().unwrap());
    for package in ["dsl-host", "t2i", "mixture"] {
        cargo.args(["--package", package]);
    }
    // The folder of the profile `dev` is `debug`; the others are called as their profile.
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

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A command line of `dsl-host`.
pub fn dsl_host() -> Command {
    Command::new(FOLDER.join(format!("dsl-host{}", env::consts::EXE_SUFFIX)))
}

/// The built library of a plugin.
pub fn plugin(name: &str) -> PathBuf {
    let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    FOLDER.join(format!("{prefix}{name}{suffix}"))
}
