//! Which pictures belong to which split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dsl_sdk::PluginError;
use dsl_sdk::image_folder::ImageFolder;
use dsl_sdk::picture_set::{TEST_SPLITS, no_such_path};
use dsl_sdk::webdataset::WebDataset;

use super::pairs::pairs_in;
use crate::aerial;
use crate::config::{DataConfig, Layout, PerClass};

/// Folders with low-resolution pictures and with targets.
pub(crate) const INPUTS: &str = "inputs";
pub(crate) const TARGETS: &str = "gts";
/// Names of a train split, when the config gives none; the first one found counts.
const TRAIN_SPLITS: [&str; 2] = ["train", "DIV2K_train_HR"];
/// The name of a test split, beside those that all image tasks know.
const TEST_SPLIT: &str = "DIV2K_valid_HR";

/// Where a picture lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// The sample of that number in the split's shards, inside the plugin.
    Inside(usize),
}

/// A target, and its low-resolution version where it comes with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub target: Place,
    pub low: Option<PathBuf>,
}

/// The pictures of a split.
#[derive(Debug)]
pub(crate) struct Source {
    pub entries: Vec<Entry>,
    /// What [`Place::Inside`] numbers.
    pub shards: Option<WebDataset>,
}

impl From<Vec<Entry>> for Source {
    fn from(entries: Vec<Entry>) -> Self {
        Self {
            entries,
            shards: None,
        }
    }
}

/// The splits of a data set.
#[derive(Debug)]
pub(crate) struct Located {
    pub train: Source,
    pub test: Option<Source>,
    /// Choices that were made where more than one was possible, for the log.
    pub notes: Vec<String>,
}

/// Finds the pictures that the config names.
pub(crate) fn locate(config: &DataConfig) -> Result<Located, PluginError> {
    let Some(path) = config.path.as_deref() else {
        return Ok(Located {
            train: aerial::train()?,
            test: Some(aerial::test()?),
            notes: Vec::new(),
        });
    };
    let root = Path::new(path);
    if !root.is_dir() {
        return Err(not_a_folder(path, root));
    }
    let by_class = !config.classes.is_empty() || config.per_class != PerClass::default();
    match config.layout {
        Layout::ClassFolders => class_folders(config, root),
        Layout::Auto if by_class => class_folders(config, root),
        Layout::Paired => by_split(config, root, pairs_in),
        Layout::Auto if holds_pairs(config, root) => by_split(config, root, pairs_in),
        Layout::Auto | Layout::ImageFolder => by_split(config, root, pictures_in),
    }
}

fn not_a_folder(given: &str, root: &Path) -> PluginError {
    if root.is_file() {
        return PluginError::config(format!(
            "`task.data.path` is the file `{given}`, not a folder of pictures"
        ))
        .with_help("give the folder that holds the pictures");
    }
    no_such_path(given).with_help(
        "give a folder of pictures, or leave the key out for the photographs inside the plugin",
    )
}

fn holds_pairs(config: &DataConfig, root: &Path) -> bool {
    let train = config.train_split.as_deref();
    let folders = [None].into_iter().chain(match train {
        Some(name) => vec![Some(name)],
        None => TRAIN_SPLITS.map(Some).to_vec(),
    });
    folders
        .map(|name| name.map_or(root.to_owned(), |name| root.join(name)))
        .any(|folder| folder.join(INPUTS).is_dir() && folder.join(TARGETS).is_dir())
}

/// The folders of the splits, each read by `read`, which is also told the root of the set.
fn by_split(
    config: &DataConfig,
    root: &Path,
    read: fn(&Path, &Path) -> Result<Vec<Entry>, PluginError>,
) -> Result<Located, PluginError> {
    let there = |key: &str, wanted: &Option<String>, candidates: &[&str]| match wanted {
        Some(name) if root.join(name).is_dir() => Ok(vec![name.clone()]),
        Some(name) => Err(PluginError::config(format!(
            "`task.data.{key}` is `{name}`, but `{}` has no such folder",
            root.display()
        ))
        .with_help("name a folder that lies directly in `task.data.path`")),
        None => Ok(candidates
            .iter()
            .filter(|name| root.join(name).is_dir())
            .map(|&name| name.to_owned())
            .collect()),
    };
    let train = there("train_split", &config.train_split, &TRAIN_SPLITS)?;
    let tests = [&TEST_SPLITS[..], &[TEST_SPLIT]].concat();
    let test = there("test_split", &config.test_split, &tests)?;
    let mut notes = Vec::new();
    for (split, names) in [("train", &train), ("test", &test)] {
        if names.len() > 1 {
            notes.push(format!(
                "the folders {} could be the {split} split: `{}` was taken",
                quoted(names),
                names[0]
            ));
        }
    }
    let Some(train) = train.first() else {
        if let Some(name) = test.first() {
            // Taking everything would train on the pictures that are there to test with.
            return Err(PluginError::config(format!(
                "`{}` has a folder `{name}`, but none to train on: {}",
                root.display(),
                quoted(&TRAIN_SPLITS.map(str::to_owned))
            ))
            .with_help("name the folder to train on with `task.data.train_split`, or give it as `task.data.path`"));
        }
        return Ok(Located {
            train: read(root, root)?.into(),
            test: None,
            notes,
        });
    };
    let test = test.first().map(|name| read(&root.join(name), root));
    Ok(Located {
        train: read(&root.join(train), root)?.into(),
        test: test.transpose()?.map(Source::from),
        notes,
    })
}

/// All pictures of a folder.
fn pictures_in(folder: &Path, root: &Path) -> Result<Vec<Entry>, PluginError> {
    let within = (folder != root).then_some(root);
    let found = ImageFolder::open(folder, within).map_err(|error| {
        if error.message.starts_with("no pictures") {
            return error
                .with_help("PNG, JPEG and WebP files are looked for, in nested folders too");
        }
        error
    })?;
    Ok((found.entries.into_iter())
        .map(|entry| Entry {
            target: Place::File(entry.image),
            low: None,
        })
        .collect())
}

/// A folder for each class: the first pictures of each, by name, and the last ones.
fn class_folders(config: &DataConfig, root: &Path) -> Result<Located, PluginError> {
    let cannot = |error: std::io::Error| PluginError::io_at("list the folder", root, &error);
    let mut classes = BTreeMap::new();
    for item in std::fs::read_dir(root).map_err(cannot)? {
        let path = item.map_err(cannot)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') {
            classes.insert(name.into_owned(), path);
        }
    }
    let names: Vec<String> = classes.keys().cloned().collect();
    if names.is_empty() {
        return Err(PluginError::config(format!(
            "`{}` has no folders, so no classes",
            root.display()
        ))
        .with_help("each class has a folder with its pictures; `task.data.layout: image_folder` reads pictures without classes"));
    }
    let wanted = match config.classes.is_empty() {
        true => names.clone(),
        false => config.classes.clone(),
    };
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for name in &wanted {
        let Some(folder) = classes.get(name) else {
            return Err(PluginError::config(format!(
                "`task.data.classes` has `{name}`, but `{}` has no such folder",
                root.display()
            ))
            .with_help(format!("there are: {}", quoted(&names))));
        };
        let pictures = pictures_in(folder, folder)?;
        let (first, last) = split_of(&pictures, config.per_class, name, folder)?;
        train.extend_from_slice(first);
        test.extend_from_slice(last);
    }
    Ok(Located {
        train: train.into(),
        test: (!test.is_empty()).then(|| test.into()),
        notes: Vec::new(),
    })
}

/// The pictures of a class to train on and to test on.
fn split_of<'a>(
    pictures: &'a [Entry],
    per_class: PerClass,
    class: &str,
    folder: &Path,
) -> Result<(&'a [Entry], &'a [Entry]), PluginError> {
    let count = pictures.len();
    let test = per_class.test.map_or((count / 10).max(1), |n| n as usize);
    let train = per_class
        .train
        .map_or(count.saturating_sub(test).max(1), |n| n as usize);
    if train + test > count {
        return Err(PluginError::config(format!(
            "the class `{class}` has {count} pictures in `{}`, fewer than {train} to train on and {test} to test on",
            folder.display()
        ))
        .with_help("lower `task.data.per_class`, or leave the class out by `task.data.classes`"));
    }
    Ok((&pictures[..train], &pictures[count - test..]))
}

fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
