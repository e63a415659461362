//! Where the pictures are: the emoji set inside, or what the config names.

use dsl_sdk::PluginError;
pub(crate) use dsl_sdk::picture_set::{Located, Location};
use dsl_sdk::picture_set::{Wanted, locate as locate_path};

use crate::config::DataConfig;
use crate::emoji;

/// Finds the splits that the config names.
pub(crate) fn locate(config: &DataConfig) -> Result<Located, PluginError> {
    match &config.path {
        None => Ok(Located {
            train: Location::Shards(emoji::train()),
            test: Some(Location::Shards(emoji::test())),
            notes: Vec::new(),
        }),
        Some(path) => locate_path(&Wanted {
            path,
            format: config.format,
            train_split: &config.train_split,
            test_split: config.test_split.as_deref(),
        }),
    }
}
