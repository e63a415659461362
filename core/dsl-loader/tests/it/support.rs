//! Builds the plugins that the tests load.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use dsl_loader::{DatasetHandle, HostColumn, HostColumnData, Plugin, Quiet, TaskHandle};
use dsl_test_support::Built;
use serde_json::Value;

/// Built once for each run of the tests.
static BUILT: LazyLock<Built> =
    LazyLock::new(|| Built::of(&["mixture", "t2i", "misbehave", "other-abi"]));

pub fn path(crate_name: &str) -> PathBuf {
    BUILT.plugin(crate_name)
}

pub fn folder() -> &'static Path {
    BUILT.folder()
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
