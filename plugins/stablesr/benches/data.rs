//! The data path: opening the photographs inside, one sample of each degradation, and batches of 16, decoded anew and from memory.
//!
//! `cargo bench -p stablesr --bench data`. Divan's items are pictures: its last column is pictures per second. A step at the
//! default size takes a few tenths of a second, so that a batch may take as long on one thread.

use std::hint::black_box;
use std::path::Path;

use divan::Bencher;
use divan::counter::ItemsCount;
use dsl_sdk::{BatchRequest, Dataset, Host, Task};
use image::{Rgb, RgbImage};
use stablesr::{DataConfig, Degradation, StableSr, StableSrConfig};

const DEGRADATIONS: [Degradation; 2] = [Degradation::Bicubic, Degradation::RealEsrgan];

fn main() {
    divan::main();
}

/// The train split of the photographs inside, or of a folder.
fn train_split(data: DataConfig, degradation: Degradation) -> Box<dyn Dataset> {
    let config = StableSrConfig {
        data,
        degradation,
        ..StableSrConfig::default()
    };
    let task = StableSr::open(config, Host::detached()).expect("pictures that can be read");
    task.dataset("train").expect("it has a train split")
}

/// Unpacking the shards; pictures are not yet decoded.
#[divan::bench(sample_count = 20)]
fn open() -> u64 {
    train_split(DataConfig::default(), Degradation::Bicubic).len()
}

/// One sample of 48 × 48 pixels, its picture in memory.
#[divan::bench(args = DEGRADATIONS)]
fn sample_48(bencher: Bencher, degradation: Degradation) {
    let dataset = train_split(DataConfig::default(), degradation);
    batches(bencher, &*dataset, 1, true);
}

/// 16 samples of 48 × 48 pixels, every picture decoded anew.
#[divan::bench(args = DEGRADATIONS)]
fn batch_cold(bencher: Bencher, degradation: Degradation) {
    let data = DataConfig {
        cache_mib: 0,
        ..DataConfig::default()
    };
    batches(bencher, &*train_split(data, degradation), 16, false);
}

/// The same from memory.
#[divan::bench(args = DEGRADATIONS)]
fn batch_warm(bencher: Bencher, degradation: Degradation) {
    batches(
        bencher,
        &*train_split(DataConfig::default(), degradation),
        16,
        true,
    );
}

/// One sample of 512 × 512 pixels, its picture in memory.
#[divan::bench(args = DEGRADATIONS, sample_count = 10)]
fn sample_512(bencher: Bencher, degradation: Degradation) {
    let folder = tempfile::tempdir().expect("a folder to write to");
    photograph(&folder.path().join("a.png"));
    let data = DataConfig {
        path: Some(folder.path().display().to_string()),
        size: 512,
        ..DataConfig::default()
    };
    batches(bencher, &*train_split(data, degradation), 1, true);
}

/// 600 × 600 pixels, as AID has them, with something in each.
fn photograph(path: &Path) {
    let picture = RgbImage::from_fn(600, 600, |x, y| {
        Rgb([
            (x * y % 251) as u8,
            (x + 3 * y) as u8,
            (x * x / 97 + y) as u8,
        ])
    });
    picture.save(path).expect("a folder to write to");
}

/// Batches of other samples each time.
fn batches(bencher: Bencher, dataset: &dyn Dataset, count: u64, warm: bool) {
    if warm {
        for index in 0..dataset.len() {
            read(dataset, index, 1);
        }
    }
    let mut first = 0;
    bencher
        .counter(ItemsCount::new(count))
        .bench_local(move || {
            read(dataset, first, count);
            first = (first + count) % dataset.len();
        });
}

fn read(dataset: &dyn Dataset, first: u64, count: u64) {
    let indices: Vec<u64> = (first..first + count)
        .map(|index| index % dataset.len())
        .collect();
    let request = BatchRequest {
        indices: &indices,
        seeds: &indices,
        augment: true,
    };
    black_box(dataset.batch(&request).expect("pictures that can be read"));
}
