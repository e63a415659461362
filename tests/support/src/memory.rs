//! How much memory this process has in use, as Linux tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Memory of this process, in bytes; swapped pages do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// The most that was in use so far (`VmHWM`), pages of mapped files among it.
    pub peak: u64,
    /// In use now (`VmRSS`).
    pub resident: u64,
    /// Of it what the program allocated (`RssAnon`).
    pub anonymous: u64,
    /// Of it pages of mapped files, the program's own code among them (`RssFile`).
    pub file: u64,
}

impl ProcessMemory {
    /// As of now; `None` where the system does not say.
    pub fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// Lines like `VmHWM:     12345 kB`, where kB are 1024 bytes.
    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes = line.strip_prefix(':')?.trim().strip_suffix("kB")?;
            kibibytes.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self {
            peak: bytes("VmHWM")?,
            resident: bytes("VmRSS")?,
            anonymous: bytes("RssAnon")?,
            file: bytes("RssFile")?,
        })
    }
}

/// Looks at the two kinds of memory every few milliseconds: the system keeps a peak of their sum alone.
pub struct Watch {
    done: Arc<AtomicBool>,
    thread: JoinHandle<ProcessMemory>,
}

impl Watch {
    /// Looks until [`Self::end`].
    pub fn begin() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let seen = done.clone();
        let thread = std::thread::spawn(move || {
            let mut most = ProcessMemory::default();
            loop {
                let last = seen.load(Ordering::Relaxed);
                let now = ProcessMemory::now().unwrap_or_default();
                most.peak = most.peak.max(now.peak);
                most.resident = most.resident.max(now.resident);
                most.anonymous = most.anonymous.max(now.anonymous);
                most.file = most.file.max(now.file);
                if last {
                    return most;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self { done, thread }
    }

    /// The most that was seen of each. The parts need not have been there at the same time.
    ///
    /// # Panics
    /// Where the thread that looks has panicked.
    pub fn end(self) -> ProcessMemory {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}
