//! Decoded and fitted pictures in memory, up to a limit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::image::Picture;

/// A picture at its resolution.
#[derive(Debug)]
pub struct Fitted {
    /// Not yet cropped.
    pub picture: Picture,
    /// Height and width of the file, in pixels.
    pub original: [u32; 2],
}

/// One slot for each sample. What once came in stays, so that every epoch finds the same pictures ready: a cache that threw out
/// the oldest would, with samples in a new order each epoch, keep nothing useful once the set is larger than the limit.
#[derive(Debug)]
pub(crate) struct Cache {
    slots: Vec<OnceLock<Arc<Fitted>>>,
    used_bytes: AtomicU64,
    max_bytes: u64,
}

impl Cache {
    pub(crate) fn new(samples: usize, max_mib: u64) -> Self {
        let slots = (0..samples).map(|_| OnceLock::new()).collect();
        Self {
            slots,
            used_bytes: AtomicU64::new(0),
            max_bytes: max_mib.saturating_mul(1 << 20),
        }
    }

    /// The limit.
    pub(crate) fn max_mib(&self) -> u64 {
        self.max_bytes >> 20
    }

    pub(crate) fn get(&self, index: usize) -> Option<Arc<Fitted>> {
        self.slots.get(index)?.get().cloned()
    }

    /// Keeps the picture if there is room.
    pub(crate) fn put(&self, index: usize, picture: &Arc<Fitted>) {
        let Some(slot) = self.slots.get(index) else {
            return;
        };
        let bytes = picture.picture.rgb().len() as u64;
        if self
            .used_bytes
            .fetch_add(bytes, Ordering::Relaxed)
            .saturating_add(bytes)
            > self.max_bytes
            || slot.set(Arc::clone(picture)).is_err()
        {
            // No room, or another thread was faster: with the same picture.
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Keeps the slots whose flag is set.
    pub(crate) fn retain(&mut self, keep: &[bool]) {
        let mut flags = keep.iter();
        self.slots.retain(|_| flags.next().copied().unwrap_or(true));
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }
}
