//! The configuration of the task: which pictures, how they are degraded, and how the result is corrected and measured.

use dsl_sdk::PluginError;
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};

pub use crate::degradation::{
    FirstStage, KernelShares, RealEsrganConfig, ResizeShares, SecondStage, SharpenConfig,
};

/// Super-resolution: pictures from their low-resolution versions, whose sides are a quarter as long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct StableSrConfig {
    /// Pictures.
    pub data: DataConfig,
    /// How a low-resolution picture is made of a target; pairs have one already.
    pub degradation: Degradation,
    /// The numbers of `degradation: realesrgan`.
    pub realesrgan: RealEsrganConfig,
    /// How the low-resolution picture, enlarged to the target's size by a bicubic filter, conditions the network.
    pub conditioning: Conditioning,
    /// Share of samples without it in training, for classifier-free guidance. The reference has none.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dropout: f64,
    /// A text that goes with every sample, for base models with a text encoder: Stable Diffusion wants one, and StableSR gives
    /// it the empty one. `null`: the network has no text.
    pub prompt: Option<String>,
    /// How colours of generated pictures are corrected by the low-resolution one, where they are shown or measured.
    pub color_fix: ColorFix,
    /// What is measured.
    pub evaluation: EvaluationConfig,
}

impl Default for StableSrConfig {
    fn default() -> Self {
        Self {
            data: DataConfig::default(),
            degradation: Degradation::Bicubic,
            realesrgan: RealEsrganConfig::default(),
            conditioning: Conditioning::FeaturePyramid,
            dropout: 0.0,
            prompt: None,
            color_fix: ColorFix::Wavelet,
            evaluation: EvaluationConfig::default(),
        }
    }
}

/// Pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct DataConfig {
    /// A folder of pictures. `null` is the photographs from the air inside the plugin.
    #[schemars(extend("format" = "path"))]
    pub path: Option<String>,
    /// How `path` is read.
    pub layout: Layout,
    /// Name of the folder of the pictures to train on. `null` takes `train` or `DIV2K_train_HR`, where there is one.
    #[schemars(length(min = 1))]
    pub train_split: Option<String>,
    /// The same for the pictures to test on. `null` takes the first there is of test, validation, val, valid, dev, eval,
    /// DIV2K_valid_HR.
    #[schemars(length(min = 1))]
    pub test_split: Option<String>,
    /// `class_folders`: the folders that are used; empty for all.
    pub classes: Vec<String>,
    /// `class_folders`: how many pictures of each class there are to train on and to test on.
    pub per_class: PerClass,
    /// Width and height of the target in pixels: a multiple of 4.
    #[schemars(range(min = 16, max = 4096), extend("multipleOf" = 4))]
    pub size: u32,
    /// How a picture becomes a target.
    pub fit: Fit,
    /// Probability that a sample is mirrored left to right.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub flip: f64,
    /// Red, green and blue (0 to 255) of what shows through transparent pixels.
    pub background: [u8; 3],
    /// Memory for decoded pictures, in MiB; the others are read again each time. The numbers are the same either way.
    pub cache_mib: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            layout: Layout::Auto,
            train_split: None,
            test_split: None,
            classes: Vec::new(),
            per_class: PerClass::default(),
            size: 48,
            fit: Fit::Crop,
            flip: 0.5,
            background: [255; 3],
            cache_mib: 512,
        }
    }
}

/// How `path` is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "snake_case")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Layout {
    /// `paired` where there are folders `inputs` and `gts`; `class_folders` where `classes` or `per_class` is set; otherwise
    /// `image_folder`.
    #[default]
    Auto,
    /// Pictures, in nested folders too; a metadata.jsonl, where there is one, says which. Folders named for their split hold
    /// it.
    ImageFolder,
    /// A folder for each class, as AID has them, without splits: the first pictures by name are to train on, the last ones to
    /// test on.
    ClassFolders,
    /// Folders `inputs` (low resolution) and `gts` (targets) with pictures of equal names, whose endings may differ; either
    /// directly in the path or in folders named for their split.
    Paired,
}

/// How many pictures of a class are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct PerClass {
    /// To train on; `null`: all that are not to test on.
    #[schemars(range(min = 1))]
    pub train: Option<u32>,
    /// To test on; `null`: a tenth, at least one.
    pub test: Option<u32>,
}

/// How a picture becomes a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "snake_case")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Fit {
    /// A square of its pixels as they are, at a place drawn for each sample; the middle when samples are not augmented.
    #[default]
    Crop,
    /// The largest square in its middle, brought to the size by a bicubic filter.
    Resize,
}

/// How a low-resolution picture is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Degradation {
    /// By a bicubic filter without aliasing.
    #[default]
    Bicubic,
    /// By blurs, resizing, noise and compression, twice.
    RealEsrgan,
}

/// How the low-resolution picture conditions the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "snake_case")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Conditioning {
    /// Through a time-aware encoder into every residual block, as in StableSR.
    #[default]
    FeaturePyramid,
    /// As further channels of the first convolution.
    Concat,
    /// Both.
    Both,
}

/// How colours are corrected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum ColorFix {
    /// Not at all.
    None,
    /// Mean and standard deviation of each channel become those of the low-resolution picture.
    Adain,
    /// The coarsest part of a wavelet decomposition becomes that of the low-resolution picture.
    #[default]
    Wavelet,
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct EvaluationConfig {
    /// How many pictures of the test split are generated and compared; 0 for none, and no more than there are.
    pub samples: u64,
    /// Whether LPIPS is measured too, where the host has the weights for it.
    pub lpips: bool,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            samples: 32,
            lpips: true,
        }
    }
}

impl StableSrConfig {
    /// Checks what the types leave open; the schema says the same, but not everyone comes through the host.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let outside = |key: &str, value: String, range: &str| {
            Err(PluginError::config(format!(
                "`task.{key}` is {value}, expected {range}"
            )))
        };
        let data = &self.data;
        for (key, value) in [("dropout", self.dropout), ("data.flip", data.flip)] {
            if !(0.0..=1.0).contains(&value) {
                return outside(key, value.to_string(), "a probability from 0 to 1");
            }
        }
        if !(16..=4096).contains(&data.size) || !data.size.is_multiple_of(4) {
            return outside(
                "data.size",
                data.size.to_string(),
                "a multiple of 4 from 16 to 4096 pixels",
            );
        }
        for (key, name) in [
            ("data.path", &data.path),
            ("data.train_split", &data.train_split),
            ("data.test_split", &data.test_split),
        ] {
            if name.as_ref().is_some_and(|name| name.trim().is_empty()) {
                return outside(key, "empty".to_owned(), "a text, or null");
            }
        }
        for (key, name) in [
            ("data.train_split", &data.train_split),
            ("data.test_split", &data.test_split),
        ] {
            if let Some(name) = name.as_ref().filter(|name| is_path(name)) {
                return outside(key, format!("`{name}`"), "a name, not a path");
            }
        }
        if data.test_split.is_some() && data.test_split == data.train_split {
            return outside(
                "data.test_split",
                format!("`{}`", data.test_split.as_deref().unwrap_or_default()),
                "another name than `train_split`",
            );
        }
        for (at, class) in data.classes.iter().enumerate() {
            if class.trim().is_empty() || is_path(class) {
                return outside("data.classes", format!("`{class}`"), "names of folders");
            }
            if data.classes[..at].contains(class) {
                return outside(
                    "data.classes",
                    format!("a list with `{class}` twice"),
                    "each name once",
                );
            }
        }
        if data.per_class.train == Some(0) {
            return outside("data.per_class.train", "0".to_owned(), "1 or more, or null");
        }
        let by_class = !data.classes.is_empty() || data.per_class != PerClass::default();
        if by_class && !matches!(data.layout, Layout::Auto | Layout::ClassFolders) {
            return Err(PluginError::config(
                "`task.data.classes` and `task.data.per_class` are for `task.data.layout: class_folders` alone",
            ));
        }
        if data.path.is_none() && (by_class || data.layout != Layout::Auto) {
            return Err(PluginError::config(
                "`task.data.layout`, `classes` and `per_class` describe a folder, but `task.data.path` names none",
            )
            .with_help("give the folder, or leave these out for the photographs inside the plugin"));
        }
        self.realesrgan.check()
    }
}

fn is_path(name: &str) -> bool {
    name.contains(['/', '\\']) || name == ".."
}
