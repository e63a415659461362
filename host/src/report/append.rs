use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::run_dir::RunDirError;

/// A file that grows by whole records: a record that does not fit on the disk is taken back, so that
/// the next one does not follow a torn one.
#[derive(Debug)]
pub(super) struct AppendFile {
    file: File,
    path: PathBuf,
    length: u64,
}

impl AppendFile {
    /// Makes a new file.
    pub(super) fn create(path: &Path) -> Result<Self, RunDirError> {
        let file = File::create_new(path)
            .map_err(|source| RunDirError::io("make the file", path, source))?;
        Ok(Self {
            file,
            path: path.into(),
            length: 0,
        })
    }

    /// Goes on at the end of an existing file.
    pub(super) fn open(path: &Path) -> Result<Self, RunDirError> {
        let open = || {
            let mut file = File::options().write(true).open(path)?;
            let length = file.seek(SeekFrom::End(0))?;
            Ok((file, length))
        };
        let (file, length) = open().map_err(|source| RunDirError::io("open", path, source))?;
        Ok(Self {
            file,
            path: path.into(),
            length,
        })
    }

    /// Hands one whole record to the system: it then survives this process, however that ends.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<(), RunDirError> {
        match self.file.write_all(record) {
            Ok(()) => {
                self.length += record.len() as u64;
                Ok(())
            }
            Err(source) => {
                let _ = self.file.set_len(self.length);
                let _ = self.file.seek(SeekFrom::Start(self.length));
                Err(RunDirError::write(
                    &self.path,
                    Some(record.len() as u64),
                    source,
                ))
            }
        }
    }

    /// Brings everything to disk: it then survives a loss of power.
    pub(super) fn sync(&self) -> Result<(), RunDirError> {
        self.file
            .sync_data()
            .map_err(|source| RunDirError::write(&self.path, None, source))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_file_and_size() {
        let mut file = AppendFile::open(Path::new("/dev/full")).unwrap();
        let error = file.append(&[b'x'; 1500]).unwrap_err();
        assert!(
            error.to_string().contains("`/dev/full` needs 1.5 kB"),
            "{error}"
        );
    }
}
