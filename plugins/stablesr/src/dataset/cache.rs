//! Decoded pictures in memory, up to a limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dsl_sdk::image::Picture;

/// A target and, where it came with one, its low-resolution version: decoded, and brought to the size by `fit: resize`.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub target: Picture,
    pub low: Option<Picture>,
}

impl Decoded {
    fn bytes(&self) -> u64 {
        let low = self.low.as_ref().map_or(0, |low| low.rgb().len());
        (self.target.rgb().len() + low) as u64
    }
}

/// One slot for each sample. What once came in stays: throwing out the oldest would, with samples in a new order each epoch,
/// keep nothing useful of a set that is larger than the limit.
#[derive(Debug)]
pub(crate) struct Cache {
    slots: Vec<OnceLock<Arc<Decoded>>>,
    used_bytes: AtomicU64,
    max_bytes: u64,
}

impl Cache {
    pub fn new(samples: usize, max_mib: u64) -> Self {
        Self {
            slots: (0..samples).map(|_| OnceLock::new()).collect(),
            used_bytes: AtomicU64::new(0),
            max_bytes: max_mib.saturating_mul(1 << 20),
        }
    }

    pub fn get(&self, index: usize) -> Option<Arc<Decoded>> {
        self.slots.get(index)?.get().cloned()
    }

    /// Keeps the pictures if there is room.
    pub fn put(&self, index: usize, decoded: &Arc<Decoded>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let bytes = decoded.bytes();
        let used = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if used.saturating_add(bytes) > self.max_bytes || slot.set(Arc::clone(decoded)).is_err() {
            // No room, or another thread was faster: with the same pictures.
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }
}
