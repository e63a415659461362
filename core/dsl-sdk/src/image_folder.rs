//! A folder of pictures with their records: a Hugging Face *imagefolder*, or pictures with `.txt` files beside them.
//!
//! Two readings, told apart by what lies in the folder:
//! - [`Reading::Metadata`]: `metadata.jsonl` files, one JSON object a line, whose `file_name` names a picture relative to the file's own
//!   folder. There may be several, in nested folders.
//! - [`Reading::Sidecar`]: no such file; the text of `cat.png` is `cat.txt` (or `cat.caption`) beside it.
//!
//! Only names and records are read here; pictures are opened when they are needed.
//!
//! Opening is work of one thread; what is open is read-only, for any thread, several at once.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::PluginError;

#[cfg(test)]
mod tests;
mod walk;

/// The name of the files with records.
pub const METADATA_FILE: &str = "metadata.jsonl";
/// Endings of the texts beside pictures; the first one found counts.
pub const SIDECAR_EXTENSIONS: [&str; 2] = ["txt", "caption"];

/// Where the records of a folder come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// From `metadata.jsonl`.
    Metadata,
    /// From a text file beside each picture.
    Sidecar,
}

/// One picture and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The picture. That it exists was not checked for records of `metadata.jsonl`.
    pub image: PathBuf,
    /// The record: the line of `metadata.jsonl` without `file_name`; empty for [`Reading::Sidecar`].
    pub fields: Map<String, Value>,
    /// The text file beside the picture, for [`Reading::Sidecar`].
    pub sidecar: Option<PathBuf>,
    /// Where the record stands, for messages: `train/metadata.jsonl, line 3`, or the picture itself.
    pub origin: String,
}

/// The pictures of one folder, in a fixed order: the lines of `metadata.jsonl`, or the pictures by name.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    /// How the folder was read.
    pub reading: Reading,
    /// The pictures with their records.
    pub entries: Vec<Entry>,
    /// Pictures that no line of `metadata.jsonl` names; they are in no entry.
    pub unlisted: Vec<PathBuf>,
    /// Other readings that the folder would have allowed, as a sentence for the log.
    pub ambiguity: Option<String>,
}

impl ImageFolder {
    /// Reads the records under `folder`.
    ///
    /// With `within` (the data set's root, of which `folder` is one split) a `metadata.jsonl` in the root serves as well, if `folder`
    /// has none: its lines that name pictures under `folder` are taken.
    ///
    /// # Errors
    /// A missing or unreadable folder, a folder without any picture, and a line of `metadata.jsonl` that is no JSON object, has no
    /// `file_name`, or names a file outside of the folder; the last three with the line's number.
    pub fn open(folder: &Path, within: Option<&Path>) -> Result<Self, PluginError> {
        check_folder(folder)?;
        let files = walk::walk(folder)?;
        if let Some(metadata) = within.map(|root| root.join(METADATA_FILE))
            && files.metadata.is_empty()
            && metadata.is_file()
        {
            let mut entries = read_metadata(&metadata)?;
            entries.retain(|entry| entry.image.starts_with(folder));
            return Self::from_metadata(folder, entries, files);
        }
        if files.metadata.is_empty() {
            return Self::from_sidecars(folder, files);
        }
        let mut entries = Vec::new();
        for metadata in &files.metadata {
            entries.extend(read_metadata(metadata)?);
        }
        Self::from_metadata(folder, entries, files)
    }

    fn from_metadata(
        folder: &Path,
        entries: Vec<Entry>,
        files: walk::Files,
    ) -> Result<Self, PluginError> {
        if entries.is_empty() {
            return Err(PluginError::config(format!("`{METADATA_FILE}` names no picture of `{}`", folder.display()))
                .with_help("each line is a JSON object such as {\"file_name\": \"0001.png\", \"text\": \"a red apple\"}"));
        }
        let listed: HashSet<&Path> = entries.iter().map(|entry| entry.image.as_path()).collect();
        let unlisted = files
            .pictures
            .into_iter()
            .filter(|picture| !listed.contains(picture.as_path()))
            .collect();
        let ambiguity = (!files.texts.is_empty()).then(|| {
            format!(
                "`{}` has {METADATA_FILE} and {} text files beside pictures; the records of {METADATA_FILE} were taken",
                folder.display(),
                files.texts.len(),
            )
        });
        Ok(Self {
            reading: Reading::Metadata,
            entries,
            unlisted,
            ambiguity,
        })
    }

    fn from_sidecars(folder: &Path, files: walk::Files) -> Result<Self, PluginError> {
        if files.pictures.is_empty() {
            return Err(nothing_in(folder, &files));
        }
        let entries = files
            .pictures
            .into_iter()
            .map(|image| {
                let sidecar = SIDECAR_EXTENSIONS
                    .iter()
                    .map(|extension| image.with_extension(extension))
                    .find(|text| files.texts.contains(text));
                Entry {
                    origin: image.display().to_string(),
                    image,
                    fields: Map::new(),
                    sidecar,
                }
            })
            .collect();
        Ok(Self {
            reading: Reading::Sidecar,
            entries,
            unlisted: Vec::new(),
            ambiguity: None,
        })
    }
}

fn check_folder(folder: &Path) -> Result<(), PluginError> {
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(PluginError::config(format!("`{}` is a file, not a folder of pictures", folder.display()))),
        Err(error) => Err(PluginError::config(format!("the folder `{}` cannot be opened: {error}", folder.display()))
            .with_help("check the path; a relative path starts at the folder from which the program was called")),
    }
}

fn nothing_in(folder: &Path, files: &walk::Files) -> PluginError {
    let mut found = format!("{} files of other kinds", files.others);
    if files.others == 0 {
        found = "the folder is empty".to_owned();
    } else if let Some(name) = &files.an_other {
        found = format!("{found}, such as `{name}`");
    }
    PluginError::config(format!("no pictures in `{}` ({found})", folder.display())).with_help(
        "PNG, JPEG and WebP files are looked for, in nested folders too, and need captions: a metadata.jsonl, or a .txt file beside each \
         picture",
    )
}

/// The lines of one `metadata.jsonl`; empty lines do not count.
fn read_metadata(path: &Path) -> Result<Vec<Entry>, PluginError> {
    let cannot = |error: std::io::Error| {
        PluginError::io(format!("cannot read `{}`: {error}", path.display()))
    };
    let text = std::fs::read(path).map_err(cannot)?;
    let text = String::from_utf8(text).map_err(|error| {
        let line = text_line(error.as_bytes(), error.utf8_error().valid_up_to());
        PluginError::config(format!(
            "`{}`, line {line}: the text is not UTF-8",
            path.display()
        ))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut entries = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let origin = format!("{}, line {}", path.display(), index + 1);
        let mut fields = match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => {
                return Err(PluginError::config(format!(
                    "{origin}: this is JSON, but no object {{…}}"
                )));
            }
            Err(error) => {
                // The parser saw one line, so its own line number would only confuse.
                let cause = error.to_string();
                let cause = cause.split(" at line ").next().unwrap_or_default();
                return Err(PluginError::config(format!(
                    "{origin}, column {}: this is not JSON: {cause}",
                    error.column()
                )));
            }
        };
        let Some(name) = fields.shift_remove("file_name") else {
            let keys = fields
                .keys()
                .map(|key| format!("`{key}`"))
                .collect::<Vec<_>>()
                .join(", ");
            return Err(PluginError::config(format!(
                "{origin}: the key `file_name` is missing (there are: {keys})"
            )));
        };
        let Some(name) = name.as_str() else {
            return Err(PluginError::config(format!(
                "{origin}: `file_name` is {name}, but must be a text"
            )));
        };
        let image = folder.join(inside(name).map_err(|why| {
            PluginError::config(format!("{origin}: `file_name` is `{name}`: {why}"))
                .with_help("name pictures relative to the folder of metadata.jsonl")
        })?);
        entries.push(Entry {
            image,
            fields,
            sidecar: None,
            origin,
        });
    }
    Ok(entries)
}

/// A relative path without `..`: a record must not reach files outside of its own data set.
///
/// # Errors
/// Why the name of a file cannot be taken, as the end of a sentence.
pub fn inside(name: &str) -> Result<PathBuf, &'static str> {
    // Windows' separator is understood, so that a set written there can be read, and cannot escape either.
    let name = name.replace('\\', "/");
    let mut path = PathBuf::new();
    for component in Path::new(&name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err("it leaves the folder"),
            Component::RootDir | Component::Prefix(_) => return Err("it is an absolute path"),
        }
    }
    if path.as_os_str().is_empty() {
        Err("it is empty")
    } else {
        Ok(path)
    }
}

fn text_line(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}
