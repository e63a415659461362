//! The configuration of the task: which thing, what its word is, and how pictures and captions are made.

use dsl_sdk::PluginError;
use dsl_sdk::image::{Filter, Resize};
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};

use crate::templates::GAP;

/// Personalization: a few pictures of one thing, and a new word for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct TextualInversionConfig {
    /// The pictures and the word.
    pub data: DataConfig,
    /// What is measured on generated pictures.
    pub evaluation: EvaluationConfig,
}

/// The pictures and the word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct DataConfig {
    /// A folder with pictures of one thing, 3 to 6 of them, and perhaps a concept.json with `placeholder_token`, `initializer` and
    /// `template` (object or style). `null` is `concept`.
    #[schemars(extend("format" = "path"))]
    pub path: Option<String>,
    /// The thing inside the plugin that is learned where there is no `path`.
    pub concept: BundledConcept,
    /// The new word, such as `<my-cat>`; better none that the text encoder knows. `null` takes concept.json's.
    #[schemars(length(min = 1))]
    pub placeholder_token: Option<String>,
    /// How many embeddings the word has: `<my-cat>`, `<my-cat>_1`, … stand in a row for it.
    #[schemars(range(min = 1, max = 64))]
    pub num_vectors: u32,
    /// A known word whose embedding the new ones start from, such as `cat`. `null` takes concept.json's.
    #[schemars(length(min = 1))]
    pub initializer_token: Option<String>,
    /// What the word stands for. `null` takes concept.json's, or `object`.
    pub learnable_property: Option<LearnableProperty>,
    /// Captions with `{}` in the word's place. Empty: 27 for an object, 19 for a style.
    pub templates: Vec<String>,
    /// How often an epoch goes through the pictures.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub repeats: u64,
    /// How many of the pictures are not learned from, but are the test split. 0: all are learned from, and there is no such split.
    pub holdout: u64,
    /// Width and height of the pictures, in pixels: those of the base.
    #[schemars(range(min = 4, max = 4096))]
    pub resolution: u32,
    /// How a picture becomes a square.
    pub resize: Resize,
    /// How a picture is enlarged or reduced.
    pub filter: Filter,
    /// Red, green and blue (0 to 255) of what shows through transparent pixels and at the borders of `resize: pad`.
    pub background: [u8; 3],
    /// Probability that a picture is mirrored left to right.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            concept: BundledConcept::Chair,
            placeholder_token: None,
            num_vectors: 1,
            initializer_token: None,
            learnable_property: None,
            templates: Vec::new(),
            repeats: 100,
            holdout: 1,
            resolution: 32,
            resize: Resize::CenterCrop,
            filter: Filter::Bicubic,
            background: [255; 3],
            flip: 0.5,
        }
    }
}

/// A thing inside the plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum BundledConcept {
    /// A blue deck chair.
    #[default]
    Chair,
    /// A teddy bear.
    Bear,
    /// A toy biplane.
    Plane,
    /// A rocking horse.
    Horse,
}

/// What a word stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum LearnableProperty {
    /// A thing.
    #[default]
    Object,
    /// A way in which pictures are made.
    Style,
}

/// What is measured on generated pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct EvaluationConfig {
    /// Pictures that are generated and compared with the given ones. 0: none. 64 in the reference.
    #[schemars(range(max = 100_000))]
    pub samples: u64,
    /// The host's network for `clip_i`; values of different networks are not comparable. ViT-B/32 in the reference.
    #[schemars(length(min = 1))]
    pub clip: String,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            samples: 8,
            clip: "clip/vit-b-32".to_owned(),
        }
    }
}

impl DataConfig {
    /// Checks what the types leave open; the schema says the same, but not everyone comes through the host.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let outside = |key: &str, value: String, range: &str| {
            Err(PluginError::config(format!(
                "`task.data.{key}` is {value}, expected {range}"
            )))
        };
        if !(0.0..=1.0).contains(&self.flip) {
            return outside("flip", self.flip.to_string(), "a probability from 0 to 1");
        }
        if !(4..=4096).contains(&self.resolution) {
            return outside(
                "resolution",
                self.resolution.to_string(),
                "4 to 4096 pixels",
            );
        }
        if !(1..=64).contains(&self.num_vectors) {
            return outside("num_vectors", self.num_vectors.to_string(), "1 to 64");
        }
        if !(1..=1_000_000).contains(&self.repeats) {
            return outside("repeats", self.repeats.to_string(), "1 to 1,000,000");
        }
        for (index, template) in self.templates.iter().enumerate() {
            if template.matches(GAP).count() != 1 {
                return outside(
                    &format!("templates[{index}]"),
                    format!("`{template}`"),
                    "a caption with one `{}` for the word, such as `a photo of a {}`",
                );
            }
        }
        Ok(())
    }
}
