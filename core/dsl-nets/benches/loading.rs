//! Loading a network from safetensors, against copying the bytes of the file: `cargo bench -p dsl-nets`.
//!
//! The file is in the page cache: what is measured is what loading adds to reading.

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::Device;
use divan::Bencher;
use divan::counter::BytesCount;
use dsl_nets::{
    LoadOptions, ParameterInit, SaveOptions, UNet2DCondition, UNet2DConditionConfig, WeightDType,
    load_folder, save_parts,
};

fn main() {
    divan::main();
}

/// A UNet of 64 million parameters, in a folder that stays until the program ends.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    &FOLDER
        .get_or_init(|| {
            let config = UNet2DConditionConfig {
                block_out_channels: vec![96, 192, 320, 320],
                norm_num_groups: 16,
                ..UNet2DConditionConfig::default()
            };
            let init = ParameterInit::new(0, &Device::flex());
            let unet = UNet2DCondition::new(&config, &init).expect("a UNet");
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().to_owned();
            let none = serde_json::Map::new();
            save_parts(&unet, &config, &none, &path, &SaveOptions::default()).expect("a file");
            (folder, path)
        })
        .1
}

fn file() -> PathBuf {
    folder().join("diffusion_pytorch_model.safetensors")
}

fn bytes() -> BytesCount {
    BytesCount::new(std::fs::metadata(file()).expect("a file").len())
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn copy_bytes(bencher: Bencher<'_, '_>) {
    let file = file();
    bencher
        .counter(bytes())
        .bench(|| std::fs::read(&file).expect("a file"));
}

fn load(bencher: Bencher<'_, '_>, dtype: WeightDType) {
    let folder = folder();
    let options = LoadOptions {
        dtype,
        ..LoadOptions::default()
    };
    bencher.counter(bytes()).bench(|| {
        load_folder::<UNet2DCondition>(folder, &options, &Device::flex()).expect("a network")
    });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn load_f32(bencher: Bencher<'_, '_>) {
    load(bencher, WeightDType::F32);
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn load_as_f16(bencher: Bencher<'_, '_>) {
    load(bencher, WeightDType::F16);
}
