//! Listing a folder with everything in it, in a fixed order.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{METADATA_FILE, SIDECAR_EXTENSIONS};
use crate::PluginError;
use crate::image::is_picture_name;

/// What lies in a folder and the folders in it.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Pictures, by name.
    pub pictures: Vec<PathBuf>,
    /// `metadata.jsonl` files, by name.
    pub metadata: Vec<PathBuf>,
    /// Files that may be texts of pictures.
    pub texts: HashSet<PathBuf>,
    /// How many files are none of these.
    pub others: usize,
    /// The name of one of them.
    pub an_other: Option<String>,
}

/// Lists `folder`. Names that begin with a dot are left out. Links are followed, each folder once, so that a link to a parent
/// does not go round for ever.
pub(super) fn walk(folder: &Path) -> Result<Files, PluginError> {
    let mut files = Files::default();
    let mut seen = HashSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let cannot = |error: std::io::Error| {
            PluginError::io(format!(
                "cannot list the folder `{}`: {error}",
                folder.display()
            ))
        };
        if !seen.insert(folder.canonicalize().map_err(cannot)?) {
            continue;
        }
        for item in std::fs::read_dir(&folder).map_err(cannot)? {
            let item = item.map_err(cannot)?;
            let path = item.path();
            let name = item.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let kind = item.file_type().map_err(cannot)?;
            if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
                open.push(path);
            } else {
                files.add(path, name);
            }
        }
    }
    files.pictures.sort();
    files.metadata.sort();
    Ok(files)
}

impl Files {
    fn add(&mut self, path: PathBuf, name: String) {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if name == METADATA_FILE {
            self.metadata.push(path);
        } else if is_picture_name(&name) {
            self.pictures.push(path);
        } else if extension.is_some_and(|extension| SIDECAR_EXTENSIONS.contains(&extension)) {
            self.texts.insert(path);
        } else {
            self.others += 1;
            self.an_other.get_or_insert(name);
        }
    }
}
