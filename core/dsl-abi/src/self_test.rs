//! `dsl.self-test/1`: goes wrong on demand, so that a conformance check sees what a host would see.

use abi_stable::{
    StableAbi,
    std_types::{RResult, RStr},
};

use crate::{AbiError, host::HostObject};

/// Id of [`SelfTestInterface`].
pub const SELF_TEST_V1: &str = "dsl.self-test/1";

/// What stands behind [`SELF_TEST_V1`]. The SDK answers for every plugin that it builds. All functions: `[any thread]`.
#[repr(C)]
#[derive(StableAbi)]
pub struct SelfTestInterface {
    /// Panics with `message` inside the plugin; gives the error that the plugin makes of it.
    pub panic: extern "C" fn(message: RStr<'_>) -> RResult<(), AbiError>,
    /// Logs `message` as information, with the field `number` of 7; `host` is connected first, as `open` does.
    pub log: extern "C" fn(host: HostObject, message: RStr<'_>) -> RResult<(), AbiError>,
    /// Comes back at once, past a log event of the level trace: what a call costs.
    pub nothing: extern "C" fn() -> RResult<(), AbiError>,
}
