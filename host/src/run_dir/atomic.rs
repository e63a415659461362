//! Files that are whole or absent: written under a temporary name beside the final one, brought to
//! disk, and renamed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::RunDirError;

/// Every temporary name begins so; nothing else in a run does.
const TEMPORARY: &str = ".dsl-host-tmp-";

/// Replaces `path` by a file with these contents, or leaves it as it was.
///
/// After an `Ok` the file survives a loss of power.
///
/// # Errors
/// [`RunDirError::DiskFull`] with the file and its size, or [`RunDirError::Io`].
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<(), RunDirError> {
    write_atomic_with(path, Some(contents.len() as u64), |file| {
        file.write_all(contents)
    })
}

/// As [`write_atomic`], with contents that `write` produces; `size` is what they will take, where
/// known, for the message of a full disk.
///
/// # Errors
/// As [`write_atomic`]; an error of `write` itself is reported as that of the file.
pub fn write_atomic_with(
    path: &Path,
    size: Option<u64>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), RunDirError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    // Temporary files are private by default; this one becomes an ordinary file, under the umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));

    let attempt = || -> io::Result<()> {
        // Dropped on any way out before `persist`, the temporary file is removed.
        let mut file = BufWriter::new(builder.tempfile_in(folder)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)?;
        sync_folder(folder)
    };
    attempt().map_err(|source| RunDirError::write(path, size, source))
}

/// Brings a rename in `folder` to disk. Only Unix can, and needs to.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether `name` is that of a file which [`write_atomic`] did not finish.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| name.starts_with(TEMPORARY))
}

/// Removes what killed processes left in `folder`. Only for the holder of the run's lock.
pub(super) fn remove_stale(folder: &Path) -> Result<(), RunDirError> {
    let entries = fs::read_dir(folder).map_err(|error| RunDirError::io("list", folder, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| RunDirError::io("list", folder, error))?;
        if is_temporary(&entry.file_name()) {
            let path = entry.path();
            tracing::debug!(file = %path.display(), "removing a half-written file");
            fs::remove_file(&path).map_err(|error| RunDirError::io("remove", &path, error))?;
        }
    }
    Ok(())
}

/// Writes `value` as indented JSON.
pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), RunDirError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| RunDirError::write(path, None, error.into()))?;
    text.push('\n');
    write_atomic(path, text.as_bytes())
}

/// Reads a JSON file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, RunDirError> {
    let text = fs::read_to_string(path).map_err(|error| RunDirError::io("read", path, error))?;
    serde_json::from_str(&text).map_err(|error| RunDirError::Damaged {
        path: path.into(),
        reason: error.to_string(),
    })
}

/// A size for people: `812 bytes`, `6.1 MB`.
pub fn describe_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes == 1 {
        return "1 byte".into();
    }
    if bytes < 1000 {
        return format!("{bytes} bytes");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 would be printed as 1000.0.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
