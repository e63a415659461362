//! The samples of one split: which picture, and which texts.

use std::path::PathBuf;

use dsl_sdk::captions::{self, CaptionChoice, Captions};
use dsl_sdk::image::is_picture_name;
use dsl_sdk::image_folder::{ImageFolder, Reading};
use dsl_sdk::serde_json::{Map, Value};
use dsl_sdk::webdataset::{self, WebDataset};
use dsl_sdk::{Host, PluginError};

use super::locate::Location;
use crate::config::{DataConfig, OnError};

/// Endings of texts in shards, in the order in which they are tried.
const TEXT_MEMBERS: [&str; 2] = ["txt", "caption"];
/// How often the host is asked for a stop and told of progress, in samples.
const REPORT_EVERY: usize = 1000;

/// The samples of one split.
#[derive(Debug)]
pub(crate) struct Source {
    pub samples: Vec<Sample>,
    shards: Option<WebDataset>,
    /// What was left out, under `on_error: skip`.
    pub skipped: Skipped,
    /// Choices that were made where more than one was possible, for the log.
    pub notes: Vec<String>,
}

/// One picture with its texts.
#[derive(Debug)]
pub(crate) struct Sample {
    pub captions: Captions,
    picture: PictureRef,
}

#[derive(Debug)]
enum PictureRef {
    File(PathBuf),
    Member { sample: usize, member: usize },
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

impl Source {
    /// Lists the samples; pictures are not opened.
    pub(crate) fn open(
        location: &Location,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, PluginError> {
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

    /// The file of a sample's picture. `[any thread]`
    pub(crate) fn read(&self, sample: &Sample) -> Result<Vec<u8>, PluginError> {
        match (&sample.picture, &self.shards) {
            (PictureRef::Member { sample, member }, Some(shards)) => {
                let sample = &shards.samples()[*sample];
                shards.read(sample, &sample.members[*member])
            }
            (PictureRef::File(path), _) => std::fs::read(path)
                .map_err(|error| PluginError::io_at("read the image", path, &error)),
            (PictureRef::Member { .. }, None) => {
                Err(PluginError::other("a member without its shard"))
            }
        }
    }

    /// The name of a sample's picture, for messages.
    pub(crate) fn origin(&self, sample: &Sample) -> String {
        match (&sample.picture, &self.shards) {
            (PictureRef::Member { sample, member }, Some(shards)) => {
                let sample = &shards.samples()[*sample];
                shards.member_origin(sample, &sample.members[*member])
            }
            (PictureRef::File(path), _) => path.display().to_string(),
            (PictureRef::Member { .. }, None) => String::new(),
        }
    }

    fn empty(shards: Option<WebDataset>) -> Self {
        Self {
            samples: Vec::new(),
            shards,
            skipped: Skipped::default(),
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
    ) -> Result<Self, PluginError> {
        let mut source = Self::empty(None);
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
            let sample = folder_sample(folder.reading, entry, config);
            source.add(config, sample)?;
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
    ) -> Result<Self, PluginError> {
        let mut source = Self::empty(None);
        let mut notes = ShardNotes::default();
        let total = shards.samples().len();
        for (index, sample) in shards.samples().iter().enumerate() {
            report(host, index, total)?;
            let sample = shard_sample(&shards, index, sample, config, &mut notes);
            source.add(config, sample)?;
        }
        source
            .notes
            .extend([notes.picture, notes.text].into_iter().flatten());
        source.shards = Some(shards);
        Ok(source)
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

/// What the first sample with a choice led to.
#[derive(Default)]
struct ShardNotes {
    looked: bool,
    picture: Option<String>,
    text: Option<String>,
}

fn shard_sample(
    shards: &WebDataset,
    index: usize,
    sample: &webdataset::Sample,
    config: &DataConfig,
    notes: &mut ShardNotes,
) -> Result<Sample, Flaw> {
    let member = picture_member(shards, sample, notes)?;
    let captions = shard_captions(shards, sample, config, notes)?;
    Ok(Sample {
        captions,
        picture: PictureRef::Member {
            sample: index,
            member,
        },
    })
}

/// The member that is the picture: one named by its format alone (`png`) before one with a longer ending (`left.png`).
fn picture_member(
    shards: &WebDataset,
    sample: &webdataset::Sample,
    notes: &mut ShardNotes,
) -> Result<usize, Flaw> {
    let pictures: Vec<usize> = (0..sample.members.len())
        .filter(|&member| is_picture_name(&format!("key.{}", sample.members[member].extension)))
        .collect();
    let plain = pictures
        .iter()
        .copied()
        .find(|&member| !sample.members[member].extension.contains('.'));
    let Some(taken) = plain.or(pictures.first().copied()) else {
        let found = sample
            .members
            .iter()
            .map(|member| format!(".{}", member.extension))
            .collect::<Vec<_>>()
            .join(", ");
        return Err(Flaw::Picture(
            PluginError::config(format!(
                "`{}` has no picture; it has {found}",
                shards.origin(sample)
            ))
            .with_help(
                "PNG, JPEG and WebP are read; `task.data.on_error: skip` leaves such samples out",
            ),
        ));
    };
    if pictures.len() > 1 {
        notes.picture.get_or_insert_with(|| {
            format!(
                "`{}` has {} pictures: .{} was taken",
                shards.origin(sample),
                pictures.len(),
                sample.members[taken].extension,
            )
        });
    }
    Ok(taken)
}

fn shard_captions(
    shards: &WebDataset,
    sample: &webdataset::Sample,
    config: &DataConfig,
    notes: &mut ShardNotes,
) -> Result<Captions, Flaw> {
    let column = config.caption_column.as_deref();
    let text_member = match column {
        Some(column) => sample
            .member(&column.to_lowercase())
            .filter(|member| member.extension != "json"),
        None => TEXT_MEMBERS
            .iter()
            .find_map(|extension| sample.member(extension)),
    };
    let uses_keywords = config.caption != CaptionChoice::Caption;
    // The first sample's record is read in any case, to tell the user of a second reading.
    let is_first = !std::mem::replace(&mut notes.looked, true);
    let wants_record = text_member.is_none() || uses_keywords || is_first;
    let record = match sample.member("json").filter(|_| wants_record) {
        Some(member) => record_of(shards, sample, member).map(Some),
        None => Ok(None),
    };
    let record = match (record, text_member) {
        (Ok(record), _) => record.unwrap_or_default(),
        // A broken record does not matter where nothing is taken from it.
        (Err(_), Some(_)) if !uses_keywords => Map::new(),
        (Err(error), _) => return Err(Flaw::Caption(error)),
    };
    let found = captions::find_in(&record, column);
    let texts = match (text_member, found) {
        (Some(member), found) => {
            let origin = shards.member_origin(sample, member);
            if let Some((column, _)) = found {
                notes.text.get_or_insert_with(|| {
                    format!(
                        "`{origin}` is a caption, and so is `{column}` of the .json: .{} was taken",
                        member.extension
                    )
                });
            }
            let bytes = shards.read(sample, member).map_err(Flaw::Caption)?;
            vec![text_of(bytes).map_err(|why| no_caption(&origin, why))?]
        }
        (None, Some((_, texts))) => {
            if let Some(note) = two_columns(&record, config, &shards.origin(sample)) {
                notes.text.get_or_insert(note);
            }
            texts
        }
        (None, None) => {
            let why = match (sample.member("json"), column) {
                (Some(_), _) => columns(&record, config),
                (None, Some(column)) => {
                    format!("there is neither .{column} nor .json with `{column}`")
                }
                (None, None) => "there is no .txt, .caption or .json with it".to_owned(),
            };
            return Err(no_caption(&shards.origin(sample), &why));
        }
    };
    Ok(Captions {
        texts,
        keywords: keywords(&record, config),
    })
}

fn record_of(
    shards: &WebDataset,
    sample: &webdataset::Sample,
    member: &webdataset::Member,
) -> Result<Map<String, Value>, PluginError> {
    let bytes = shards.read(sample, member)?;
    let origin = || shards.member_origin(sample, member);
    match dsl_sdk::serde_json::from_slice(&bytes) {
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
