//! What it costs to bring a batch of 50 MB from a plugin into tensor data.
//!
//! ```text
//! cargo bench --package dsl-host --bench batch
//! ```

use std::{env, process::Command, sync::Arc};

use divan::Bencher;
use dsl_host::bridge::feed::tensor_data;
use dsl_loader::{DatasetHandle, HostColumnData, HostTensor, Plugin, Quiet};
use serde_json::json;

fn main() {
    divan::main();
}

const SAMPLES: usize = 4;
const FLOATS: usize = 3 * 1024 * 1024;

/// A data set with batches of 50 MB that are made before they are asked for.
fn dataset() -> DatasetHandle {
    // target/PROFILE/deps/THIS_BENCH
    let bench = env::current_exe().expect("the system says where a program lies");
    let profile = bench.ancestors().nth(2).expect("Cargo put it there");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--package", "misbehave", "--target-dir"])
        .arg(profile.parent().expect("target"))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("Cargo runs").success());
    let name = format!(
        "{}misbehave{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    );
    Plugin::open(&profile.join(name), Arc::new(Quiet))
        .and_then(|plugin| plugin.open_task(&json!({"fault": "large"})))
        .and_then(|task| task.dataset("train"))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn tensor(dataset: &DatasetHandle) -> HostTensor {
    let columns = dataset.batch(&[0, 1, 2, 3], &[0; SAMPLES], false);
    let columns = columns.unwrap_or_else(|error| panic!("{error}"));
    let tensors = columns.into_iter().find_map(|column| match column.data {
        HostColumnData::Tensor(tensor) => Some(tensor),
        HostColumnData::Text(_) => None,
    });
    tensors.expect("the plugin sends points")
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn batch_of_50_megabytes(bencher: Bencher) {
    let dataset = dataset();
    let shape = [SAMPLES, FLOATS, 1, 1];
    // One batch to see that nothing is copied.
    let first = tensor(&dataset);
    let address = first.bytes().as_ptr();
    let data = tensor_data(first, shape);
    assert_eq!(data.as_bytes().as_ptr(), address, "the numbers were copied");
    bencher.bench_local(|| tensor_data(tensor(&dataset), shape));
}
