//! The set inside the plugin: 602 + 132 crops of photographs from the air, with boxes around trees.
//!
//! Sample photographs and annotations of DeepForest, Copyright (c) 2019 Ben Weinstein, MIT; the licence lies beside the data.

use dsl_sdk::picture_set::{Located, Location};
use dsl_sdk::webdataset::ShardSource;

const TRAIN: &[u8] = include_bytes!("../data/aerial/train-000000.tar.gz");
const TEST: &[u8] = include_bytes!("../data/aerial/test-000000.tar.gz");

/// Both splits.
pub(crate) fn located() -> Located {
    let shard = |name: &str, bytes| {
        Location::Shards(vec![ShardSource::Embedded {
            name: format!("aerial/{name}"),
            bytes,
        }])
    };
    Located {
        train: shard("train-000000.tar.gz", TRAIN),
        test: Some(shard("test-000000.tar.gz", TEST)),
        notes: Vec::new(),
    }
}
