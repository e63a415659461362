//! The samples of one split: which picture, and which texts.

use dsl_sdk::captions::{self, Captions};
use dsl_sdk::image_folder::{ImageFolder, Reading};
use dsl_sdk::picture_set::PictureRef;
use dsl_sdk::serde_json::{Map, Value};
use dsl_sdk::webdataset::WebDataset;
use dsl_sdk::{Host, PluginError};
use shards::{ShardNotes, shard_sample};

use super::locate::Location;
use super::only::{Kept, Only};
use crate::config::{DataConfig, OnError};

mod shards;

/// How often the host is asked for a stop and told of progress, in samples.
const REPORT_EVERY: usize = 1000;

/// The samples of one split.
#[derive(Debug)]
pub(crate) struct Source {
    pub samples: Vec<Sample>,
    pub shards: Option<WebDataset>,
    /// What was left out, under `on_error: skip`.
    pub skipped: Skipped,
    /// What `only` kept, where it is set.
    pub kept: Option<Kept>,
    /// Choices that were made where more than one was possible, for the log.
    pub notes: Vec<String>,
}

/// One picture with its texts.
#[derive(Debug)]
pub(crate) struct Sample {
    pub captions: Captions,
    pub picture: PictureRef,
}

/// Samples that were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub pictures: u64,
    pub captions: u64,
    /// Why the first one was.
    pub first: Option<String>,
}

impl Skipped {
    pub(crate) fn total(&self) -> u64 {
        self.pictures + self.captions
    }
}

/// What is wrong with a sample.
enum Flaw {
    Picture(PluginError),
    Caption(PluginError),
}

/// Why there are no samples.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// `only` kept none.
    NothingKept(PluginError),
    Failed(PluginError),
}

impl From<PluginError> for OpenError {
    fn from(error: PluginError) -> Self {
        OpenError::Failed(error)
    }
}

impl From<OpenError> for PluginError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NothingKept(error) | OpenError::Failed(error) => error,
        }
    }
}

impl Source {
    /// Lists the samples that `only` keeps; pictures are not opened.
    pub(crate) fn open(
        location: &Location,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, OpenError> {
        let source = match location {
            Location::Folder { folder, root } => {
                Self::from_folder(ImageFolder::open(folder, root.as_deref())?, config, host)?
            }
            Location::Shards(shards) => {
                Self::from_shards(WebDataset::open(shards.clone())?, config, host)?
            }
        };
        source.check_not_empty()?;
        Ok(source)
    }

    /// An error when nothing is left.
    pub(crate) fn check_not_empty(&self) -> Result<(), PluginError> {
        if !self.samples.is_empty() {
            return Ok(());
        }
        let first = self.skipped.first.as_deref().unwrap_or("no reason noted");
        Err(PluginError::config(format!(
            "all {} pictures were skipped; the first one: {first}",
            self.skipped.total()
        ))
        .with_help("set `task.data.on_error: fail` and mend what it names"))
    }

    fn empty(shards: Option<WebDataset>) -> Self {
        Self {
            samples: Vec::new(),
            shards,
            skipped: Skipped::default(),
            kept: None,
            notes: Vec::new(),
        }
    }

    /// Adds a sample; or fails, or counts it, as the config says.
    fn add(
        &mut self,
        config: &DataConfig,
        sample: Result<Sample, Flaw>,
    ) -> Result<(), PluginError> {
        match (sample, config.on_error) {
            (Ok(sample), _) => self.samples.push(sample),
            (Err(Flaw::Picture(error) | Flaw::Caption(error)), OnError::Fail) => return Err(error),
            (Err(Flaw::Picture(error)), OnError::Skip) => self.skip_picture(&error),
            (Err(Flaw::Caption(error)), OnError::Skip) => {
                self.skipped.captions += 1;
                self.skipped.first.get_or_insert(error.message);
            }
        }
        Ok(())
    }

    /// Counts a picture that is left out.
    pub(crate) fn skip_picture(&mut self, error: &PluginError) {
        self.skipped.pictures += 1;
        self.skipped
            .first
            .get_or_insert_with(|| error.message.clone());
    }

    fn from_folder(
        folder: ImageFolder,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, OpenError> {
        let mut source = Self::empty(None);
        let mut only = Only::new(&config.only);
        source.notes.extend(folder.ambiguity.clone());
        if folder.reading == Reading::Metadata
            && let Some(entry) = folder.entries.first()
        {
            source
                .notes
                .extend(two_columns(&entry.fields, config, &entry.origin));
        }
        let total = folder.entries.len();
        for (index, entry) in folder.entries.into_iter().enumerate() {
            report(host, index, total)?;
            if only.as_mut().is_some_and(|only| !only.keeps(&entry.fields)) {
                continue;
            }
            let sample = folder_sample(folder.reading, entry, config);
            source.add(config, sample)?;
        }
        source.set_kept(only)?;
        if source.kept.is_some() {
            // Without a record there is no value that could be in the list.
            return Ok(source);
        }
        for picture in folder.unlisted {
            let error = PluginError::config(format!("no line of metadata.jsonl names the picture `{}`", picture.display()))
                .with_help("add a line for it, or move it away; `task.data.on_error: skip` leaves such pictures out");
            source.add(config, Err(Flaw::Caption(error)))?;
        }
        Ok(source)
    }

    fn from_shards(
        shards: WebDataset,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, OpenError> {
        let mut source = Self::empty(None);
        let mut only = Only::new(&config.only);
        let mut notes = ShardNotes::default();
        let total = shards.samples().len();
        for (index, sample) in shards.samples().iter().enumerate() {
            report(host, index, total)?;
            let sample = match &mut only {
                None => shard_sample(&shards, index, None, config, &mut notes),
                Some(only) => match shards.record(sample) {
                    Ok(record) if only.keeps(&record) => {
                        shard_sample(&shards, index, Some(record), config, &mut notes)
                    }
                    Ok(_) => continue,
                    Err(error) => Err(Flaw::Caption(error)),
                },
            };
            source.add(config, sample)?;
        }
        source.set_kept(only)?;
        source
            .notes
            .extend([notes.picture, notes.text].into_iter().flatten());
        source.shards = Some(shards);
        Ok(source)
    }

    fn set_kept(&mut self, only: Option<Only<'_>>) -> Result<(), OpenError> {
        self.kept = only
            .map(Only::finish)
            .transpose()
            .map_err(OpenError::NothingKept)?;
        Ok(())
    }
}

fn report(host: &Host, done: usize, total: usize) -> Result<(), PluginError> {
    if done % REPORT_EVERY == REPORT_EVERY - 1 {
        if host.cancelled() {
            return Err(PluginError::cancelled());
        }
        host.progress(done as u64, total as u64, "reading captions");
    }
    Ok(())
}

/// A sentence, when both default columns hold captions and the config chooses none.
fn two_columns(fields: &Map<String, Value>, config: &DataConfig, origin: &str) -> Option<String> {
    if config.caption_column.is_some() {
        return None;
    }
    let [first, second] = captions::DEFAULT_COLUMNS;
    let both = [first, second]
        .iter()
        .all(|column| captions::find_in(fields, Some(column)).is_some());
    both.then(|| {
        format!("{origin} has the columns `{first}` and `{second}`: `{first}` was taken; `task.data.caption_column` chooses")
    })
}

fn keywords(fields: &Map<String, Value>, config: &DataConfig) -> Vec<String> {
    fields
        .get(&config.keywords_column)
        .map(captions::keywords_in)
        .unwrap_or_default()
}

/// Which columns were looked for, and which there are, for a message.
fn columns(fields: &Map<String, Value>, config: &DataConfig) -> String {
    let wanted = match &config.caption_column {
        Some(column) => format!("`{column}`"),
        None => captions::DEFAULT_COLUMNS
            .map(|column| format!("`{column}`"))
            .join(" or "),
    };
    let found = fields
        .keys()
        .map(|key| format!("`{key}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let found = if found.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {found}")
    };
    format!("no text in the column {wanted}; {found}")
}

const CAPTION_HELP: &str = "write a caption, or name its column with `task.data.caption_column`; `task.data.on_error: skip` leaves such pictures out";

fn no_caption(origin: &str, why: &str) -> Flaw {
    Flaw::Caption(
        PluginError::config(format!("`{origin}` has no caption: {why}")).with_help(CAPTION_HELP),
    )
}

fn folder_sample(
    reading: Reading,
    entry: dsl_sdk::image_folder::Entry,
    config: &DataConfig,
) -> Result<Sample, Flaw> {
    let captions = match reading {
        Reading::Metadata => {
            let Some((_, texts)) =
                captions::find_in(&entry.fields, config.caption_column.as_deref())
            else {
                return Err(no_caption(&entry.origin, &columns(&entry.fields, config)));
            };
            if !entry.image.is_file() {
                let message = format!(
                    "{}: there is no picture `{}`",
                    entry.origin,
                    entry.image.display()
                );
                return Err(Flaw::Picture(PluginError::io(message).with_help(
                    "`file_name` is seen from the folder of metadata.jsonl; `task.data.on_error: skip` leaves such lines out",
                )));
            }
            Captions {
                texts,
                keywords: keywords(&entry.fields, config),
            }
        }
        Reading::Sidecar => {
            let Some(path) = &entry.sidecar else {
                let mut why = "there is no .txt beside it, and no metadata.jsonl".to_owned();
                if entry.image.with_file_name("metadata.csv").is_file() {
                    why.push_str(" (metadata.csv is not read: write its rows as lines of JSON)");
                }
                return Err(no_caption(&entry.origin, &why));
            };
            let text = std::fs::read(path).map_err(|error| {
                Flaw::Caption(PluginError::io_at("read the caption", path, &error))
            })?;
            let text = text_of(text).map_err(|why| no_caption(&path.display().to_string(), why))?;
            Captions {
                texts: vec![text],
                keywords: Vec::new(),
            }
        }
    };
    Ok(Sample {
        captions,
        picture: PictureRef::File(entry.image),
    })
}

/// A caption from the bytes of a text file.
fn text_of(bytes: Vec<u8>) -> Result<String, &'static str> {
    let text = String::from_utf8(bytes).map_err(|_| "the text is not UTF-8")?;
    let text = captions::clean(&text);
    if text.is_empty() {
        Err("the text is empty")
    } else {
        Ok(text)
    }
}
