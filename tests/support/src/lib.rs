//! What the tests and benches of several crates share: plugins and the program as cargo builds them, assertions about texts,
//! and the memory of a process.
//!
//! Used by tests and benches alone, and depends on nothing.

mod memory;

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

pub use memory::{ProcessMemory, Watch};

/// Packages of the workspace that have been built for the tests that run.
#[derive(Debug)]
pub struct Built {
    folder: PathBuf,
}

impl Built {
    /// Builds `packages` in the profile of the running test and into the same target folder, where a build of the workspace
    /// finds them ready.
    ///
    /// # Panics
    /// When they do not build, with what cargo says.
    pub fn of(packages: &[&str]) -> Self {
        // target/PROFILE/deps/THIS_TEST
        let test = env::current_exe().expect("a test has a file");
        let mut folders = test.ancestors().skip(2);
        let (profile, target) = (folders.next(), folders.next());
        let (profile, target) = profile
            .zip(target)
            .expect("a test lies in target/PROFILE/deps");
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .arg("build")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("--target-dir")
            .arg(target);
        for package in packages {
            cargo.args(["--package", package]);
        }
        // The folder of the profile `dev` is `debug`; the others are called as their profile.
        match profile.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => {}
            Some(name) => {
                cargo.args(["--profile", name]);
            }
        }
        let output = cargo.output().expect("cargo runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self {
            folder: profile.to_owned(),
        }
    }

    /// Where everything lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The library of a plugin.
    pub fn plugin(&self, name: &str) -> PathBuf {
        let (prefix, suffix) = (env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        self.folder.join(format!("{prefix}{name}{suffix}"))
    }

    /// The file of a program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder
            .join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }
}

/// All of `parts` are in `text`.
///
/// # Panics
/// With the first part that is not, and the text.
#[track_caller]
pub fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}
