//! What the boundary costs: a call, a batch of 50 MB, loading.
//!
//! ```text
//! cargo bench --package dsl-loader
//! ```

use std::{env, path::PathBuf, process::Command, sync::Arc, sync::LazyLock};

use divan::{Bencher, black_box};
use dsl_loader::{DatasetHandle, HostColumnData, Plugin, Quiet};
use serde_json::json;

fn main() {
    divan::main();
}

/// The folder of the plugins, built in the profile of the benches.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    // target/PROFILE/deps/THIS_BENCH
    let bench = env::current_exe().expect("the system says where a program lies");
    let profile = bench
        .ancestors()
        .nth(2)
        .expect("Cargo put it there")
        .to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--package", "misbehave", "--package", "mixture"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("--target-dir")
        .arg(profile.parent().expect("target"));
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.status().expect("Cargo runs").success());
    profile
});

fn path(name: &str) -> PathBuf {
    FOLDER.join(format!(
        "{}{name}{}",
        env::consts::DLL_PREFIX,
        env::consts::DLL_SUFFIX
    ))
}

fn open(name: &str) -> Plugin {
    Plugin::open(&path(name), Arc::new(Quiet)).unwrap_or_else(|error| panic!("{error}"))
}

fn dataset(fault: &str) -> DatasetHandle {
    let task = open("misbehave").open_task(&json!({ "fault": fault }));
    task.and_then(|task| task.dataset("train"))
        .unwrap_or_else(|error| panic!("{error}"))
}

/// There and back, with the panic guard, a disabled log event, and the host's note of where it is.
#[divan::bench]
fn call(bencher: Bencher) {
    // Opening a task connects the log, whose filter then disables the event.
    let _connected = dataset("none");
    let test = open("misbehave")
        .self_test()
        .ok()
        .flatten()
        .expect("the SDK brings one");
    bencher.bench_local(|| black_box(&test).nothing());
}

/// 50.3 MB that the plugin has ready, to bytes in the host's hands; the memory is the plugin's own.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn batch_of_50_megabytes(bencher: Bencher) {
    let dataset = dataset("large");
    bencher.bench_local(|| {
        dataset
            .batch(black_box(&[0, 1, 2, 3]), &[0; 4], false)
            .unwrap_or_else(|error| panic!("{error}"))
    });
}

/// A batch of two small samples with texts, checked.
#[divan::bench]
fn small_batch(bencher: Bencher) {
    let dataset = dataset("none");
    bencher.bench_local(|| {
        let batch = dataset.batch(black_box(&[3, 5]), &[0; 2], false);
        let columns = batch.unwrap_or_else(|error| panic!("{error}"));
        assert!(matches!(columns[0].data, HostColumnData::Tensor(_)));
        columns
    });
}

/// A plugin that this process has not loaded yet: hash, load, check of layouts, manifest.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn load(bencher: Bencher) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bytes = std::fs::read(path("mixture")).expect("it is built");
    let mut number = 0;
    bencher
        .with_inputs(|| {
            // Under a new name each time: what is loaded already would cost nothing.
            number += 1;
            let copy = folder.path().join(format!("mixture-{number}.so"));
            std::fs::write(&copy, &bytes).expect("there is room");
            copy
        })
        .bench_local_values(|copy| {
            Plugin::open(&copy, Arc::new(Quiet)).unwrap_or_else(|error| panic!("{error}"))
        });
}
