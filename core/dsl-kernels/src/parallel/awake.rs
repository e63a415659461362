//! Threads that stay awake between the operations of one job.
//!
//! A training step is hundreds of operations with a little work of one thread in between. Threads of rayon go to sleep after a
//! few microseconds without work, and waking one up takes longer than many an operation, most of all on a virtual machine.
//! So for as long as a job is under way, idle threads go on looking for work for a while, as those of OpenMP do.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rayon::Yield;

/// Jobs under way.
static JOBS: AtomicUsize = AtomicUsize::new(0);

/// Whether all threads have been asked to stay awake, and none has gone to sleep since.
static ASKED: AtomicBool = AtomicBool::new(false);

/// How long a thread without work stays awake.
const PATIENCE: Duration = Duration::from_micros(500);

/// How long a thread looks for work at most before it has to be asked again.
const SHIFT: Duration = Duration::from_millis(20);

thread_local! {
    /// Runs a job itself, or looks for work already: has nothing to gain by looking for work.
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Undoes what was done for a job, also if it panics.
struct Restore {
    busy: bool,
}

impl Drop for Restore {
    fn drop(&mut self) {
        JOBS.fetch_sub(1, Relaxed);
        BUSY.set(self.busy);
        if !self.busy {
            // Were all threads inside jobs of their own when they were asked, none of them would say so.
            ASKED.store(false, Relaxed);
        }
    }
}

/// Runs a job on this thread, one of rayon's. Other threads stay awake for it once it has asked for them.
pub(super) fn during<R>(job: impl FnOnce() -> R) -> R {
    JOBS.fetch_add(1, Relaxed);
    let _restore = Restore {
        busy: BUSY.replace(true),
    };
    job()
}

/// Asks the threads that an operation is about to be shared out among to stay awake, if it is part of a job.
pub(super) fn ask() {
    if BUSY.get() && !ASKED.load(Relaxed) && !ASKED.swap(true, Relaxed) {
        rayon::spawn_broadcast(|_| look_for_work());
    }
}

/// Ends soon in any case: it may have been taken up by a thread that waits for another one's result, and would not notice that
/// it is there.
fn look_for_work() {
    if BUSY.replace(true) {
        return;
    }
    let begin = Instant::now();
    let mut idle_since = begin;
    while JOBS.load(Relaxed) > 0 && begin.elapsed() < SHIFT {
        match rayon::yield_now() {
            Some(Yield::Executed) => idle_since = Instant::now(),
            Some(Yield::Idle) if idle_since.elapsed() < PATIENCE => std::thread::yield_now(),
            _ => break,
        }
    }
    BUSY.set(false);
    ASKED.store(false, Relaxed);
}
