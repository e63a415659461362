//! Work on several threads.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

thread_local! {
    /// Whether this thread does a piece of shared work.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` for each of `0..count` on up to `threads` threads, this one among them, and comes back when all is done.
///
/// A thread that waits here does nothing else meanwhile, and a piece that shares work itself does all of it: a piece
/// never begins in the middle of another, which may hold a lock that it needs. That is what a pool whose threads take
/// over each other's work would do, and why the threads are new ones.
pub(super) fn share(threads: usize, count: u64, work: &(dyn Fn(u64) + Sync)) {
    let helpers = count
        .saturating_sub(1)
        .min(threads.saturating_sub(1) as u64);
    if WITHIN.get() || helpers == 0 {
        return (0..count).for_each(work);
    }
    let next = AtomicU64::new(0);
    let take_pieces = || {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                WITHIN.set(false);
            }
        }
        WITHIN.set(true);
        let _leave = Leave;
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                index if index < count => work(index),
                _ => break,
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            // Where the system gives no more threads, those that are there do the work.
            let started = thread::Builder::new()
                .name("plugin-work".to_owned())
                .spawn_scoped(scope, take_pieces);
            if started.is_err() {
                break;
            }
        }
        take_pieces();
    });
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::{Mutex, mpsc},
        time::Duration,
    };

    use super::*;

    #[test]
    fn every_piece_is_done_once_on_several_threads() {
        let done = Mutex::new(vec![0; 100]);
        let threads = Mutex::new(HashSet::new());
        share(3, 100, &|index| {
            done.lock().unwrap()[index as usize] += 1;
            threads.lock().unwrap().insert(thread::current().id());
            thread::sleep(Duration::from_millis(1));
        });
        assert!(done.into_inner().unwrap().iter().all(|&times| times == 1));
        let threads = threads.into_inner().unwrap();
        assert_eq!(threads.len(), 3);
        assert!(threads.contains(&thread::current().id()));
        share(3, 0, &|_| panic!("there is no piece"));
    }

    /// In a thread of its own, which the test does not wait for: a deadlock fails, and does not hang.
    #[test]
    fn work_may_be_shared_under_a_lock() {
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let lock = Mutex::new(0);
            share(8, 64, &|_| {
                let mut sum = lock.lock().unwrap();
                let inner = AtomicU64::new(0);
                share(8, 64, &|index| {
                    inner.fetch_add(index, Ordering::Relaxed);
                });
                *sum += inner.into_inner();
            });
            tell.send(lock.into_inner().unwrap()).unwrap();
        });
        let sum = told.recv_timeout(Duration::from_secs(60));
        assert_eq!(sum, Ok(64 * 2016));
    }
}
