//! Files that travel inside the plugin.

use dsl_sdk::Asset;

/// A file of `plugins/t2i/assets`, under its own name.
#[allow(unused_macros)] // Used by the lines of `ASSETS`, of which there may be none.
macro_rules! asset {
    ($name:literal) => {
        Asset {
            name: $name,
            bytes: include_bytes!(concat!("../assets/", $name)),
        }
    };
}

/// The files, one line each, such as `asset!("base.safetensors")`.
pub(crate) const ASSETS: &[Asset] = &[];
