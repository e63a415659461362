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

/// Captions of the train split that differ in colour, shape and subject, and can be told apart at 32 × 32 pixels. The first eight
/// are the prompts; the others take the places of those that `only` leaves out, and have some of every group.
const PROMPTS: [&str; 28] = [
    "red apple",
    "grinning face",
    "red heart",
    "sunflower",
    "soccer ball",
    "crescent moon",
    "evergreen tree",
    "police car",
    "watermelon",
    "tiger face",
    "ghost",
    "banana",
    "penguin",
    "purple heart",
    "pizza",
    "cactus",
    "thumbs up",
    "light bulb",
    "red circle",
    "trophy",
    "rainbow flag",
    "astronaut",
    "guitar",
    "yellow square",
    "sailboat",
    "waving hand",
    "key",
    "basketball",
];

/// Up to `count` captions of `there`, each of them different.
pub(crate) fn sample_prompts(there: &[&str], count: usize) -> Vec<String> {
    let known = PROMPTS.iter().filter(|prompt| there.contains(prompt));
    let mut prompts: Vec<&str> = known.copied().take(count).collect();
    // Spread over the set, since neighbours in it look alike.
    let step = (there.len() / count.max(1)).max(1);
    let spread = (0..step).flat_map(|start| there.iter().skip(start).step_by(step));
    for text in spread {
        if prompts.len() >= count {
            break;
        }
        if !prompts.contains(text) {
            prompts.push(text);
        }
    }
    prompts.into_iter().map(str::to_owned).collect()
}

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
