//! The lock file: which plugin files may be loaded, by their SHA-256.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use dsl_loader::{ErrorCode, HostError};
use serde::{Deserialize, Serialize};

use crate::run_dir::write_atomic;

/// The lock file's name, in the current folder.
pub const LOCK_FILE: &str = "dsl-plugins.lock";
/// Names another lock file.
const LOCK_VARIABLE: &str = "DSL_PLUGIN_LOCK";
const HEADER: &str =
    "# Plugin files that dsl-host may load, by name and SHA-256. Made by `dsl-host plugin lock`.\n";

/// Why a lock file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read.
    #[error("cannot read the lock file {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no lock file.
    #[error("{} is no lock file of plugins: {source}\nhint: `dsl-host plugin lock` makes one", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<toml::de::Error>,
    },
    /// It cannot be put into words.
    #[error("cannot write the lock file: {0}")]
    Unwritable(#[from] Box<toml::ser::Error>),
}

/// Which plugin files may be loaded.
#[derive(Debug, Clone)]
pub struct PluginLock {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    /// By name, see [`name`].
    #[serde(default)]
    plugins: BTreeMap<String, Locked>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Locked {
    sha256: String,
}

/// The name that a file is locked under: `t2i.so` and `libt2i.so` are the same plugin.
fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix("lib").unwrap_or(&stem).to_owned()
}

impl PluginLock {
    /// The lock file that holds for this process, if there is one: what `DSL_PLUGIN_LOCK` names, otherwise
    /// `dsl-plugins.lock` in the current folder.
    ///
    /// # Errors
    /// [`LockError`]; a file that `DSL_PLUGIN_LOCK` names has to be there.
    pub fn in_force() -> Result<Option<Self>, LockError> {
        match env::var_os(LOCK_VARIABLE).filter(|value| !value.is_empty()) {
            Some(path) => Self::read(Path::new(&path)).map(Some),
            None if Path::new(LOCK_FILE).exists() => Self::read(Path::new(LOCK_FILE)).map(Some),
            None => Ok(None),
        }
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let text = fs::read_to_string(path).map_err(|source| LockError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let content = toml::from_str(&text).map_err(|source| LockError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Self {
            path: path.to_owned(),
            content,
        })
    }

    /// A lock file that allows nothing yet.
    pub fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            content: Content::default(),
        }
    }

    /// Allows a file as it is, in place of an earlier one of its name. Gives the name.
    pub fn allow(&mut self, path: &Path, sha256: &str) -> String {
        let name = name(path);
        let locked = Locked {
            sha256: sha256.to_owned(),
        };
        self.content.plugins.insert(name.clone(), locked);
        name
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self) -> anyhow::Result<()> {
        let text = toml::to_string_pretty(&self.content)
            .map_err(|error| LockError::Unwritable(Box::new(error)))?;
        Ok(write_atomic(
            &self.path,
            format!("{HEADER}\n{text}").as_bytes(),
        )?)
    }

    /// Whether a file may be loaded.
    ///
    /// # Errors
    /// Why not: it has changed, or was never allowed.
    pub fn accept(&self, path: &Path, sha256: &str) -> Result<(), HostError> {
        let name = name(path);
        let reason = match self.content.plugins.get(&name) {
            Some(locked) if locked.sha256 == sha256 => return Ok(()),
            Some(locked) => format!(
                "it has changed since it was locked; its SHA-256 is {sha256}, and {} has {}",
                self.path.display(),
                locked.sha256
            ),
            None => format!("{} does not name it", self.path.display()),
        };
        Err(HostError {
            code: ErrorCode::Config,
            message: reason,
            help: format!(
                "when you trust the file as it is now, `dsl-host plugin lock {}` allows it",
                path.display()
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_allows_what_it_names_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(LOCK_FILE);
        let mut lock = PluginLock::empty(&file);
        assert_eq!(lock.allow(Path::new("/a/libt2i.so"), "11"), "t2i");
        lock.allow(Path::new("mixture.so"), "22");
        lock.allow(Path::new("mixture.so"), "33");
        lock.write().unwrap();
        let lock = PluginLock::read(&file).unwrap();
        assert!(lock.accept(Path::new("/b/t2i.so"), "11").is_ok());
        assert!(lock.accept(Path::new("libmixture.so"), "33").is_ok());
        let changed = lock.accept(Path::new("libmixture.so"), "22").unwrap_err();
        assert!(changed.message.contains("has changed"), "{changed}");
        let unknown = lock.accept(Path::new("other.so"), "11").unwrap_err();
        assert!(unknown.message.contains("does not name it"), "{unknown}");
        assert!(unknown.help.contains("plugin lock other.so"));
        fs::write(&file, "plugins = 3").unwrap();
        let error = PluginLock::read(&file).unwrap_err().to_string();
        assert!(error.contains("hint: "), "{error}");
    }
}
