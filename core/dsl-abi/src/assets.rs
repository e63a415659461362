//! `dsl.assets/1`: files that travel inside a plugin, such as a small base model.

use abi_stable::{
    StableAbi,
    std_types::{ROption, RResult, RSlice, RStr, RString},
};

use crate::AbiError;

/// Id of [`AssetsInterface`].
pub const ASSETS_V1: &str = "dsl.assets/1";

/// What stands behind [`ASSETS_V1`]. Both functions: `[any thread]`.
#[repr(C)]
#[derive(StableAbi)]
pub struct AssetsInterface {
    /// JSON array of the names.
    pub names: extern "C" fn() -> RResult<RString, AbiError>,
    /// The bytes of one file, or nothing when there is none by that name.
    pub get: extern "C" fn(name: RStr<'_>) -> RResult<ROption<RSlice<'static, u8>>, AbiError>,
}
