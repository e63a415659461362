//! Making data sets.

use std::fs;
use std::path::{Path, PathBuf};

use dsl_sdk::image::{Picture, Window};
use dsl_sdk::serde_json::{Value, json};
use dsl_sdk::{Batch, BatchRequest, Dataset, Host, PluginError, Task};

use crate::{DataConfig, Gligen, GligenConfig};

/// A black picture in which `thing` is white.
pub(super) fn picture(width: u32, height: u32, thing: Window) -> Vec<u8> {
    let mut picture = Picture::filled(width, height, [0; 3]);
    picture.fill(thing, [255; 3]);
    picture.to_png().unwrap()
}

pub(super) fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// The defaults for a set at `path`, at a small resolution, with every caption and without mirroring.
pub(super) fn config(path: impl Into<PathBuf>) -> DataConfig {
    DataConfig {
        path: Some(path.into().display().to_string()),
        resolution: 16,
        max_boxes: 4,
        flip: 0.0,
        prob_use_caption: 1.0,
        ..DataConfig::default()
    }
}

pub(super) fn open(data: DataConfig) -> Result<Gligen, PluginError> {
    let config = GligenConfig {
        data,
        ..GligenConfig::default()
    };
    Gligen::open(config, Host::detached())
}

pub(super) fn batch(
    dataset: &dyn Dataset,
    indices: &[u64],
    seeds: &[u64],
    augment: bool,
) -> Result<Batch, PluginError> {
    dataset.batch(&BatchRequest {
        indices,
        seeds,
        augment,
    })
}

/// All samples of a split, as they are.
pub(super) fn all(task: &Gligen, split: &str) -> Result<Batch, PluginError> {
    let dataset = task.dataset(split)?;
    let indices: Vec<u64> = (0..dataset.len()).collect();
    batch(&*dataset, &indices, &indices, false)
}

/// The boxes of the only sample of a batch, with their phrases.
pub(super) fn boxes(batch: &Batch) -> Vec<([f32; 4], String)> {
    let found = crate::drawing::boxes_of(batch, 1).unwrap().remove(0);
    let owned = |(edges, phrase): ([f32; 4], &str)| (edges, phrase.to_owned());
    found.into_iter().map(owned).collect()
}

/// A folder with one picture of 32 × 32 pixels and this record.
pub(super) fn folder_with(record: Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let thing = Window {
        left: 8,
        top: 4,
        width: 16,
        height: 8,
    };
    write(folder.path(), "a.png", picture(32, 32, thing));
    let mut line = json!({"file_name": "a.png"});
    let fields = record.as_object().unwrap().clone();
    line.as_object_mut().unwrap().extend(fields);
    write(folder.path(), "metadata.jsonl", line.to_string());
    folder
}

/// Opens the set, reads everything, and expects an error whose message holds all of `parts`.
#[track_caller]
pub(super) fn check_error(config: DataConfig, parts: &[&str]) {
    let result = open(config).and_then(|task| all(&task, "train"));
    let error = result.expect_err("this set has a flaw");
    for part in parts {
        assert!(
            error.message.contains(part),
            "`{part}` is not in: {}",
            error.message
        );
    }
    assert!(!error.help.is_empty(), "no help with: {}", error.message);
    assert!(!error.message.contains('\n'), "{}", error.message);
}
