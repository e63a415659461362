//! Sharing work out among threads, so that the numbers do not depend on how many there are.
//!
//! Each value is computed by one thread in an order that follows from the shapes alone. Threads decide when that happens.

mod awake;

use std::cell::Cell;

use burn::tensor::Tensor;
use gemm::Parallelism;
use rayon::prelude::*;

use crate::route;

thread_local! {
    static SEQUENTIAL: Cell<bool> = const { Cell::new(false) };
}

/// Runs `job` with all operations of this crate on the calling thread alone.
///
/// For callers that fill the cores with threads of their own. The numbers are the same either way.
pub fn sequential<R>(job: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SEQUENTIAL.set(self.0);
        }
    }
    let _restore = Restore(SEQUENTIAL.replace(true));
    job()
}

/// Runs `job` on one of the threads among which operations are shared out.
///
/// For whatever calls many operations: a thread from outside sleeps while its operation is worked on and is woken up
/// afterwards, each time. The other threads stay [awake] between the operations. The numbers are the same either way.
///
/// Not with a lock held, or on a graph that another thread works on: while an operation is waited for, its thread may begin with
/// another job.
pub fn together<R: Send>(job: impl FnOnce() -> R + Send) -> R {
    if SEQUENTIAL.get() {
        job()
    } else {
        rayon::scope(|_| awake::during(job))
    }
}

/// Runs `job` as [`together`] does where `x`, which it starts from, is a tensor of the CPU off any autodiff graph; elsewhere on
/// the calling thread: other devices keep what belongs to a thread, and graphs are locked while they are worked on, when a
/// thread that waits must not begin with another job.
pub fn together_on<const D: usize, R: Send>(x: &Tensor<D>, job: impl FnOnce() -> R + Send) -> R {
    if route::is_off_graph(&x.clone().into_dispatch()) {
        together(job)
    } else {
        job()
    }
}

/// Work worth less than this many elements or so stays on one thread.
const GRAIN: usize = 16 * 1024;

/// Whether work is shared out; if so, the threads are asked to stay awake for what follows.
fn share(work: usize) -> bool {
    let shared = work >= 2 * GRAIN && threads() > 1;
    if shared {
        awake::ask();
    }
    shared
}

/// Threads that work may be shared out among. Nothing that decides numbers may depend on it.
pub(crate) fn threads() -> usize {
    if SEQUENTIAL.get() {
        1
    } else {
        rayon::current_num_threads()
    }
}

/// Products of fewer multiplications stay on one thread.
pub(crate) const GEMM_GRAIN: usize = 2 * GRAIN * 64;

/// What a matrix product of `work` multiplications may use.
pub(crate) fn for_gemm(work: usize) -> Parallelism {
    if share(work / 64) {
        Parallelism::Rayon(0)
    } else {
        Parallelism::None
    }
}

/// Calls `job` with each of `pieces` and its index; `work` is the cost of all, in elements touched once.
pub(crate) fn each<T: Send>(pieces: Vec<T>, work: usize, job: impl Fn(usize, T) + Sync + Send) {
    if pieces.len() < 2 || !share(work) {
        for (index, piece) in pieces.into_iter().enumerate() {
            job(index, piece);
        }
        return;
    }
    let per_grain = (pieces.len() * GRAIN / work).max(1);
    pieces
        .into_par_iter()
        .enumerate()
        .with_min_len(per_grain)
        .for_each(|(index, piece)| job(index, piece));
}

/// Cuts a buffer into pieces of `size` elements, the last one shorter.
pub(crate) fn pieces<T>(buffer: &mut [T], size: usize) -> Vec<&mut [T]> {
    buffer.chunks_mut(size.max(1)).collect()
}

/// The size of pieces for work that goes element by element.
pub(crate) const PIECE: usize = 8 * 1024;

/// How many rows of `len` elements make up a piece of about that size.
pub(crate) fn rows_per_piece(len: usize) -> usize {
    (PIECE / len.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::{SEQUENTIAL, each, pieces, sequential};

    #[test]
    fn every_piece_is_visited_once_on_any_number_of_threads() {
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut values = vec![0.0f32; 100_003];
            let work = values.len();
            pool.install(|| {
                each(pieces(&mut values, 1000), work, |index, piece| {
                    piece.iter_mut().for_each(|value| *value += index as f32);
                });
            });
            assert!(
                values
                    .iter()
                    .enumerate()
                    .all(|(i, value)| *value == (i / 1000) as f32)
            );
        }
    }

    #[test]
    fn sequential_ends_with_its_job() {
        sequential(|| {
            assert!(SEQUENTIAL.get());
            sequential(|| ());
            assert!(SEQUENTIAL.get());
        });
        assert!(!SEQUENTIAL.get());
    }
}
