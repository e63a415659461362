//! Loops compiled once for each width of vectors, the widest that the processor has chosen when they run.

use pulp::{Arch, Simd, WithSimd};

#[cfg(test)]
thread_local! {
    /// What a test wants to see in place of this processor's best.
    pub(crate) static FORCED: std::cell::Cell<Option<Arch>> = const { std::cell::Cell::new(None) };
}

/// The widest vectors of this processor.
pub(crate) fn arch() -> Arch {
    #[cfg(test)]
    if let Some(arch) = FORCED.get() {
        return arch;
    }
    Arch::new()
}

/// Runs `job` in a copy of its code for [`arch`].
///
/// The closure has to be `#[inline(always)]`, else it stays outside of that copy and gets the narrowest vectors.
#[inline(always)]
pub(crate) fn wide<R>(job: impl FnMut() -> R) -> R {
    arch().dispatch(Job(job))
}

/// `FnMut` rather than `FnOnce`, which pulp takes: a closure that could run twice is called once through a function of its
/// own, which is not inlined.
struct Job<F>(F);

impl<R, F: FnMut() -> R> WithSimd for Job<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}
