//! What is expensive to make, kept in memory up to a limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// One slot for each of a fixed number of things. What once came in stays, so that every epoch finds the same things ready.
#[derive(Debug)]
pub struct Cache<T> {
    slots: Vec<OnceLock<Arc<T>>>,
    used_bytes: AtomicU64,
    max_bytes: u64,
}

impl<T> Cache<T> {
    /// An empty one.
    pub fn new(slots: usize, max_bytes: u64) -> Self {
        Self {
            slots: (0..slots).map(|_| OnceLock::new()).collect(),
            used_bytes: AtomicU64::new(0),
            max_bytes,
        }
    }

    /// The thing of a slot, made if it is not there, and kept if there is room. `size_bytes` says how much it takes.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_make<E>(
        &self,
        slot: usize,
        make: impl FnOnce() -> Result<T, E>,
        size_bytes: impl FnOnce(&T) -> u64,
    ) -> Result<Arc<T>, E> {
        if let Some(found) = self.slots.get(slot).and_then(OnceLock::get) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(make()?);
        let bytes = size_bytes(&made);
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let kept = used.saturating_add(bytes) <= self.max_bytes
            && (self.slots.get(slot)).is_some_and(|slot| slot.set(Arc::clone(&made)).is_ok());
        if !kept {
            // No room, or another thread was faster: with the same thing.
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(made)
    }

    /// How much is in it.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_made_once_while_there_is_room() {
        let cache = Cache::new(3, 10);
        let mut made = 0;
        let mut get = |slot: usize, bytes: u64| {
            let value = cache.get_or_make::<()>(
                slot,
                || {
                    made += 1;
                    Ok(slot)
                },
                |_| bytes,
            );
            assert_eq!(*value.unwrap(), slot);
            made
        };
        assert_eq!([get(0, 6), get(0, 6)], [1, 1]);
        // The second does not fit, and is made each time; the third does.
        assert_eq!([get(1, 6), get(1, 6), get(2, 4), get(2, 4)], [2, 3, 4, 4]);
        assert_eq!(cache.used_bytes(), 10);
        assert_eq!(
            cache.get_or_make(0, || Err("never"), |_| 0).map(|n| *n),
            Ok(0)
        );
        assert_eq!(
            cache.get_or_make(9, || Err("no slot"), |_| 0).map(|n| *n),
            Err("no slot")
        );
    }
}
