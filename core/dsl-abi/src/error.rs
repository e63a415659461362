//! How a failed call crosses the boundary.

use abi_stable::{StableAbi, std_types::RString};

/// Why a call failed, as a number. An open set: a code that the reader does not know reads as [`RawErrorCode::OTHER`].
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawErrorCode(pub u32);

impl RawErrorCode {
    /// None of the others.
    pub const OTHER: Self = Self(0);
    /// The configuration asks for something that cannot be.
    pub const CONFIG: Self = Self(1);
    /// A file or folder could not be read or written.
    pub const IO: Self = Self(2);
    /// The host asked for a stop.
    pub const CANCELLED: Self = Self(3);
    /// A panic was caught.
    pub const PANIC: Self = Self(4);
    /// The plugin does not offer what was asked for.
    pub const UNSUPPORTED: Self = Self(5);
    /// One side broke a rule of the boundary.
    pub const CONTRACT: Self = Self(6);
}

/// A failed call: what went wrong, what to do, and what only a developer wants to read.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, PartialEq, Eq)]
pub struct AbiError {
    /// Why.
    pub code: RawErrorCode,
    /// What happened, and where: one line, no full stop.
    pub message: RString,
    /// What to do about it; may be empty.
    pub help: RString,
    /// Anything longer, such as a backtrace; may be empty.
    pub detail: RString,
}
