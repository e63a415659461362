//! `dsl.buckets/1`: datasets whose targets have one of several shapes, such as pictures of several aspect ratios.
//!
//! A host that does not know the interface sees a target whose lengths are not fixed, and says so before it trains.

use abi_stable::{
    StableAbi,
    std_types::{RResult, RString, RVec},
};

use crate::{AbiError, task::DatasetObject};

/// Id of [`BucketsInterface`].
pub const BUCKETS_V1: &str = "dsl.buckets/1";

/// What stands behind [`BUCKETS_V1`]. Both functions: `[any thread]`; the same at every call; no picture is decoded. `dataset`
/// is one that this plugin made.
///
/// All samples of one batch are of one bucket, and their target has its shape. [`crate::check::check_buckets`] and
/// [`crate::check::check_target`] have the rules.
#[repr(C)]
#[derive(StableAbi)]
pub struct BucketsInterface {
    /// JSON array of the buckets: each is the shape of the target of its samples, as `[channels, height, width]`. The first one
    /// is what samples are drawn at where nothing else says; it may have no sample. An empty array: the dataset has no
    /// buckets.
    pub shapes: extern "C" fn(dataset: &DatasetObject) -> RResult<RString, AbiError>,
    /// For each of the samples `first..first + count` the number of its bucket, from 0.
    pub of_samples: extern "C" fn(
        dataset: &DatasetObject,
        first: u64,
        count: u64,
    ) -> RResult<RVec<u32>, AbiError>,
}
