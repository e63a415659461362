//! Peak memory of loading a network, over the size of the loaded network: `cargo bench -p dsl-host -p dsl-nets --bench memory`.
//!
//! Each case is a process of its own, so that its peak is its own, and less what that process had in use before. Pages of the
//! file count as long as they are mapped. Linux only: elsewhere the system does not say.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use burn::tensor::Device;
use dsl_nets::{
    LoadOptions, OneOrMany, ParameterInit, SaveOptions, UNet2DCondition, UNet2DConditionConfig,
    WeightDType, load_folder, save_parts,
};
use dsl_test_support::{ProcessMemory, Watch};

/// How a network is stored, and what it is loaded as.
struct Case {
    name: &'static str,
    stored: WeightDType,
    shard_bytes: Option<u64>,
    loaded: WeightDType,
}

const CASES: &[Case] = &[
    case("f32 as f32", WeightDType::F32, WeightDType::F32),
    case("f32 as f16", WeightDType::F32, WeightDType::F16),
    case("f32 as bf16", WeightDType::F32, WeightDType::Bf16),
    Case {
        shard_bytes: Some(SHARD_BYTES),
        ..case("f32 in shards as f32", WeightDType::F32, WeightDType::F32)
    },
    case("f16 as f32", WeightDType::F16, WeightDType::F32),
    case("f16 as f16", WeightDType::F16, WeightDType::F16),
];

const SHARD_BYTES: u64 = 256_000_000;

const fn case(name: &'static str, stored: WeightDType, loaded: WeightDType) -> Case {
    Case {
        name,
        stored,
        shard_bytes: None,
        loaded,
    }
}

fn main() {
    // As the program does: what is freed stays with it, and counts.
    dsl_kernels::keep_freed_memory();
    let words: Vec<String> = std::env::args().collect();
    if let [_, case, folder] = &words[..]
        && let Some(case) = CASES.iter().find(|known| known.name == case)
    {
        return measure(case, Path::new(folder));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for case in CASES {
        let path = folder.path().join(format!(
            "{:?}-{}",
            case.stored,
            case.shard_bytes.unwrap_or_default()
        ));
        if !path.exists() {
            write(case, &path);
        }
        let program = std::env::current_exe().expect("a program has a file");
        let status = Command::new(program).arg(case.name).arg(&path).status();
        assert!(status.expect("it starts").success(), "{} failed", case.name);
    }
}

/// A UNet of 265 million parameters, in the form of Stable Diffusion's.
fn config() -> UNet2DConditionConfig {
    UNet2DConditionConfig {
        block_out_channels: vec![176, 352, 704, 704],
        cross_attention_dim: OneOrMany::One(768),
        norm_num_groups: 16,
        ..UNet2DConditionConfig::default()
    }
}

fn write(case: &Case, folder: &Path) {
    let config = config();
    let init = ParameterInit::new(0, &Device::flex());
    let unet = UNet2DCondition::new(&config, &init).expect("a UNet");
    let options = SaveOptions {
        dtype: case.stored,
        max_shard_bytes: case.shard_bytes.unwrap_or(u64::MAX),
    };
    save_parts(&unet, &config, &serde_json::Map::new(), folder, &options).expect("a folder");
}

/// Loads the network, and prints the peak of it.
fn measure(case: &Case, folder: &Path) {
    let options = LoadOptions {
        dtype: case.loaded,
        ..LoadOptions::default()
    };
    let device = Device::flex();
    let before = ProcessMemory::now().expect("Linux says how much memory a process has");
    let watch = Watch::begin();
    let begun = Instant::now();
    let loaded = load_folder::<UNet2DCondition>(folder, &options, &device).expect("a network");
    let seconds = begun.elapsed().as_secs_f64();
    let most = watch.end();
    let parameters = burn::module::Module::num_params(&loaded.module) as u64;
    let size = (parameters * case.loaded.bytes() as u64) as f64;
    let over = |bytes: u64, before: u64| (bytes - before) as f64 / size;
    println!(
        "{:20} {:6.1} MB, peak {:.3} of it (allocated {:.3}, pages of files {:.3}), {seconds:.2} s",
        case.name,
        size / 1e6,
        over(most.peak, before.resident),
        over(most.anonymous, before.anonymous),
        over(most.file, before.file),
    );
}
