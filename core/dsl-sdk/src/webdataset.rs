//! WebDataset shards: tar archives, plain or gzip-compressed, in which the files of one sample share a key.
//!
//! `000017.png`, `000017.txt` and `000017.json` are the members `png`, `txt` and `json` of the sample `000017`: the key reaches to the
//! first dot of the file name, folders included. Samples keep the order in which their keys first appear, shard after shard.
//!
//! Opening reads the headers of plain archives only; their members are read from their place when they are needed. A
//! compressed archive has no places to go to, so it is unpacked once: into memory, and beyond 256 MiB in all into an unnamed
//! temporary file. Nothing is ever written under a name from an archive, so none can leave its place.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use spool::{Place, Spool};

use crate::PluginError;
use crate::image::is_picture_name;

mod pattern;
mod spool;
#[cfg(test)]
mod tests;

pub use pattern::{expand_braces, has_braces, is_shard_name};

/// Where the bytes of a shard are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardSource {
    /// A file.
    File(PathBuf),
    /// Bytes that travel inside the plugin.
    Embedded {
        /// A name for messages.
        name: String,
        /// The archive.
        bytes: &'static [u8],
    },
}

impl ShardSource {
    /// The file's path or the embedded shard's name, for messages.
    pub fn name(&self) -> String {
        match self {
            ShardSource::File(path) => path.display().to_string(),
            ShardSource::Embedded { name, .. } => name.clone(),
        }
    }
}

/// One file of a sample.
#[derive(Clone, Debug)]
pub struct Member {
    /// What follows the first dot of the file name, in lower case: `png`, `txt`, `seg.png`.
    pub extension: String,
    place: Place,
    length_bytes: u64,
}

/// The files that share a key.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The key, with the folders of the archive.
    pub key: String,
    /// Its files, in the archive's order.
    pub members: Vec<Member>,
    shard: usize,
}

impl Sample {
    /// The member with exactly this extension (lower case).
    pub fn member(&self, extension: &str) -> Option<&Member> {
        self.members
            .iter()
            .find(|member| member.extension == extension)
    }
}

/// The samples of a list of shards.
#[derive(Debug)]
pub struct WebDataset {
    shards: Vec<ShardSource>,
    samples: Vec<Sample>,
    spool: Spool,
}

impl WebDataset {
    /// Lists the samples of `shards`.
    ///
    /// # Errors
    /// A shard that cannot be opened, is no tar archive, is damaged or cut short, or holds two files of one name; and shards without
    /// any sample. Each names the shard.
    pub fn open(shards: Vec<ShardSource>) -> Result<Self, PluginError> {
        let mut set = Self {
            shards,
            samples: Vec::new(),
            spool: Spool::default(),
        };
        for shard in 0..set.shards.len() {
            set.index(shard)?;
        }
        if set.samples.is_empty() {
            let names: Vec<_> = set
                .shards
                .iter()
                .take(3)
                .map(|shard| format!("`{}`", shard.name()))
                .collect();
            return Err(PluginError::config(format!(
                "no samples in {} shards ({} …)",
                set.shards.len(),
                names.join(", ")
            ))
            .with_help("a shard is a tar archive of files such as 000017.png and 000017.txt"));
        }
        Ok(set)
    }

    /// The samples.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The shards, in their order.
    pub fn shards(&self) -> &[ShardSource] {
        &self.shards
    }

    /// Shard and key of a sample, for messages.
    pub fn origin(&self, sample: &Sample) -> String {
        format!("{}: {}", self.shards[sample.shard].name(), sample.key)
    }

    /// Shard and file name of a member, for messages.
    pub fn member_origin(&self, sample: &Sample, member: &Member) -> String {
        format!("{}.{}", self.origin(sample), member.extension)
    }

    /// The places of a sample's pictures among its members; one named by its format alone (`png`) before those with a longer
    /// ending (`left.png`).
    pub fn pictures(sample: &Sample) -> Vec<usize> {
        let mut pictures: Vec<usize> = (0..sample.members.len())
            .filter(|&member| is_picture_name(&format!("key.{}", sample.members[member].extension)))
            .collect();
        pictures.sort_by_key(|&member| sample.members[member].extension.contains('.'));
        pictures
    }

    /// The .json of a sample; empty where there is none.
    ///
    /// # Errors
    /// A member that cannot be read, and one that is no JSON object.
    pub fn record(&self, sample: &Sample) -> Result<Map<String, Value>, PluginError> {
        let Some(member) = sample.member("json") else {
            return Ok(Map::new());
        };
        let bytes = self.read(sample, member)?;
        let origin = || self.member_origin(sample, member);
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(record)) => Ok(record),
            Ok(_) => Err(PluginError::config(format!(
                "`{}` is JSON, but no object {{…}}",
                origin()
            ))),
            Err(error) => Err(PluginError::config(format!(
                "`{}` is not JSON: {error}",
                origin()
            ))),
        }
    }

    /// The bytes of a member. `[any thread]`
    ///
    /// # Errors
    /// The shard became unreadable or shorter since it was opened; names the shard and the member.
    pub fn read(&self, sample: &Sample, member: &Member) -> Result<Vec<u8>, PluginError> {
        self.read_place(&self.shards[sample.shard], member)
            .map_err(|error| {
                PluginError::io(format!(
                    "cannot read `{}`: {error}",
                    self.member_origin(sample, member)
                ))
                .with_help("a shard must stay as it is while it is in use")
            })
    }

    fn read_place(&self, shard: &ShardSource, member: &Member) -> std::io::Result<Vec<u8>> {
        let length = usize::try_from(member.length_bytes).map_err(std::io::Error::other)?;
        let Place::Shard(offset) = member.place else {
            return self.spool.read(member.place, length);
        };
        let mut bytes = vec![0; length];
        match shard {
            // Opened for each member: reading stays free of locks, and thousands of shards do not use up the file handles.
            ShardSource::File(path) => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut bytes)?;
            }
            ShardSource::Embedded { bytes: archive, .. } => {
                let mut archive = Cursor::new(archive);
                archive.set_position(offset);
                archive.read_exact(&mut bytes)?;
            }
        }
        Ok(bytes)
    }

    fn index(&mut self, shard: usize) -> Result<(), PluginError> {
        let source = self.shards[shard].clone();
        let name = source.name();
        let cannot = |error: std::io::Error| {
            PluginError::config(format!("the shard `{name}` cannot be opened: {error}"))
                .with_help("check the path; a relative path starts at the folder from which the program was called")
        };
        match &source {
            ShardSource::File(path) => {
                let mut file = File::open(path).map_err(cannot)?;
                let mut start = [0; 4];
                let read = file.read(&mut start).map_err(cannot)?;
                file.seek(SeekFrom::Start(0)).map_err(cannot)?;
                self.index_bytes(shard, &name, &start[..read], std::io::BufReader::new(file))
            }
            ShardSource::Embedded { bytes, .. } => {
                self.index_bytes(shard, &name, bytes, Cursor::new(*bytes))
            }
        }
    }

    fn index_bytes(
        &mut self,
        shard: usize,
        name: &str,
        start: &[u8],
        reader: impl Read + Seek,
    ) -> Result<(), PluginError> {
        let damaged = |error: std::io::Error| {
            let cause = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "it is cut short".to_owned(),
                _ => error.to_string(),
            };
            PluginError::io(format!(
                "the shard `{name}` is damaged, or no tar archive: {cause}"
            ))
            .with_help("shards are .tar or .tar.gz files; make or download this one again")
        };
        if start.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
            return Err(
                PluginError::config(format!("the shard `{name}` is compressed with zstd"))
                    .with_help(
                        "plain and gzip-compressed tar archives are read: unpack it with `zstd -d`",
                    ),
            );
        }
        let mut keys = Keys {
            shard,
            name,
            first: self.samples.len(),
            places: HashMap::new(),
        };
        if start.starts_with(&[0x1F, 0x8B]) {
            let mut archive = tar::Archive::new(MultiGzDecoder::new(reader));
            for entry in archive.entries().map_err(damaged)? {
                let mut entry = entry.map_err(damaged)?;
                if let Some((key, extension)) = member_name(&entry) {
                    let (place, length_bytes) = self.spool.append(&mut entry).map_err(damaged)?;
                    if length_bytes != entry.size() {
                        return Err(damaged(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                    keys.add(
                        &mut self.samples,
                        key,
                        Member {
                            extension,
                            place,
                            length_bytes,
                        },
                    )?;
                }
            }
            // What follows the archive's end is read too: the checksum of the compressed data stands there.
            std::io::copy(&mut archive.into_inner(), &mut std::io::sink()).map_err(damaged)?;
        } else {
            let mut reader = reader;
            let total = reader.seek(SeekFrom::End(0)).map_err(damaged)?;
            reader.seek(SeekFrom::Start(0)).map_err(damaged)?;
            if total == 0 {
                return Err(damaged(std::io::ErrorKind::UnexpectedEof.into()));
            }
            let mut archive = tar::Archive::new(reader);
            for entry in archive.entries_with_seek().map_err(damaged)? {
                let entry = entry.map_err(damaged)?;
                let (offset, length_bytes) = (entry.raw_file_position(), entry.size());
                // Seeking past the end is no error for a file, so a cut shard would be noticed only when the member is read.
                if offset
                    .checked_add(length_bytes)
                    .is_none_or(|end| end > total)
                {
                    return Err(damaged(std::io::ErrorKind::UnexpectedEof.into()));
                }
                if let Some((key, extension)) = member_name(&entry) {
                    keys.add(
                        &mut self.samples,
                        key,
                        Member {
                            extension,
                            place: Place::Shard(offset),
                            length_bytes,
                        },
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// The samples of the shard that is being listed, by key.
struct Keys<'a> {
    shard: usize,
    name: &'a str,
    first: usize,
    places: HashMap<String, usize>,
}

impl Keys<'_> {
    fn add(
        &mut self,
        samples: &mut Vec<Sample>,
        key: String,
        member: Member,
    ) -> Result<(), PluginError> {
        let index = match self.places.entry(key) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                samples.push(Sample {
                    key: place.key().clone(),
                    members: Vec::new(),
                    shard: self.shard,
                });
                *place.insert(samples.len() - 1)
            }
        };
        debug_assert!(index >= self.first);
        let sample = &mut samples[index];
        if sample.member(&member.extension).is_some() {
            return Err(PluginError::config(format!(
                "the shard `{}` holds two files named `{}.{}`",
                self.name, sample.key, member.extension,
            )));
        }
        sample.members.push(member);
        Ok(())
    }
}

/// Key and extension of a regular file; `None` for folders, links, and names that begin with a dot or have no extension.
fn member_name<R: Read>(entry: &tar::Entry<'_, R>) -> Option<(String, String)> {
    if !entry.header().entry_type().is_file() {
        return None;
    }
    let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let path = path.trim_start_matches("./");
    let (folder, name) = path
        .rsplit_once('/')
        .map_or(("", path), |(folder, name)| (folder, name));
    let (stem, extension) = name.split_once('.')?;
    if stem.is_empty() || extension.is_empty() {
        return None;
    }
    let key = if folder.is_empty() {
        stem.to_owned()
    } else {
        format!("{folder}/{stem}")
    };
    Some((key, extension.to_ascii_lowercase()))
}

/// The shards directly in `folder`, by name.
///
/// # Errors
/// The folder cannot be listed; names it.
pub fn shards_in(folder: &Path) -> Result<Vec<PathBuf>, PluginError> {
    let cannot = |error: std::io::Error| {
        PluginError::config(format!(
            "the folder `{}` cannot be listed: {error}",
            folder.display()
        ))
    };
    let mut shards = Vec::new();
    for item in std::fs::read_dir(folder).map_err(cannot)? {
        let path = item.map_err(cannot)?.path();
        let is_shard = path
            .file_name()
            .is_some_and(|name| is_shard_name(&name.to_string_lossy()));
        if is_shard && path.is_file() {
            shards.push(path);
        }
    }
    shards.sort();
    Ok(shards)
}
