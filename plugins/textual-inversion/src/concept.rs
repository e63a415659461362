//! What is learned: pictures of one thing, inside the plugin or in a user's folder, and the words for it.

use std::path::Path;

use dsl_sdk::image_folder::ImageFolder;
use dsl_sdk::picture_set::{PictureRef, no_such_path};
use dsl_sdk::serde::Deserialize;
use dsl_sdk::{PluginError, serde_json, tracing};

use crate::config::{BundledConcept, DataConfig, LearnableProperty};
use crate::templates::{GAP, templates};

/// The file beside pictures that says what they are of.
const CONCEPT_FILE: &str = "concept.json";
/// Fewer pictures than this seldom tell the thing from what is around it.
const RECOMMENDED_PICTURES: usize = 3;

/// Pictures of one thing, and the words for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Concept {
    /// To learn from.
    pub train: Vec<PictureRef>,
    /// Held out.
    pub test: Vec<PictureRef>,
    /// The new words, one for each embedding.
    pub tokens: Vec<String>,
    pub initializer: String,
    pub property: LearnableProperty,
    /// Captions with a gap.
    pub templates: Vec<String>,
}

/// The content of [`CONCEPT_FILE`].
#[derive(Debug, Default, Deserialize)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
struct Description {
    placeholder_token: Option<String>,
    initializer: Option<String>,
    template: Option<LearnableProperty>,
}

macro_rules! views {
    ($name:literal: $($azimuth:literal)*) => {{
        const VIEWS: &[(&str, &[u8])] = &[$((
            concat!("concepts/", $name, "/view_", $azimuth, ".png"),
            include_bytes!(concat!("../data/concepts/", $name, "/view_", $azimuth, ".png")),
        )),*];
        (include_str!(concat!("../data/concepts/", $name, "/concept.json")), VIEWS)
    }};
}

/// A thing inside the plugin: [`CONCEPT_FILE`], and its pictures by name. CC0, see `data/concepts`.
fn bundled(concept: BundledConcept) -> (&'static str, &'static [(&'static str, &'static [u8])]) {
    match concept {
        BundledConcept::Chair => views!("chair": "020" "080" "140" "200" "260" "320"),
        BundledConcept::Bear => views!("bear": "020" "080" "140" "200" "260" "320"),
        BundledConcept::Plane => views!("plane": "020" "080" "140" "200" "260" "320"),
        BundledConcept::Horse => views!("horse": "020" "080" "140" "200" "260" "320"),
    }
}

impl Concept {
    /// Finds the pictures and the words that the config names. Pictures are not opened.
    pub(crate) fn open(config: &DataConfig) -> Result<Self, PluginError> {
        let (place, pictures, described) = match &config.path {
            None => {
                let (text, views) = bundled(config.concept);
                let pictures = views
                    .iter()
                    .map(|&(name, bytes)| PictureRef::Embedded {
                        name: name.to_owned(),
                        bytes,
                    })
                    .collect();
                (
                    "the plugin".to_owned(),
                    pictures,
                    parse(text, CONCEPT_FILE)?,
                )
            }
            Some(path) => {
                let folder = Path::new(path);
                if !folder.exists() {
                    return Err(no_such_path(path).with_help(
                        "give a folder with pictures of one thing, or leave the key out for `task.data.concept`",
                    ));
                }
                let pictures = ImageFolder::open(folder, None)
                    .map_err(|error| {
                        error.with_help(
                            "put 3 to 6 pictures of one thing into it: PNG, JPEG or WebP",
                        )
                    })?
                    .entries
                    .into_iter()
                    .map(|entry| PictureRef::File(entry.image))
                    .collect();
                (format!("`{path}`"), pictures, description(folder)?)
            }
        };
        let (train, test) = hold_out(pictures, config.holdout, &place)?;
        let property = config
            .learnable_property
            .or(described.template)
            .unwrap_or_default();
        let token = word(
            "placeholder_token",
            config.placeholder_token.as_ref(),
            described.placeholder_token.as_ref(),
            &place,
        )?;
        let initializer = word(
            "initializer_token",
            config.initializer_token.as_ref(),
            described.initializer.as_ref(),
            &place,
        )?;
        if token == initializer {
            return Err(PluginError::config(format!(
                "`task.data.placeholder_token` and `task.data.initializer_token` are both `{token}`"
            ))
            .with_help("the placeholder is a new word, such as `<my-cat>`; the initializer is a known one, such as `cat`"));
        }
        let further = (1..config.num_vectors).map(|number| format!("{token}_{number}"));
        Ok(Self {
            train,
            test,
            tokens: std::iter::once(token.clone()).chain(further).collect(),
            initializer,
            property,
            templates: match config.templates.is_empty() {
                true => templates(property)
                    .iter()
                    .map(|&text| text.to_owned())
                    .collect(),
                false => config.templates.clone(),
            },
        })
    }

    /// All new words in a row: what stands for the thing in a caption.
    pub(crate) fn words(&self) -> String {
        self.tokens.join(" ")
    }

    /// A caption of a template.
    pub(crate) fn caption(&self, template: &str) -> String {
        template.replace(GAP, &self.words())
    }
}

/// Takes `count` pictures out, spread over the list, so that views of a turn are not neighbours.
fn hold_out(
    pictures: Vec<PictureRef>,
    count: u64,
    place: &str,
) -> Result<(Vec<PictureRef>, Vec<PictureRef>), PluginError> {
    let total = pictures.len();
    let taken = usize::try_from(count).unwrap_or(usize::MAX);
    if taken >= total {
        return Err(PluginError::config(format!(
            "{place} holds {total} {}, and `task.data.holdout` takes {count}: none is left to learn from",
            if total == 1 { "picture" } else { "pictures" }
        ))
        .with_help("add pictures of the same thing, 3 to 6 are recommended; `task.data.holdout: 0` learns from all, without a test split"));
    }
    let is_held = |index: usize| (0..taken).any(|k| (2 * k + 1) * total / (2 * taken) == index);
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (index, picture) in pictures.into_iter().enumerate() {
        if is_held(index) {
            test.push(picture);
        } else {
            train.push(picture);
        }
    }
    if train.len() < RECOMMENDED_PICTURES {
        tracing::warn!(
            "{place} leaves {} to learn from: the word may stand for the whole picture; 3 to 6 pictures with different surroundings \
             are recommended",
            if train.len() == 1 {
                "1 picture".to_owned()
            } else {
                format!("{} pictures", train.len())
            }
        );
    }
    Ok((train, test))
}

fn description(folder: &Path) -> Result<Description, PluginError> {
    let path = folder.join(CONCEPT_FILE);
    if !path.is_file() {
        return Ok(Description::default());
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|error| PluginError::io_at("read", &path, &error))?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, origin: &str) -> Result<Description, PluginError> {
    serde_json::from_str(text).map_err(|error| {
        PluginError::config(format!("`{origin}`: {error}")).with_help(
            "it is an object such as {\"placeholder_token\": \"<my-cat>\", \"initializer\": \"cat\", \"template\": \"object\"}",
        )
    })
}

/// A word of the config, or else of [`CONCEPT_FILE`].
fn word(
    key: &str,
    given: Option<&String>,
    described: Option<&String>,
    place: &str,
) -> Result<String, PluginError> {
    let help = "the placeholder is a new word, such as `<my-cat>`; the initializer is a known one, such as `cat`";
    let Some(word) = given.or(described) else {
        return Err(PluginError::config(format!(
            "`task.data.{key}` is not set, and there is no {CONCEPT_FILE} with it in {place}"
        ))
        .with_help(help));
    };
    let is_word = !word.is_empty()
        && !word.contains(|c: char| c.is_whitespace() || c.is_control())
        && !word.contains(['{', '}']);
    if is_word {
        return Ok(word.clone());
    }
    Err(PluginError::config(format!(
        "`task.data.{key}` is `{word}`, expected one word, without white space and braces"
    ))
    .with_help(help))
}
