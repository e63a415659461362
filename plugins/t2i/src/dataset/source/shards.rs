//! Samples of WebDataset shards: which member is the picture, and which text the caption.

use dsl_sdk::PluginError;
use dsl_sdk::captions::{self, CaptionChoice, Captions};
use dsl_sdk::picture_set::PictureRef;
use dsl_sdk::serde_json::{Map, Value};
use dsl_sdk::webdataset::{self, WebDataset};

use super::{Flaw, Sample, columns, keywords, no_caption, text_of, two_columns};
use crate::config::DataConfig;

/// Endings of texts in shards, in the order in which they are tried.
const TEXT_MEMBERS: [&str; 2] = ["txt", "caption"];

/// What the first sample with a choice led to.
#[derive(Default)]
pub(super) struct ShardNotes {
    looked: bool,
    pub picture: Option<String>,
    pub text: Option<String>,
}

/// The sample at `index`; `record` is its .json, where that was read already.
pub(super) fn shard_sample(
    shards: &WebDataset,
    index: usize,
    record: Option<Map<String, Value>>,
    config: &DataConfig,
    notes: &mut ShardNotes,
) -> Result<Sample, Flaw> {
    let sample = &shards.samples()[index];
    let member = picture_member(shards, sample, notes)?;
    let captions = shard_captions(shards, sample, record, config, notes)?;
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
    let pictures = WebDataset::pictures(sample);
    let Some(&taken) = pictures.first() else {
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
    record: Option<Map<String, Value>>,
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
    let record = match record {
        None if wants_record => shards.record(sample),
        known => Ok(known.unwrap_or_default()),
    };
    let record = match (record, text_member) {
        (Ok(record), _) => record,
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
