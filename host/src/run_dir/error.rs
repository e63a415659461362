use std::io;
use std::path::{Path, PathBuf};

use super::describe_bytes;

/// Why a run's folder or one of its files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RunDirError {
    /// A file is in the way.
    #[error(
        "`{}` is a file, and a run needs a folder\n\
         hint: give another folder with `--out`", .0.display()
    )]
    NotAFolder(PathBuf),

    /// The folder holds a run already.
    #[error(
        "`{path}` already holds a run\n\
         hint: `dsl-host run --resume {path}` goes on with it; `--out` with another folder begins a new one",
        path = .0.display()
    )]
    ExistingRun(PathBuf),

    /// The folder holds something else.
    #[error(
        "`{}` is not empty (it holds `{found}`) and is not the folder of a run\n\
         hint: give a new or an empty folder with `--out`", .path.display()
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the things in it.
        found: String,
    },

    /// There is nothing.
    #[error(
        "there is no run at `{}`: the folder does not exist\n\
         hint: runs are kept under `runs/` unless `--out` said otherwise", .0.display()
    )]
    NotFound(PathBuf),

    /// The folder lacks what makes it a run.
    #[error(
        "`{}` is not the folder of a run: it has no `{missing}`\n\
         hint: give the folder that `dsl-host run` named at its start; a run stopped before it wrote this file \
         did no work, and can be begun again", .path.display()
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// The file it lacks.
        missing: &'static str,
    },

    /// Another process works there.
    #[error(
        "another process{} is training in `{}`\n\
         hint: wait until it ends, or give another folder with `--out`",
        .process.map_or_else(String::new, |id| format!(" ({id})")), .path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The other process, where it wrote down its number.
        process: Option<u32>,
    },

    /// No space left for a file.
    #[error(
        "the disk is full: `{}` needs {}\n\
         hint: free some space; nothing half-written was left, and `dsl-host run --resume` goes on from the last \
         checkpoint",
        .path.display(), .needed_bytes.map_or_else(|| "more space".to_owned(), describe_bytes)
    )]
    DiskFull {
        /// The file that was being written.
        path: PathBuf,
        /// Its size, where that is known.
        needed_bytes: Option<u64>,
        /// What the system said.
        source: io::Error,
    },

    /// A file that is not what it should be.
    #[error("`{}` is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },

    /// Anything else the file system says.
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RunDirError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        if is_disk_full(&source) {
            return Self::DiskFull {
                path: path.into(),
                needed_bytes: None,
                source,
            };
        }
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    /// As [`io`](Self::io) while `bytes` were being written.
    pub(crate) fn write(path: &Path, bytes: Option<u64>, source: io::Error) -> Self {
        match Self::io("write", path, source) {
            Self::DiskFull { path, source, .. } => Self::DiskFull {
                path,
                needed_bytes: bytes,
                source,
            },
            other => other,
        }
    }
}

fn is_disk_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
