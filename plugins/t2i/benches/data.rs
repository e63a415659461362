//! The data path of the emoji set: opening it, and batches of 16 pictures, decoded anew and from memory.
//!
//! `cargo bench -p t2i --bench data`. Divan's items are pictures: its last column is pictures per second.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use dsl_sdk::{BatchRequest, Dataset, Host, Task};
use t2i::{T2i, T2iConfig};

const BATCH: u64 = 16;

fn main() {
    divan::main();
}

/// The emoji set with so much memory for decoded pictures.
fn train_split(cache_mib: u64) -> Box<dyn Dataset> {
    let mut config = T2iConfig::default();
    config.data.cache_mib = cache_mib;
    let task = T2i::open(config, Host::detached()).expect("the set is inside the plugin");
    task.dataset("train").expect("it has a train split")
}

/// Unpacking the shards and reading captions; pictures are not yet decoded.
#[divan::bench(sample_count = 20)]
fn open() -> u64 {
    train_split(0).len()
}

/// Every picture is decoded and resized.
#[divan::bench]
fn batch_cold(bencher: Bencher) {
    batches(bencher, &*train_split(0));
}

/// Every picture is in memory: crop, mirror and conversion to numbers are left.
#[divan::bench]
fn batch_warm(bencher: Bencher) {
    let dataset = train_split(512);
    for first in (0..dataset.len()).step_by(BATCH as usize) {
        read(&*dataset, first);
    }
    batches(bencher, &*dataset);
}

fn batches(bencher: Bencher, dataset: &dyn Dataset) {
    let mut first = 0;
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(move || {
            read(dataset, first);
            first = (first + BATCH) % dataset.len();
        });
}

fn read(dataset: &dyn Dataset, first: u64) {
    let indices: Vec<u64> = (first..first + BATCH)
        .map(|index| index % dataset.len())
        .collect();
    let seeds = vec![7; indices.len()];
    let request = BatchRequest {
        indices: &indices,
        seeds: &seeds,
        augment: true,
    };
    black_box(
        dataset
            .batch(&request)
            .expect("pictures that are inside the plugin"),
    );
}
