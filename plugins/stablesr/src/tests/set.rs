//! Making data sets.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use dsl_sdk::{Batch, BatchRequest, Dataset, Host, PluginError, Task};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use crate::{DataConfig, StableSr, StableSrConfig};

/// A picture in which every column and row differs.
pub(super) fn pattern(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([
            (x * 255 / width) as u8,
            (y * 255 / height) as u8,
            ((x * 7 + y * 13) % 256) as u8,
        ])
    })
}

pub(super) fn encoded(image: RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image)
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

pub(super) fn png(width: u32, height: u32) -> Vec<u8> {
    encoded(pattern(width, height), ImageFormat::Png)
}

pub(super) fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Targets of 16 × 16 pixels from a folder.
pub(super) fn config(path: &Path) -> StableSrConfig {
    StableSrConfig {
        data: DataConfig {
            path: Some(path.display().to_string()),
            size: 16,
            ..DataConfig::default()
        },
        ..StableSrConfig::default()
    }
}

pub(super) fn open(config: &StableSrConfig) -> Result<StableSr, PluginError> {
    StableSr::open(config.clone(), Host::detached())
}

pub(super) fn split(config: &StableSrConfig, name: &str) -> Box<dyn Dataset> {
    open(config).unwrap().dataset(name).unwrap()
}

pub(super) fn batch(dataset: &dyn Dataset, indices: &[u64], seeds: &[u64], augment: bool) -> Batch {
    let request = BatchRequest {
        indices,
        seeds,
        augment,
    };
    dataset.batch(&request).unwrap()
}

/// Opens the set, reads everything, and expects an error whose message holds all of `parts`.
#[track_caller]
pub(super) fn check_error(config: &StableSrConfig, parts: &[&str]) {
    let result = open(config).and_then(|task| {
        let dataset = task.dataset("train")?;
        let indices: Vec<u64> = (0..dataset.len()).collect();
        dataset.batch(&BatchRequest {
            indices: &indices,
            seeds: &indices,
            augment: false,
        })
    });
    let error = result.expect_err("this set has a flaw");
    for part in parts {
        assert!(
            error.message.contains(part),
            "`{part}` is not in: {}",
            error.message
        );
    }
}
