//! How much memory loading takes at its peak: each case in a process of its own, so that the peak is its own. Linux tells it.
//! A network of a gigabyte: `benches/memory.rs`.

use std::env;
use std::path::Path;
use std::process::Command;

use burn::module::Module;
use burn::tensor::Device;
use dsl_nets::{
    LoadOptions, ParameterInit, SaveOptions, UNet2DCondition, UNet2DConditionConfig, WeightDType,
    load_folder, save_parts,
};
use dsl_test_support::ProcessMemory;

/// The folder that a process loads from, and what it loads its numbers as.
const FOLDER: &str = "DSL_TEST_LOAD_FOLDER";
const DTYPE: &str = "DSL_TEST_LOAD_DTYPE";

/// Of the network's size in the type that it is loaded as.
const BOUND: f64 = 1.15;

#[test]
fn loading_takes_little_more_than_the_loaded_network() {
    if let Some(folder) = env::var_os(FOLDER) {
        return load(Path::new(&folder));
    }
    // 36 million parameters, the largest tensor a thirtieth of them.
    let config = UNet2DConditionConfig {
        block_out_channels: vec![64, 128, 256, 256],
        norm_num_groups: 16,
        ..UNet2DConditionConfig::default()
    };
    let unet = UNet2DCondition::new(&config, &ParameterInit::new(0, &Device::flex())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for stored in [WeightDType::F32, WeightDType::F16] {
        let path = folder.path().join(format!("{stored:?}"));
        let options = SaveOptions {
            dtype: stored,
            ..SaveOptions::default()
        };
        save_parts(&unet, &config, &serde_json::Map::new(), &path, &options).unwrap();
        for loaded in ["f32", "f16", "bf16"] {
            let output = Command::new(env::current_exe().unwrap())
                .args([
                    "--exact",
                    "memory::loading_takes_little_more_than_the_loaded_network",
                    "--nocapture",
                ])
                .envs([(FOLDER, path.as_os_str()), (DTYPE, loaded.as_ref())])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            println!("{stored:?} as {loaded}: {text}");
            assert!(
                output.status.success() && text.contains("1 passed"),
                "{text}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// What the process is for.
fn load(folder: &Path) {
    dsl_kernels::keep_freed_memory();
    let dtype = match env::var(DTYPE).unwrap().as_str() {
        "f32" => WeightDType::F32,
        "f16" => WeightDType::F16,
        _ => WeightDType::Bf16,
    };
    let options = LoadOptions {
        dtype,
        ..LoadOptions::default()
    };
    let before = ProcessMemory::now().unwrap().resident;
    let loaded = load_folder::<UNet2DCondition>(folder, &options, &Device::flex()).unwrap();
    let peak = ProcessMemory::now().unwrap().peak - before;
    let size = loaded.module.num_params() * dtype.bytes();
    let share = peak as f64 / size as f64;
    println!("{size} bytes, peak {share:.3} of it");
    assert!(share >= 1.0, "the network itself is part of it: {share}");
    assert!(share < BOUND, "{share} of the network's {size} bytes");
}
