//! The photographs inside the plugin: 400 + 100 crops of 96 × 96 pixels, seen from the air.
//!
//! Sample photographs of DeepForest, Copyright (c) 2019 Ben Weinstein, MIT; the licence's text lies beside the data in
//! `data/aerial`.

use dsl_sdk::PluginError;
use dsl_sdk::webdataset::{ShardSource, WebDataset};

use crate::dataset::locate::{Entry, Place, Source};

macro_rules! shard {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../data/aerial/", $name)).as_slice(),
        )
    };
}

const TRAIN: [(&str, &[u8]); 2] = [shard!("train-000000.tar.gz"), shard!("train-000001.tar.gz")];
const TEST: [(&str, &[u8]); 1] = [shard!("test-000000.tar.gz")];

/// Ending of the pictures in the shards.
pub(crate) const EXTENSION: &str = "webp";

/// The train split.
pub(crate) fn train() -> Result<Source, PluginError> {
    open(&TRAIN)
}

/// The test split.
pub(crate) fn test() -> Result<Source, PluginError> {
    open(&TEST)
}

fn open(shards: &[(&str, &'static [u8])]) -> Result<Source, PluginError> {
    let sources = shards.iter().map(|(name, bytes)| ShardSource::Embedded {
        name: format!("aerial/{name}"),
        bytes,
    });
    let shards = WebDataset::open(sources.collect())?;
    Ok(Source {
        entries: (0..shards.samples().len())
            .map(|sample| Entry {
                target: Place::Inside(sample),
                low: None,
            })
            .collect(),
        shards: Some(shards),
    })
}
