//! Builds the plugins that the tests load.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, LazyLock},
};

use dsl_loader::{DatasetHandle, HostColumn, HostColumnData, Plugin, Quiet, TaskHandle};
use serde_json::Value;

/// The folder of the built plugins. They are built once for each run of the tests, in the profile of the tests and into
/// the same target folder, where a build of the workspace finds them ready.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    // target/PROFILE/deps/THIS_TEST
    let profile = env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .arg("build")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("--target-dir")
        .arg(profile.parent().unwrap());
    for package in ["mixture", "t2i", "misbehave", "other-abi"] {
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

pub fn path(crate_name: &str) -> PathBuf {
    FOLDER.join(format!(
        "{}{crate_name}{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    ))
}

pub fn folder() -> &'static Path {
    &FOLDER
}

pub fn open(crate_name: &str) -> Plugin {
    Plugin::open(&path(crate_name), Arc::new(Quiet)).unwrap_or_else(|error| panic!("{error}"))
}

pub fn open_task(plugin: &Plugin, config: &Value) -> TaskHandle {
    plugin
        .open_task(config)
        .unwrap_or_else(|error| panic!("{error}\n{}", error.detail().unwrap_or_default()))
}

/// The samples of `indices`, each with the same seed wherever it stands.
pub fn batch(dataset: &DatasetHandle, indices: &[u64], augment: bool) -> Vec<HostColumn> {
    let seeds: Vec<u64> = indices.iter().map(|index| index * 31 + 5).collect();
    dataset
        .batch(indices, &seeds, augment)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Type, bytes and texts of one column, row by row, for comparison.
pub fn rows(column: &HostColumn) -> Vec<Vec<u8>> {
    match &column.data {
        HostColumnData::Text(texts) => texts.iter().map(|text| text.clone().into_bytes()).collect(),
        HostColumnData::Tensor(tensor) => {
            let rows = usize::try_from(tensor.shape()[0]).unwrap();
            tensor
                .bytes()
                .chunks(tensor.bytes().len() / rows)
                .map(<[u8]>::to_vec)
                .collect()
        }
    }
}
