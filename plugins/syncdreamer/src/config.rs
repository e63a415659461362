//! The configuration of the task: which objects, from where they are seen, and how often a condition is left out.

use dsl_render::Normalization;
use dsl_render::protocol::syncdreamer::{INPUT_ELEVATIONS, VIEWS};
use dsl_sdk::PluginError;
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};
use dsl_views::{Drawing, Source, settings};

/// One view of an object, and sixteen around it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct SyncDreamerConfig {
    /// Objects and their views.
    pub data: DataConfig,
    /// How often a condition is left out.
    pub dropout: Dropout,
    /// What is measured.
    pub evaluation: Evaluation,
}

/// Objects and their views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct DataConfig {
    /// A folder of meshes (.glb, .gltf, .obj, .ply), or one of rendered views: `target/<uid>/000.png` and
    /// `input/<uid>/000.png` with `input/<uid>/meta.json`. `null` is the furniture inside the plugin.
    #[schemars(extend("format" = "path"))]
    pub path: Option<String>,
    /// How `path` is read.
    pub format: Format,
    /// Folder or list (`train.json`, `train.txt`) of the objects to train on.
    #[schemars(length(min = 1))]
    pub train_split: String,
    /// The same for the objects to test on. `null` takes the first there is of test, validation, val, valid, dev, eval.
    #[schemars(length(min = 1))]
    pub test_split: Option<String>,
    /// Width and height of the views, in pixels. The paper: 256, as latents of 32.
    #[schemars(range(min = 16, max = 1024))]
    pub image_size: u32,
    /// How many views there are around an object. The paper: 16.
    #[schemars(range(min = 2, max = 64))]
    pub views: u32,
    /// Lowest and highest elevation of the input view in degrees. −20 to 40 as in the DSL paper; the released renderings have
    /// −10 to 40. Without effect on views that are read.
    pub input_elevations: [f64; 2],
    /// Samples of a pixel in each direction when views are drawn.
    #[schemars(range(min = 1, max = 8))]
    pub supersampling: u32,
    /// Memory for meshes and views, in MiB; what has no room is made again each time. The numbers are the same either way.
    pub cache_mib: u64,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            path: None,
            format: Format::Auto,
            train_split: "train".to_owned(),
            test_split: None,
            image_size: 16,
            views: VIEWS,
            input_elevations: INPUT_ELEVATIONS,
            supersampling: 3,
            cache_mib: 512,
        }
    }
}

impl DataConfig {
    /// Where the objects are.
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            path: self.path.as_deref(),
            train_split: &self.train_split,
            test_split: self.test_split.as_deref(),
        }
    }

    /// How meshes are drawn.
    pub(crate) fn drawing(&self) -> Drawing {
        Drawing {
            normalization: Normalization::MaxSide,
            image_size: self.image_size,
            supersampling: self.supersampling,
            cache_mib: self.cache_mib,
        }
    }
}

/// How `path` is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Format {
    /// As views where there are folders `target` and `input`, otherwise as meshes.
    #[default]
    Auto,
    /// Meshes, drawn while training.
    Meshes,
    /// Views that were rendered before.
    Views,
}

/// How often the host leaves a condition out while training, for classifier-free guidance; each is drawn for itself.
///
/// The released configuration of SyncDreamer leaves none out (0); its code would leave out each with 0.05, and all with 0.05.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct Dropout {
    /// All conditions together.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub all: f64,
    /// The input view.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub input_view: f64,
    /// The pose of each view.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub pose: f64,
    /// The volume of all views.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub volume: f64,
}

impl Default for Dropout {
    fn default() -> Self {
        Self {
            all: 0.05,
            input_view: 0.05,
            pose: 0.05,
            volume: 0.05,
        }
    }
}

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct Evaluation {
    /// Of how many objects of the test split (where there is none, of the train split) views are generated.
    #[schemars(range(min = 1))]
    pub objects: u64,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { objects: 4 }
    }
}

impl SyncDreamerConfig {
    /// Checks what the types leave open.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let (data, dropout) = (&self.data, &self.dropout);
        settings::in_range("data.image_size", data.image_size, 16..=1024)?;
        settings::in_range("data.views", data.views, 2..=64)?;
        settings::in_range("data.supersampling", data.supersampling, 1..=8)?;
        settings::elevations("data.input_elevations", data.input_elevations)?;
        settings::probability("dropout.all", dropout.all)?;
        settings::probability("dropout.input_view", dropout.input_view)?;
        settings::probability("dropout.pose", dropout.pose)?;
        settings::probability("dropout.volume", dropout.volume)?;
        settings::at_least_one("evaluation.objects", self.evaluation.objects)?;
        settings::split_names(&data.train_split, data.test_split.as_deref())
    }
}
