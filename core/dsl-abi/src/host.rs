//! What the host lends to a plugin.

use abi_stable::{
    StableAbi, sabi_trait,
    std_types::{RArc, ROption, RStr},
};

use crate::Service;

/// Importance of a log record, as a number: 1 error, 2 warning, 3 information, 4 debugging, 5 tracing.
/// A number outside that range reads as the nearest.
#[repr(transparent)]
#[derive(StableAbi, Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RawLevel(pub u8);

impl RawLevel {
    /// Something failed.
    pub const ERROR: Self = Self(1);
    /// Something is likely not what the user wants.
    pub const WARN: Self = Self(2);
    /// What a user wants to know.
    pub const INFO: Self = Self(3);
    /// What a developer wants to know.
    pub const DEBUG: Self = Self(4);
    /// Everything.
    pub const TRACE: Self = Self(5);
}

/// One log record, lent for one call.
#[repr(C)]
#[derive(StableAbi, Debug, Clone, Copy)]
pub struct LogRecord<'a> {
    /// Importance.
    pub level: RawLevel,
    /// Where in the program it belongs, such as `t2i::dataset`; the host filters by it.
    pub target: RStr<'a>,
    /// Source file; may be empty.
    pub file: RStr<'a>,
    /// Source line; 0 when unknown.
    pub line: u32,
    /// Text of the record.
    pub message: RStr<'a>,
    /// Its fields as a JSON object; may be empty.
    pub fields: RStr<'a>,
}

/// What the host lends to a plugin with `open`. Implementations never unwind.
#[sabi_trait]
pub trait HostInterface: Send + Sync {
    /// `[any thread]` Whether a record of this level and target would be kept. Cheap, and asked before a record is
    /// made.
    fn log_enabled(&self, level: RawLevel, target: RStr<'_>) -> bool;
    /// `[any thread]` Keeps a record.
    fn log(&self, record: &LogRecord<'_>);
    /// `[any thread]` Whether the user asked for a stop. Long work asks from time to time and ends with
    /// [`crate::RawErrorCode::CANCELLED`].
    fn cancelled(&self) -> bool;
    /// `[any thread]` Reports that `done` of `total` steps of long work are done; `total` 0 means unknown. `what` names
    /// the work, such as `reading shards`.
    fn progress(&self, done: u64, total: u64, what: RStr<'_>);
    /// `[any thread]` A service of the host, or nothing when it has none by that id; see [`crate::services`].
    #[sabi(last_prefix_field)]
    fn service(&self, id: RStr<'_>) -> ROption<Service>;
}

/// The host, as a plugin holds it.
pub type HostObject = HostInterface_TO<'static, RArc<()>>;
