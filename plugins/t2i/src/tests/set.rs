//! Making data sets.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use dsl_sdk::{BatchRequest, ColumnData, Dataset, Host, PluginError, Task};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use crate::{DataConfig, T2i, T2iConfig};

pub(super) const FORMATS: [(&str, ImageFormat); 3] = [
    ("png", ImageFormat::Png),
    ("jpg", ImageFormat::Jpeg),
    ("webp", ImageFormat::WebP),
];

/// A picture of one colour.
pub(super) fn picture(color: [u8; 3], format: ImageFormat) -> Vec<u8> {
    encoded(RgbImage::from_pixel(20, 12, Rgb(color)), format)
}

/// A picture in which every column and row differs.
pub(super) fn pattern(width: u32, height: u32) -> Vec<u8> {
    let pixel = |x: u32, y: u32| {
        Rgb([
            (x * 255 / width) as u8,
            (y * 255 / height) as u8,
            ((x * 7 + y * 13) % 256) as u8,
        ])
    };
    encoded(RgbImage::from_fn(width, height, pixel), ImageFormat::Png)
}

fn encoded(image: RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image)
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

pub(super) fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

pub(super) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(super) fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The defaults for a set at `path`, at a small resolution.
pub(super) fn config(path: impl Into<PathBuf>) -> DataConfig {
    DataConfig {
        path: Some(path.into().display().to_string()),
        resolution: 8,
        ..DataConfig::default()
    }
}

pub(super) fn open(config: DataConfig) -> Result<T2i, PluginError> {
    T2i::open(T2iConfig { data: config }, Host::detached())
}

pub(super) type Rows = Vec<(Vec<f32>, String)>;

/// The samples at `indices`: values and caption of each.
pub(super) fn rows(
    dataset: &dyn Dataset,
    indices: &[u64],
    seeds: &[u64],
    augment: bool,
) -> Result<Rows, PluginError> {
    let batch = dataset.batch(&BatchRequest {
        indices,
        seeds,
        augment,
    })?;
    let (shape, values) = batch.f32("image")?;
    let Some(ColumnData::Text(captions)) = batch.column("caption") else {
        panic!("no captions")
    };
    assert_eq!((shape[0], shape.len()), (indices.len() as u64, 4));
    let size = values.len() / indices.len();
    Ok(values
        .chunks(size)
        .map(<[f32]>::to_vec)
        .zip(captions.iter().cloned())
        .collect())
}

/// All samples of a split, not augmented.
pub(super) fn all(task: &T2i, split: &str) -> Rows {
    let dataset = task.dataset(split).unwrap();
    let indices: Vec<u64> = (0..dataset.len()).collect();
    rows(&*dataset, &indices, &indices, false).unwrap()
}

pub(super) fn captions(task: &T2i, split: &str) -> Vec<String> {
    all(task, split)
        .into_iter()
        .map(|(_, caption)| caption)
        .collect()
}

/// Opens the set, reads everything, and expects an error whose message holds all of `parts`.
#[track_caller]
pub(super) fn check_error(config: DataConfig, parts: &[&str]) {
    let result = open(config).and_then(|task| {
        let dataset = task.dataset("train")?;
        let indices: Vec<u64> = (0..dataset.len()).collect();
        rows(&*dataset, &indices, &indices, false)
    });
    let error = result.expect_err("this set has a flaw");
    for part in parts {
        assert!(
            error.message.contains(part),
            "`{part}` is not in: {}",
            error.message
        );
    }
    assert!(!error.help.is_empty(), "no help with: {}", error.message);
}
