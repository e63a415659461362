//! Working memory that a thread keeps between calls: the large pieces would otherwise be fresh pages each time.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `job` with `len` elements of unspecified values: NaN in tests, so that an element that is forgotten shows.
pub(crate) fn with<R>(len: usize, job: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut memory = take(len);
    if cfg!(debug_assertions) {
        memory[..len].fill(f32::NAN);
    }
    let result = job(&mut memory[..len]);
    FREE.with_borrow_mut(|free| free.push(memory));
    result
}

/// The smallest buffer that is large enough; where there is none, the largest makes way for a new one.
fn take(len: usize) -> Vec<f32> {
    FREE.with_borrow_mut(|free| {
        let large_enough = (0..free.len())
            .filter(|i| free[*i].len() >= len)
            .min_by_key(|i| free[*i].len());
        if let Some(i) = large_enough {
            return free.swap_remove(i);
        }
        if let Some(i) = (0..free.len()).max_by_key(|i| free[*i].len()) {
            free.swap_remove(i);
        }
        vec![0.0; len]
    })
}
