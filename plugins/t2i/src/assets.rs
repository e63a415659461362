//! Files that travel inside the plugin.

use dsl_sdk::Asset;

/// A file of `plugins/t2i/assets`, under its own name.
macro_rules! asset {
    ($name:literal) => {
        Asset {
            name: $name,
            bytes: include_bytes!(concat!("../assets/", $name)),
        }
    };
}

/// The files, one line each.
pub(crate) const ASSETS: &[Asset] = &[asset!("base.safetensors")];
