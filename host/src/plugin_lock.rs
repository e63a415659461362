//! The lock file: which plugin files may be loaded, by their SHA-256.

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
    "# Plugin files that dsl-host may load, by SHA-256. Made by `dsl-host plugin lock`.\n";

/// Why a lock file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read.
    #[error(
        "cannot read the lock file {}: {source}\nhint: `dsl-host plugin lock` makes one; without {LOCK_VARIABLE} it is \
         `{LOCK_FILE}` in the current folder, if that is there",
        .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no lock file.
    #[error("{} is no lock file of plugins: {source}\nhint: remove it, and `dsl-host plugin lock` makes one", .path.display())]
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
    #[serde(default, rename = "plugin")]
    plugins: Vec<Locked>,
}

/// A file with this content may be loaded, wherever it lies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Locked {
    sha256: String,
    /// Where it lay when it was allowed: the next file from there takes its place.
    path: String,
}

impl PluginLock {
    /// The lock file that holds for this process, if there is one.
    ///
    /// # Errors
    /// [`LockError`]; a file that `DSL_PLUGIN_LOCK` names has to be there.
    pub fn in_force() -> Result<Option<Self>, LockError> {
        let path = Self::path_in_force();
        if env::var_os(LOCK_VARIABLE).is_none_or(|value| value.is_empty()) && !path.exists() {
            return Ok(None);
        }
        Self::read(&path).map(Some)
    }

    /// Where the lock file of this process is: what `DSL_PLUGIN_LOCK` names, otherwise `dsl-plugins.lock` in the current
    /// folder.
    pub fn path_in_force() -> PathBuf {
        env::var_os(LOCK_VARIABLE)
            .filter(|value| !value.is_empty())
            .map_or_else(|| PathBuf::from(LOCK_FILE), PathBuf::from)
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

    /// Allows the file at a canonical path as it is, in place of what was there before.
    pub fn allow(&mut self, path: &Path, sha256: &str) {
        let path = path.display().to_string();
        let plugins = &mut self.content.plugins;
        plugins.retain(|locked| locked.path != path);
        plugins.push(Locked {
            sha256: sha256.to_owned(),
            path,
        });
        plugins.sort_by(|a, b| a.path.cmp(&b.path));
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
        let plugins = &self.content.plugins;
        if plugins.iter().any(|locked| locked.sha256 == sha256) {
            return Ok(());
        }
        let shown = path.display().to_string();
        let before = plugins.iter().find(|locked| locked.path == shown);
        let reason = match before {
            Some(locked) => format!(
                "it has changed since it was locked; its SHA-256 is {sha256}, and {} has {}",
                self.path.display(),
                locked.sha256
            ),
            None => format!("{} does not name it", self.path.display()),
        };
        let file = match self.path == Path::new(LOCK_FILE) {
            true => String::new(),
            false => format!("--file {} ", quoted(&self.path)),
        };
        Err(HostError {
            code: ErrorCode::Config,
            message: reason,
            help: format!(
                "when you trust the file as it is now, `dsl-host plugin lock {file}{}` allows it",
                quoted(path)
            ),
        })
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map_or(text.clone(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_allows_files_with_the_content_that_it_names_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(LOCK_FILE);
        let mut lock = PluginLock::empty(&file);
        lock.allow(Path::new("/a/libt2i.so"), "11");
        lock.allow(Path::new("/b/t2i.so"), "12");
        lock.allow(Path::new("/a/mixture.so"), "22");
        lock.allow(Path::new("/a/mixture.so"), "33");
        lock.write().unwrap();
        let lock = PluginLock::read(&file).unwrap();
        // Files of one name do not displace each other, and a copy is the same file.
        for (path, sha256) in [
            ("/a/libt2i.so", "11"),
            ("/b/t2i.so", "12"),
            ("/elsewhere/x.so", "12"),
            ("/a/mixture.so", "33"),
        ] {
            assert!(lock.accept(Path::new(path), sha256).is_ok(), "{path}");
        }
        let changed = lock.accept(Path::new("/a/mixture.so"), "22").unwrap_err();
        assert!(changed.message.contains("has changed"), "{changed}");
        let unknown = lock
            .accept(Path::new("/my plugins/x.so"), "44")
            .unwrap_err();
        assert!(unknown.message.contains("does not name it"), "{unknown}");
        let allows = format!("plugin lock --file {} '/my plugins/x.so'", file.display());
        assert!(unknown.help.contains(&allows), "{}", unknown.help);
        let lock = PluginLock::empty(Path::new(LOCK_FILE));
        let unknown = lock.accept(Path::new("/x.so"), "44").unwrap_err();
        assert!(
            unknown.help.contains("plugin lock /x.so"),
            "{}",
            unknown.help
        );
        fs::write(&file, "plugins = 3").unwrap();
        let error = PluginLock::read(&file).unwrap_err().to_string();
        assert!(error.contains("hint: "), "{error}");
    }
}
