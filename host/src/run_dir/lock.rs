use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::RunDirError;

pub(super) const LOCK: &str = ".lock";

/// An advisory lock on a run's folder. The system releases it with the process, however that ends,
/// so a lock file left behind by a killed process locks nobody out.
#[derive(Debug)]
pub(super) struct RunLock {
    /// Open as long as the lock is held.
    _file: File,
}

impl RunLock {
    pub(super) fn take(folder: &Path) -> Result<Self, RunDirError> {
        let path = folder.join(LOCK);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| RunDirError::io("open", &path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(RunDirError::Locked {
                    path: folder.into(),
                    process: text.trim().parse().ok(),
                });
            }
            // Some network file systems have no locks: training there is better than refusing.
            Err(TryLockError::Error(error)) => tracing::warn!(
                "`{}` cannot be locked ({error}): make sure that no other process trains there",
                folder.display()
            ),
        }
        // For the message that another process prints; the lock itself does not need it.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}
