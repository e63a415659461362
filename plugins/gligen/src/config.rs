//! The configuration of the task: what is read, and how a picture, a caption and boxes are made of it.

use dsl_sdk::PluginError;
use dsl_sdk::image::{Filter, Resize};
pub use dsl_sdk::picture_set::OnError;
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};

/// Most boxes that a sample can have: more than any data set marks, and short of what memory could not hold.
const MOST_BOXES: u32 = 1000;

/// Grounded layout: captions, and boxes with phrases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct GligenConfig {
    /// Pictures, captions and boxes.
    pub data: DataConfig,
    /// What is measured on generated pictures.
    pub evaluation: EvaluationConfig,
}

/// Pictures, captions and boxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct DataConfig {
    /// A folder of pictures with metadata.jsonl, a folder of COCO, or WebDataset shards: a folder, one shard, or a pattern such as
    /// `shards/train-{000000..000017}.tar`. `null` is the set inside the plugin.
    #[schemars(extend("format" = "path"))]
    pub path: Option<String>,
    /// How `path` is read.
    pub format: Format,
    /// Folder name, word in shard names, or part of a COCO file's name, of the pictures to train on.
    #[schemars(length(min = 1))]
    pub train_split: String,
    /// The same for the pictures to test on. `null` takes the first there is of test, validation, val, valid, dev, eval.
    #[schemars(length(min = 1))]
    pub test_split: Option<String>,
    /// Column or key that holds the caption. `null` takes `text` or `caption`; without either, the phrases are the caption.
    #[schemars(length(min = 1))]
    pub caption_column: Option<String>,
    /// Most boxes of a sample; of more, the largest are kept. 30 in the reference.
    #[schemars(range(min = 1, max = 1000))]
    pub max_boxes: u32,
    /// Whether the boxes are drawn as a picture too, which the network gets as a further input channel beside the grounding
    /// tokens. It lets a small network that is trained from scratch see in minutes where boxes are; GLIGEN itself has none with
    /// boxes, and its gates need tens of thousands of steps on a pre-trained base: set it to false there.
    pub layout_map: bool,
    /// Boxes that cover a smaller share of the sample are left out. 0.01 in the reference.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_box_area: f64,
    /// Probability that a training sample has its caption, not the empty one. 0.5 in the reference: what is where is then left to
    /// the boxes.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub prob_use_caption: f64,
    /// Probability that the host replaces a sample's caption by the empty one, for classifier-free guidance; on top of
    /// `prob_use_caption`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dropout: f64,
    /// Probability that the host takes all boxes from a sample, for classifier-free guidance. 0.1 in the reference.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub box_dropout: f64,
    /// Width and height of the pictures, in pixels. 16 is what a network that is trained from scratch in minutes can lay out; 512
    /// in the reference.
    #[schemars(range(min = 4, max = 4096))]
    pub resolution: u32,
    /// How a picture becomes a square; boxes move along.
    pub resize: Resize,
    /// How a picture is enlarged or reduced.
    pub filter: Filter,
    /// Red, green and blue (0 to 255) of what shows through transparent pixels and at the borders of `resize: pad`.
    pub background: [u8; 3],
    /// Probability that a picture and its boxes are mirrored left to right. 0.5 in the reference.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// What a picture that cannot be read, or has wrong boxes, does.
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
            max_boxes: 10,
            layout_map: true,
            min_box_area: 0.01,
            prob_use_caption: 0.5,
            dropout: 0.1,
            box_dropout: 0.1,
            resolution: 16,
            resize: Resize::CenterCrop,
            filter: Filter::Bicubic,
            background: [255; 3],
            flip: 0.5,
            on_error: OnError::Fail,
            cache_mib: 512,
        }
    }
}

/// How `path` is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Format {
    /// By what is found there; the log says what was taken where both were possible.
    #[default]
    Auto,
    /// A folder of pictures with metadata.jsonl.
    ImageFolder,
    /// Tar archives, plain or gzip-compressed, with a .json for each picture.
    WebDataset,
    /// `annotations/instances_*.json`, with `captions_*.json` beside where there are captions; or `_annotations.coco.json` in the
    /// folder of each split.
    Coco,
}

/// What is measured on generated pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct EvaluationConfig {
    /// Pictures that are generated for the layouts of the test split and compared with the true ones. 0: none.
    #[schemars(range(max = 100_000))]
    pub samples: u64,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self { samples: 16 }
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
        let shares = [
            ("min_box_area", self.min_box_area),
            ("prob_use_caption", self.prob_use_caption),
            ("dropout", self.dropout),
            ("box_dropout", self.box_dropout),
            ("flip", self.flip),
        ];
        for (key, value) in shares {
            if !(0.0..=1.0).contains(&value) {
                return outside(key, value.to_string(), "a number from 0 to 1");
            }
        }
        if !(4..=4096).contains(&self.resolution) {
            return outside(
                "resolution",
                self.resolution.to_string(),
                "4 to 4096 pixels",
            );
        }
        if !(1..=MOST_BOXES).contains(&self.max_boxes) {
            return outside("max_boxes", self.max_boxes.to_string(), "1 to 1000");
        }
        let names = [
            ("path", self.path.as_deref()),
            ("train_split", Some(self.train_split.as_str())),
            ("test_split", self.test_split.as_deref()),
            ("caption_column", self.caption_column.as_deref()),
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
        for (key, name) in [names[1], names[2]] {
            if let Some(name) = name.filter(|name| name.contains(['/', '\\']) || *name == "..") {
                return outside(key, format!("`{name}`"), "a name, not a path");
            }
        }
        if self.test_split.as_ref() == Some(&self.train_split) {
            return outside(
                "test_split",
                format!("`{}`", self.train_split),
                "another name than `train_split`",
            );
        }
        Ok(())
    }
}
