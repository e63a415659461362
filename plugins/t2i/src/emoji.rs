//! The emoji set inside the plugin: 1,441 + 165 pictures of 64 × 64 pixels with captions and keywords.
//!
//! Fluent Emoji, Copyright (c) Microsoft Corporation, packaged by LobeHub; names and keywords: unicode-emoji-json and emojilib,
//! Copyright (c) Mu-An Chiou. All under the MIT licence; its texts lie beside the data in `data/emoji`.

use dsl_sdk::webdataset::ShardSource;

macro_rules! shard {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../data/emoji/", $name)).as_slice(),
        )
    };
}

const TRAIN: [(&str, &[u8]); 3] = [
    shard!("train-000000.tar.gz"),
    shard!("train-000001.tar.gz"),
    shard!("train-000002.tar.gz"),
];
const TEST: [(&str, &[u8]); 1] = [shard!("test-000000.tar.gz")];

/// Captions of the train split that differ in colour, shape and subject, and can be told apart at 32 × 32 pixels.
pub(crate) const SAMPLE_PROMPTS: [&str; 8] = [
    "red apple",
    "grinning face",
    "red heart",
    "sunflower",
    "soccer ball",
    "crescent moon",
    "evergreen tree",
    "police car",
];

/// The shards of the train split.
pub(crate) fn train() -> Vec<ShardSource> {
    embedded(&TRAIN)
}

/// The shards of the test split.
pub(crate) fn test() -> Vec<ShardSource> {
    embedded(&TEST)
}

fn embedded(shards: &[(&str, &'static [u8])]) -> Vec<ShardSource> {
    shards
        .iter()
        .map(|(name, bytes)| ShardSource::Embedded {
            name: format!("emoji/{name}"),
            bytes,
        })
        .collect()
}
