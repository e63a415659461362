//! The configuration of the task: what is read, and how a picture and a caption are made of it.

use std::collections::BTreeMap;

use dsl_sdk::PluginError;
use dsl_sdk::buckets::{Bucketing, BucketsConfig};
use dsl_sdk::captions::CaptionChoice;
use dsl_sdk::image::{Filter, Resize};
pub use dsl_sdk::picture_set::{Format, OnError};
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Deserializer, Serialize, de};
use dsl_sdk::serde_json::Value;

/// Text to image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct T2iConfig {
    /// Pictures and captions.
    pub data: DataConfig,
}

/// Pictures and captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct DataConfig {
    /// A folder of pictures (Hugging Face imagefolder, or .txt captions), a folder of WebDataset shards, one shard, or a pattern
    /// such as `shards/train-{000000..000017}.tar`. `null` is the emoji set inside the plugin.
    #[schemars(extend("format" = "path"))]
    pub path: Option<String>,
    /// How `path` is read.
    pub format: Format,
    /// Folder name, or word in shard names, of the pictures to train on.
    #[schemars(length(min = 1))]
    pub train_split: String,
    /// The same for the pictures to test on. `null` takes the first there is of test, validation, val, valid, dev, eval.
    #[schemars(length(min = 1))]
    pub test_split: Option<String>,
    /// Column of metadata.jsonl, or key of a shard's .json, that holds the caption; in shards also the ending of a text file.
    /// `null` takes, in a folder, `text` or `caption`; in shards, .txt, .caption, or `text` or `caption` of the .json.
    #[schemars(length(min = 1))]
    pub caption_column: Option<String>,
    /// Column or key that holds keywords, as a list or as text with commas. Only some values of `caption` use it.
    #[schemars(length(min = 1))]
    pub keywords_column: String,
    /// Which samples are used: for a column of metadata.jsonl, or a key of a shard's .json, the values of which a sample must have
    /// one, such as `{group: [Food & Drink, Animals & Nature]}`. Of a list, one entry suffices; of several columns, each must
    /// hold. Empty: all samples.
    #[schemars(extend("additionalProperties" = {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1}))]
    pub only: BTreeMap<String, Vec<Wanted>>,
    /// Which text a sample gets.
    pub caption: CaptionChoice,
    /// Probability that the host replaces a sample's caption by the empty one, for classifier-free guidance. 0.1 as in
    /// Ho and Salimans 2022.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dropout: f64,
    /// Width and height of the pictures, in pixels.
    #[schemars(range(min = 4, max = 4096))]
    pub resolution: u32,
    /// Training on pictures of several aspect ratios: each goes to the bucket nearest to its proportions, of about the area of
    /// the square of `resolution`, and batches are made within a bucket. `{}` takes the usual numbers, which suit a resolution
    /// from 256 up. `null`: all pictures become squares.
    pub buckets: Option<BucketsConfig>,
    /// How a picture becomes a square, or gets the shape of its bucket.
    pub resize: Resize,
    /// How a picture is enlarged or reduced.
    pub filter: Filter,
    /// Red, green and blue (0 to 255) of what shows through transparent pixels and at the borders of `resize: pad`.
    pub background: [u8; 3],
    /// Probability that a picture is mirrored left to right. 0 by default, since text, clocks and captions have a direction.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// What a picture that cannot be read, or has no caption, does.
    pub on_error: OnError,
    /// Memory for pictures that are already decoded and resized, in MiB; the others are read again each time. The numbers are
    /// the same either way.
    pub cache_mib: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            format: Format::Auto,
            train_split: "train".to_owned(),
            test_split: None,
            caption_column: None,
            keywords_column: "keywords".to_owned(),
            only: BTreeMap::new(),
            caption: CaptionChoice::Caption,
            dropout: 0.1,
            resolution: 32,
            buckets: None,
            resize: Resize::CenterCrop,
            filter: Filter::Lanczos,
            background: [255; 3],
            flip: 0.0,
            on_error: OnError::Fail,
            cache_mib: 512,
        }
    }
}

/// A value of `only`, compared as text: numbers and `true` or `false` by what JSON writes for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", transparent)]
#[schemars(crate = "dsl_sdk::schemars", inline)]
pub struct Wanted(pub String);

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(Self(value.to_string())),
            other => Err(de::Error::custom(format!(
                "{other} in `only`, expected a text, a number, true or false"
            ))),
        }
    }
}

impl DataConfig {
    /// The buckets that pictures are sorted into, where they are.
    pub(crate) fn bucketing(&self) -> Result<Option<Bucketing>, PluginError> {
        let (key, resolution_key) = ("task.data.buckets", "task.data.resolution");
        let bucketing = |config| Bucketing::new(config, self.resolution, key, resolution_key);
        self.buckets.map(bucketing).transpose()
    }

    /// Checks what the types leave open; the schema says the same, but not everyone comes through the host.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let outside = |key: &str, value: String, range: &str| {
            Err(PluginError::config(format!(
                "`task.data.{key}` is {value}, expected {range}"
            )))
        };
        for (key, value) in [("dropout", self.dropout), ("flip", self.flip)] {
            if !(0.0..=1.0).contains(&value) {
                return outside(key, value.to_string(), "a probability from 0 to 1");
            }
        }
        if !(4..=4096).contains(&self.resolution) {
            return outside(
                "resolution",
                self.resolution.to_string(),
                "4 to 4096 pixels",
            );
        }
        self.bucketing()?;
        let names = [
            ("path", self.path.as_deref()),
            ("train_split", Some(self.train_split.as_str())),
            ("test_split", self.test_split.as_deref()),
            ("caption_column", self.caption_column.as_deref()),
            ("keywords_column", Some(self.keywords_column.as_str())),
        ];
        for (key, name) in names {
            if name.is_some_and(|name| name.trim().is_empty()) {
                return outside(
                    key,
                    "empty".to_owned(),
                    "a text, or null where the default is null",
                );
            }
        }
        for (column, values) in &self.only {
            if column.trim().is_empty() {
                return outside("only", "a map with an empty column".to_owned(), "a name");
            }
            if values.is_empty() {
                return outside(
                    &format!("only.{column}"),
                    "an empty list".to_owned(),
                    "one value or more; without the column, its values do not matter",
                );
            }
        }
        if self.test_split.as_ref() == Some(&self.train_split) {
            return outside(
                "test_split",
                format!("`{}`", self.train_split),
                "another name than `train_split`",
            );
        }
        for (key, name) in [
            ("train_split", Some(&self.train_split)),
            ("test_split", self.test_split.as_ref()),
        ] {
            if let Some(name) =
                name.filter(|name| name.contains(['/', '\\']) || name.as_str() == "..")
            {
                return outside(key, format!("`{name}`"), "a name, not a path");
            }
        }
        Ok(())
    }
}
