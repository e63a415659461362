//! Which crate may use which: the two stacks, plugins and training, meet in the host alone.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::support::workspace;

/// Every crate of the workspace with all that it may use of the others.
const ALLOWED: &[(&str, &[&str])] = &[
    ("dsl-abi", &[]),
    ("dsl-sdk", &["dsl-abi", "dsl-metrics"]),
    ("dsl-loader", &["dsl-abi", "dsl-test-support"]),
    ("dsl-testkit", &["dsl-loader", "dsl-test-support"]),
    ("dsl-kernels", &[]),
    ("dsl-nets", &["dsl-kernels", "dsl-test-support"]),
    (
        "dsl-engine",
        &["dsl-kernels", "dsl-nets", "dsl-test-support"],
    ),
    ("dsl-metrics", &[]),
    ("dsl-render", &[]),
    ("dsl-views", &["dsl-render", "dsl-sdk"]),
    (
        "dsl-host",
        &["dsl-engine", "dsl-loader", "dsl-nets", "dsl-testkit"],
    ),
    ("t2i", &["dsl-sdk"]),
    ("mixture", &["dsl-sdk"]),
    ("gligen", &["dsl-sdk"]),
    ("textual-inversion", &["dsl-sdk"]),
    ("stablesr", &["dsl-sdk"]),
    ("syncdreamer", &["dsl-render", "dsl-sdk", "dsl-views"]),
    ("era3d", &["dsl-render", "dsl-sdk", "dsl-views"]),
    ("quickstart", &[]),
    ("dsl-tests", &["dsl-test-support"]),
    ("dsl-test-support", &[]),
    ("misbehave", &["dsl-sdk"]),
    ("other-abi", &["dsl-abi"]),
    ("rough", &["dsl-abi"]),
];

/// Libraries that only some crates may use: the engine runs without plugins, and plugins without the engine.
const RESERVED: &[(&str, &[&str])] = &[
    (
        "burn",
        &["dsl-kernels", "dsl-nets", "dsl-engine", "dsl-host"],
    ),
    ("gemm", &["dsl-kernels"]),
    ("pulp", &["dsl-kernels"]),
    ("clap", &["dsl-host"]),
    ("libloading", &["dsl-loader"]),
    ("abi_stable", &["dsl-abi", "other-abi"]),
];

/// Crates of the workspace, and the names that each depends on, for whatever purpose.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                name(package),
                package["dependencies"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(name)
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn crates_use_what_they_may() {
    let mut found = dependencies();
    let members: BTreeSet<String> = found.keys().cloned().collect();
    for used in found.values_mut() {
        used.retain(|name| members.contains(name));
    }
    let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let allowed: BTreeMap<String, BTreeSet<String>> = ALLOWED
        .iter()
        .map(|&(name, used)| (name.to_owned(), set(used)))
        .collect();
    assert_eq!(found, allowed);
}

#[test]
fn heavy_libraries_stay_on_their_side() {
    for (package, used) in dependencies() {
        for (library, users) in RESERVED {
            assert!(
                !used.contains(*library) || users.contains(&package.as_str()),
                "{package} uses {library}"
            );
        }
    }
}
