//! Hands compiler and target to the crate, so that a plugin's manifest can state what built it, and for what.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let version = env::var_os("RUSTC")
        .and_then(|rustc| Command::new(rustc).arg("--version").output().ok())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .unwrap_or_default();
    println!("cargo::rustc-env=DSL_SDK_RUSTC={}", version.trim());
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=DSL_SDK_TARGET={target}");
}
