//! The samples of one split: which picture, which captions, and which boxes.

use std::path::Path;

use dsl_sdk::captions;
use dsl_sdk::image_folder::{ImageFolder, METADATA_FILE, Reading};
use dsl_sdk::picture_set::{
    self, Located, Location, OnError, PictureRef, Wanted, locate as locate_path,
};
use dsl_sdk::serde_json::{Map, Value};
use dsl_sdk::webdataset::WebDataset;
use dsl_sdk::{Host, PluginError};

use super::coco::{self, CocoSplit};
use crate::aerial;
use crate::config::{DataConfig, Format};
use crate::regions::{Region, pseudo_caption, regions_of};

/// How often the host is asked for a stop and told of progress, in samples.
const REPORT_EVERY: usize = 1000;

/// One split.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    Set(Location),
    Coco(CocoSplit),
}

/// Train, test where there is one, and choices that were made, for the log.
pub(crate) type Places = (Place, Option<Place>, Vec<String>);

/// Finds the splits that the config names.
pub(crate) fn locate(config: &DataConfig) -> Result<Places, PluginError> {
    let sets = |located: Located| {
        let test = located.test.map(Place::Set);
        (Place::Set(located.train), test, located.notes)
    };
    let Some(path) = &config.path else {
        return Ok(sets(aerial::located()));
    };
    let root = Path::new(path);
    let format = match config.format {
        Format::Auto => picture_set::Format::Auto,
        Format::ImageFolder => picture_set::Format::ImageFolder,
        Format::WebDataset => picture_set::Format::WebDataset,
        Format::Coco if !root.is_dir() => {
            return Err(picture_set::no_such_path(path)
                .with_help("give the folder that holds `annotations` and the pictures"));
        }
        Format::Coco => picture_set::Format::Auto,
    };
    if matches!(config.format, Format::Auto | Format::Coco) {
        match coco::splits(root, config) {
            (Some(train), test) => {
                return Ok((Place::Coco(train), test.map(Place::Coco), Vec::new()));
            }
            (None, test) if config.format == Format::Coco || test.is_some() => {
                return Err(PluginError::config(format!(
                    "`{path}` has no COCO file of the split `{}`",
                    config.train_split
                ))
                .with_help(format!(
                    "`annotations/instances_{0}.json` (a year may follow) and `{0}/_annotations.coco.json` were looked for; \
                     `task.data.train_split` names another split",
                    config.train_split
                )));
            }
            (None, _) => {}
        }
    }
    locate_path(&Wanted {
        path,
        format,
        train_split: &config.train_split,
        test_split: config.test_split.as_deref(),
    })
    .map(sets)
}

/// The samples of one split.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub samples: Vec<Sample>,
    pub shards: Option<WebDataset>,
    /// What was left out, under `on_error: skip`.
    pub skipped: Skipped,
    /// Pictures of COCO without a box.
    pub without_boxes: u64,
    /// Choices that were made where more than one was possible, for the log.
    pub notes: Vec<String>,
}

/// One picture with its texts and boxes.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Equally good captions, at least one.
    pub texts: Vec<String>,
    pub regions: Vec<Region>,
    pub picture: PictureRef,
    /// Where its record stands, for messages.
    pub origin: String,
}

/// Samples that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub count: u64,
    /// Why the first one was.
    pub first: Option<String>,
}

impl Skipped {
    pub(crate) fn add(&mut self, error: &PluginError) {
        self.count += 1;
        self.first.get_or_insert_with(|| error.message.clone());
    }
}

impl Source {
    /// Lists the samples of a split; pictures are not opened.
    pub(crate) fn open(
        place: &Place,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, PluginError> {
        let source = match place {
            Place::Set(Location::Folder { folder, root }) => {
                Self::from_folder(ImageFolder::open(folder, root.as_deref())?, config, host)?
            }
            Place::Set(Location::Shards(shards)) => {
                Self::from_shards(WebDataset::open(shards.clone())?, config, host)?
            }
            Place::Coco(split) => coco::open(split, config, host)?,
        };
        source.check_not_empty()?;
        Ok(source)
    }

    /// An error when nothing is left.
    pub(crate) fn check_not_empty(&self) -> Result<(), PluginError> {
        if !self.samples.is_empty() {
            return Ok(());
        }
        Err(match &self.skipped.first {
            Some(first) => PluginError::config(format!(
                "all {} samples were skipped; the first one: {first}",
                self.skipped.count
            ))
            .with_help("set `task.data.on_error: fail` and mend what it names"),
            None => PluginError::config(format!(
                "there is no picture with a box among {}",
                self.without_boxes
            ))
            .with_help("boxes around crowds do not count"),
        })
    }

    /// Adds a sample; or fails, or counts it, as the config says.
    pub(crate) fn add(
        &mut self,
        config: &DataConfig,
        sample: Result<Sample, PluginError>,
    ) -> Result<(), PluginError> {
        match (sample, config.on_error) {
            (Ok(sample), _) => self.samples.push(sample),
            (Err(error), OnError::Fail) => return Err(error),
            (Err(error), OnError::Skip) => self.skipped.add(&error),
        }
        Ok(())
    }

    fn from_folder(
        folder: ImageFolder,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, PluginError> {
        if folder.reading == Reading::Sidecar {
            let first = folder.entries.first().map(|entry| entry.origin.as_str());
            return Err(PluginError::config(format!(
                "there is no {METADATA_FILE} beside `{}`: boxes are read from it",
                first.unwrap_or_default()
            ))
            .with_help("write a line for each picture, such as {\"file_name\": \"0001.png\", \"text\": \"a cat\", \"boxes\": [{\"xyxy\": [0.1, 0.2, 0.6, 0.9], \"phrase\": \"cat\"}]}"));
        }
        let mut source = Self::default();
        source.notes.extend(folder.ambiguity);
        let total = folder.entries.len();
        for (index, entry) in folder.entries.into_iter().enumerate() {
            report(host, index, total)?;
            let picture = if entry.image.is_file() {
                Ok(PictureRef::File(entry.image))
            } else {
                Err(PluginError::io(format!(
                    "{}: there is no picture `{}`",
                    entry.origin,
                    entry.image.display()
                ))
                .with_help("`file_name` is seen from the folder of metadata.jsonl; `task.data.on_error: skip` leaves such lines out"))
            };
            let sample =
                picture.and_then(|picture| sample(&entry.fields, entry.origin, picture, config));
            source.add(config, sample)?;
        }
        if !folder.unlisted.is_empty() {
            source.notes.push(format!(
                "{} pictures are named by no line of {METADATA_FILE} and are left out, such as `{}`",
                folder.unlisted.len(),
                folder.unlisted[0].display()
            ));
        }
        Ok(source)
    }

    fn from_shards(
        shards: WebDataset,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, PluginError> {
        let mut source = Self::default();
        let total = shards.samples().len();
        for (index, found) in shards.samples().iter().enumerate() {
            report(host, index, total)?;
            let origin = shards.origin(found);
            let picture = WebDataset::pictures(found).first().copied();
            let picture = picture.ok_or_else(|| {
                PluginError::config(format!("`{origin}` has no picture")).with_help("PNG, JPEG and WebP are read; `task.data.on_error: skip` leaves such samples out")
            });
            let sample = picture.and_then(|member| {
                let place = PictureRef::Member {
                    sample: index,
                    member,
                };
                sample(&shards.record(found)?, origin, place, config)
            });
            source.add(config, sample)?;
        }
        source.shards = Some(shards);
        Ok(source)
    }
}

/// A sample of its record. Without a caption its phrases are one.
fn sample(
    record: &Map<String, Value>,
    origin: String,
    picture: PictureRef,
    config: &DataConfig,
) -> Result<Sample, PluginError> {
    let regions = regions_of(record, &origin)?;
    let column = config.caption_column.as_deref();
    let texts = match (captions::find_in(record, column), column) {
        (Some((_, texts)), _) => texts,
        (None, None) => vec![pseudo_caption(
            regions.iter().map(|region| region.phrase.as_str()),
        )],
        (None, Some(column)) => {
            return Err(PluginError::config(format!(
                "{origin}: there is no text in the column `{column}`"
            ))
            .with_help("without `task.data.caption_column` the phrases are the caption; `task.data.on_error: skip` leaves such pictures out"));
        }
    };
    Ok(Sample {
        texts,
        regions,
        picture,
        origin,
    })
}

pub(crate) fn report(host: &Host, done: usize, total: usize) -> Result<(), PluginError> {
    if done % REPORT_EVERY == REPORT_EVERY - 1 {
        if host.cancelled() {
            return Err(PluginError::cancelled());
        }
        host.progress(done as u64, total as u64, "reading boxes");
    }
    Ok(())
}
