//! Working memory that a thread keeps between calls: the large pieces would otherwise be fresh pages each time.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `job` with `len` elements of unspecified values.
pub(crate) fn with<R>(len: usize, job: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut memory = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    let result = job(&mut memory[..len]);
    FREE.with_borrow_mut(|free| free.push(memory));
    result
}
