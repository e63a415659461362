//! Where the pictures are: which of the forms a path is, and which part of it belongs to which split.

use std::path::{Path, PathBuf};

use super::Format;
use crate::PluginError;
use crate::image::is_picture_name;
use crate::image_folder::METADATA_FILE;
use crate::webdataset::{ShardSource, expand_braces, has_braces, is_shard_name, shards_in};

/// The name of the train split, when the config gives none.
const TRAIN_SPLIT: &str = "train";
/// Names of a test split, when the config gives none; the first one found counts.
pub const TEST_SPLITS: [&str; 6] = ["test", "validation", "val", "valid", "dev", "eval"];

/// The parts of a data set.
#[derive(Debug, PartialEq)]
pub struct Located {
    /// What is trained on.
    pub train: Location,
    /// What is held out, where there is such a part.
    pub test: Option<Location>,
    /// Choices that were made where more than one was possible, for the log.
    pub notes: Vec<String>,
}

/// One split.
#[derive(Clone, Debug, PartialEq)]
pub enum Location {
    /// A folder of pictures.
    Folder {
        /// The folder of the split.
        folder: PathBuf,
        /// The folder of the whole set, where that is another one.
        root: Option<PathBuf>,
    },
    /// Shards.
    Shards(Vec<ShardSource>),
}

/// What a user says of a set.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// A folder of pictures, a folder of shards, one shard, or a pattern of shards.
    pub path: &'a str,
    /// How it is read.
    pub format: Format,
    /// Folder name, or word in shard names, of the train split.
    pub train_split: &'a str,
    /// The same for the test split; without, the first there is of [`TEST_SPLITS`].
    pub test_split: Option<&'a str>,
}

/// Finds the splits of a set.
///
/// # Errors
/// A path or a split that is not there, and a folder whose only split is one to test with.
pub fn locate(wanted: &Wanted<'_>) -> Result<Located, PluginError> {
    let given = wanted.path;
    let path = Path::new(given);
    if path.is_dir() {
        return in_folder(wanted, path);
    }
    if path.is_file() {
        let is_shard = path
            .file_name()
            .is_some_and(|name| is_shard_name(&name.to_string_lossy()));
        if wanted.format == Format::ImageFolder || (wanted.format == Format::Auto && !is_shard) {
            return Err(PluginError::config(format!("`task.data.path` is the file `{given}`, not a folder of pictures"))
                .with_help("give the folder that holds the pictures, or a WebDataset shard (.tar, .tar.gz, .tgz)"));
        }
        return split_shards(wanted, vec![path.to_owned()]);
    }
    if has_braces(given) && wanted.format != Format::ImageFolder {
        let shards = expand_braces(given)?
            .into_iter()
            .map(PathBuf::from)
            .collect();
        return split_shards(wanted, shards);
    }
    Err(no_such_path(given).with_help(
        "give a folder of pictures, a folder of WebDataset shards, a shard, or a pattern such as train-{000..017}.tar; or leave the key \
         out for the set inside the plugin",
    ))
}

/// The error for a `task.data.path` that is not there; it says from where a relative one was seen.
pub fn no_such_path(given: &str) -> PluginError {
    let seen_from = match std::env::current_dir() {
        Ok(folder) if Path::new(given).is_relative() => {
            format!(", seen from `{}`", folder.display())
        }
        _ => String::new(),
    };
    PluginError::config(format!(
        "`task.data.path`: there is no `{given}`{seen_from}"
    ))
}

fn in_folder(wanted: &Wanted<'_>, root: &Path) -> Result<Located, PluginError> {
    let train = root.join(wanted.train_split);
    let mut shards = shards_in(root)?;
    if shards.is_empty() && train.is_dir() {
        shards = shards_in(&train)?;
    }
    let has_pictures = [root, train.as_path()]
        .iter()
        .any(|folder| holds_pictures(folder));
    match wanted.format {
        Format::ImageFolder => split_folder(wanted, root),
        Format::WebDataset => shards_of_folder(wanted, root),
        Format::Auto if shards.is_empty() => split_folder(wanted, root),
        Format::Auto if has_pictures => {
            let mut located = split_folder(wanted, root)?;
            located.notes.push(format!(
                "`{}` holds pictures and {} tar archives: the pictures were taken; `task.data.format: webdataset` takes the archives",
                root.display(),
                shards.len(),
            ));
            Ok(located)
        }
        Format::Auto => shards_of_folder(wanted, root),
    }
}

/// Whether pictures or records lie directly in `folder`.
fn holds_pictures(folder: &Path) -> bool {
    let Ok(items) = std::fs::read_dir(folder) else {
        return false;
    };
    items.flatten().any(|item| {
        let name = item.file_name();
        let name = name.to_string_lossy();
        name == METADATA_FILE || is_picture_name(&name)
    })
}

fn split_folder(wanted: &Wanted<'_>, root: &Path) -> Result<Located, PluginError> {
    let train = root.join(wanted.train_split);
    let test_split = wanted.test_split;
    let candidates = test_split.map_or(TEST_SPLITS.to_vec(), |name| vec![name]);
    let test: Vec<&str> = candidates
        .into_iter()
        .filter(|name| root.join(name).is_dir())
        .collect();
    let there_is_no = |key: &str, name: &str| {
        PluginError::config(format!(
            "`task.data.{key}` is `{name}`, but `{}` has no such folder",
            root.display()
        ))
    };
    if let (Some(name), true) = (test_split, test.is_empty()) {
        return Err(there_is_no("test_split", name));
    }
    if !train.is_dir() {
        if wanted.train_split != TRAIN_SPLIT {
            return Err(there_is_no("train_split", wanted.train_split));
        }
        if let Some(name) = test.first() {
            // Taking everything would train on the pictures that are there to test with.
            return Err(PluginError::config(format!(
                "`{}` has a folder `{name}`, but none named `{}` to train on",
                root.display(),
                wanted.train_split,
            ))
            .with_help("name the folder to train on with `task.data.train_split`, or give it as `task.data.path`"));
        }
        let train = Location::Folder {
            folder: root.to_owned(),
            root: None,
        };
        return Ok(Located {
            train,
            test: None,
            notes: Vec::new(),
        });
    }
    let folder = |folder: PathBuf| Location::Folder {
        folder,
        root: Some(root.to_owned()),
    };
    let mut notes = Vec::new();
    if test.len() > 1 {
        notes.push(format!(
            "the folders {} could be the test split: `{}` was taken",
            quoted(&test),
            test[0]
        ));
    }
    if holds_pictures_only(root) {
        notes.push(format!(
            "`{}` holds pictures beside the folder `{}`: only those in the folder are taken",
            root.display(),
            wanted.train_split,
        ));
    }
    Ok(Located {
        train: folder(train),
        test: test.first().map(|name| folder(root.join(name))),
        notes,
    })
}

/// Whether pictures lie directly in `folder`, records aside: a `metadata.jsonl` there serves the splits.
fn holds_pictures_only(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|items| {
        items
            .flatten()
            .any(|item| is_picture_name(&item.file_name().to_string_lossy()))
    })
}

fn shards_of_folder(wanted: &Wanted<'_>, root: &Path) -> Result<Located, PluginError> {
    let shards = shards_in(root)?;
    if !shards.is_empty() {
        return split_shards(wanted, shards);
    }
    let in_split = |name: &str| match root.join(name) {
        folder if folder.is_dir() => shards_in(&folder),
        _ => Ok(Vec::new()),
    };
    let sources = |shards: Vec<PathBuf>| {
        Location::Shards(shards.into_iter().map(ShardSource::File).collect())
    };
    let train = in_split(wanted.train_split)?;
    if train.is_empty() {
        return Err(PluginError::config(format!(
            "no WebDataset shards in `{}`, nor in a folder `{}` there",
            root.display(),
            wanted.train_split,
        ))
        .with_help("shards are files that end in .tar, .tar.gz or .tgz"));
    }
    let candidates = wanted
        .test_split
        .map_or(TEST_SPLITS.to_vec(), |name| vec![name]);
    let mut test = Vec::new();
    for name in candidates {
        test = in_split(name)?;
        if !test.is_empty() {
            break;
        }
    }
    if test.is_empty()
        && let Some(name) = wanted.test_split
    {
        return Err(PluginError::config(format!(
            "`task.data.test_split`: no shards in `{}`",
            root.join(name).display()
        )));
    }
    Ok(Located {
        train: sources(train),
        test: (!test.is_empty()).then(|| sources(test)),
        notes: Vec::new(),
    })
}

/// Tells shards apart by the words in their file names: `cc3m-train-0004.tar` has the word `train`.
fn split_shards(wanted: &Wanted<'_>, shards: Vec<PathBuf>) -> Result<Located, PluginError> {
    let has_word = |shard: &PathBuf, word: &str| {
        let name = shard
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let (name, word) = (
            format!("-{}-", name.replace(|c: char| !c.is_alphanumeric(), "-")),
            word.to_lowercase(),
        );
        name.contains(&format!(
            "-{}-",
            word.replace(|c: char| !c.is_alphanumeric(), "-")
        ))
    };
    let candidates = wanted
        .test_split
        .map_or(TEST_SPLITS.to_vec(), |name| vec![name]);
    let test_word = candidates
        .into_iter()
        .find(|word| shards.iter().any(|shard| has_word(shard, word)));
    if let (Some(word), None) = (wanted.test_split, test_word) {
        return Err(PluginError::config(format!(
            "`task.data.test_split` is `{word}`, but no shard has this word in its name"
        )));
    }
    let mut notes = Vec::new();
    let (mut train, mut test, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for shard in shards {
        if has_word(&shard, wanted.train_split) {
            train.push(shard);
        } else if test_word.is_some_and(|word| has_word(&shard, word)) {
            test.push(shard);
        } else {
            others.push(shard);
        }
    }
    if train.is_empty() && wanted.train_split != TRAIN_SPLIT {
        return Err(PluginError::config(format!(
            "`task.data.train_split` is `{}`, but no shard has this word in its name",
            wanted.train_split,
        )));
    }
    if train.is_empty() && others.is_empty() {
        // Nothing but test shards was named, so that must be meant.
        notes.push(format!(
            "{} shards with test in their names, and no others: they are trained on",
            test.len()
        ));
        train = std::mem::take(&mut test);
    } else if train.is_empty() {
        train = others;
    } else if !others.is_empty() {
        notes.push(format!(
            "{} shards belong to no split and are left out, such as `{}`",
            others.len(),
            others[0].display(),
        ));
    }
    let sources = |shards: Vec<PathBuf>| {
        Location::Shards(shards.into_iter().map(ShardSource::File).collect())
    };
    Ok(Located {
        train: sources(train),
        test: (!test.is_empty()).then(|| sources(test)),
        notes,
    })
}

fn quoted(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
