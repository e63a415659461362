//! Services of the host, which a plugin asks for by id: `dsl.parallel/1`, `dsl.cache-dir/1`, `dsl.features/1`.
//!
//! None is mandatory: a plugin works, perhaps more slowly, with a host that offers none of them.

use std::{ffi::c_void, marker::PhantomData};

use abi_stable::{
    StableAbi, sabi_trait,
    std_types::{RArc, RResult, RStr, RString},
};

use crate::{AbiError, Tensor, TensorView};

/// Id of [`ParallelMethods`]: the host's pool of threads.
pub const PARALLEL_V1: &str = "dsl.parallel/1";
/// Id of [`CacheDirMethods`]: a folder for what is expensive to make again.
pub const CACHE_DIR_V1: &str = "dsl.cache-dir/1";
/// Id of [`FeaturesMethods`]: feature networks and distances, run on the host's device.
pub const FEATURES_V1: &str = "dsl.features/1";

/// Work that is done once for each index, lent for one call.
#[repr(C)]
#[derive(StableAbi)]
pub struct Job<'a> {
    context: *const c_void,
    call: unsafe extern "C" fn(*const c_void, u64),
    lifetime: PhantomData<&'a ()>,
}

// SAFETY: `new` takes only `Sync` work, and a job does nothing but share a reference to it.
unsafe impl Send for Job<'_> {}
// SAFETY: as above.
unsafe impl Sync for Job<'_> {}

impl<'a> Job<'a> {
    /// Lends `work`, which must not unwind: whoever makes a job catches panics in it. An unwinding job ends the process.
    pub fn new<F: Fn(u64) + Sync>(work: &'a F) -> Self {
        unsafe extern "C" fn call<F: Fn(u64) + Sync>(context: *const c_void, index: u64) {
            // SAFETY: the pointer comes from the reference below, which outlives the job.
            (unsafe { &*context.cast::<F>() })(index);
        }
        Self {
            context: std::ptr::from_ref(work).cast(),
            call: call::<F>,
            lifetime: PhantomData,
        }
    }

    /// Does the work for one index. `[any thread]`
    pub fn call(&self, index: u64) {
        // SAFETY: context and function came together from `new`, and the lifetime keeps the context alive.
        unsafe { (self.call)(self.context, index) }
    }
}

/// The host's pool of threads.
#[sabi_trait]
pub trait ParallelMethods: Send + Sync {
    /// `[any thread]` How many threads work at once; at least 1.
    fn threads(&self) -> u64;
    /// `[any thread]` Does the job for each of `0..count`, in any order, on any threads, and comes back when all are
    /// done. May be called from within a job, also under a lock that other pieces wait for: what is asked for within a job
    /// is done on its thread.
    #[sabi(last_prefix_field)]
    fn run(&self, count: u64, job: &Job<'_>);
}

/// A folder that belongs to one plugin.
#[sabi_trait]
pub trait CacheDirMethods: Send + Sync {
    /// `[any thread]` Absolute path of an existing folder for this plugin alone, the same in every run. The user may
    /// empty it at any time between runs, and several processes may use it at once.
    #[sabi(last_prefix_field)]
    fn path(&self) -> RResult<RString, AbiError>;
}

/// Feature networks and distances.
///
/// Pictures are `f32 [n, 3, height, width]` in −1..1; resizing and normalising for a network is the host's work. An
/// unknown identifier, and one whose weights are missing, fail with [`crate::RawErrorCode::UNSUPPORTED`] and say how to
/// get it.
#[sabi_trait]
pub trait FeaturesMethods: Send + Sync {
    /// `[any thread]` JSON array of [`crate::declare::FeatureInfo`], unavailable ones included.
    fn describe(&self) -> RResult<RString, AbiError>;
    /// `[any thread]` Features of pictures, `f32 [n, length]`.
    fn extract(&self, id: RStr<'_>, images: &TensorView<'_>) -> RResult<Tensor, AbiError>;
    /// `[any thread]` Distances between the pictures of two batches, pair by pair, `f32 [n]`.
    #[sabi(last_prefix_field)]
    fn distance(
        &self,
        id: RStr<'_>,
        first: &TensorView<'_>,
        second: &TensorView<'_>,
    ) -> RResult<Tensor, AbiError>;
}

/// What stands behind [`PARALLEL_V1`].
pub type ParallelObject = ParallelMethods_TO<'static, RArc<()>>;
/// What stands behind [`CACHE_DIR_V1`].
pub type CacheDirObject = CacheDirMethods_TO<'static, RArc<()>>;
/// What stands behind [`FEATURES_V1`].
pub type FeaturesObject = FeaturesMethods_TO<'static, RArc<()>>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_job_reaches_the_work_it_was_made_of() {
        let sum = AtomicU64::new(0);
        let work = |index: u64| {
            sum.fetch_add(index, Ordering::SeqCst);
        };
        let job = Job::new(&work);
        std::thread::scope(|scope| {
            for index in 0..4 {
                let job = &job;
                scope.spawn(move || job.call(index));
            }
        });
        assert_eq!(sum.load(Ordering::SeqCst), 6);
    }
}
