//! The configuration of the task: which objects, from where they are seen, and how often a condition is left out.

use dsl_render::Normalization;
use dsl_render::protocol::era3d::ELEVATIONS;
use dsl_sdk::PluginError;
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};
use dsl_views::{Drawing, Source, settings};

/// One view of an object at an unknown camera, and six of colour and normals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct Era3dConfig {
    /// Objects and their views.
    pub data: DataConfig,
    /// How often a condition is left out.
    pub dropout: Dropout,
    /// Weight of each of the two squared errors of the estimated camera in the generator's loss. The reference: 1.
    #[schemars(range(min = 0.0))]
    pub camera_weight: f64,
    /// What is measured.
    pub evaluation: Evaluation,
}

impl Default for Era3dConfig {
    fn default() -> Self {
        Self {
            data: DataConfig::default(),
            dropout: Dropout::default(),
            camera_weight: 1.0,
            evaluation: Evaluation::default(),
        }
    }
}

/// Objects and their views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct DataConfig {
    /// A folder of meshes (.glb, .gltf, .obj, .ply), or one of rendered views: `<uid>/image/000.png`, `<uid>/normal/000.png`
    /// and `<uid>/camera/000.json`. `null` is the furniture inside the plugin.
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
    /// Width and height of the views, in pixels. The paper: 512, as latents of 64.
    #[schemars(range(min = 16, max = 1024))]
    pub image_size: u32,
    /// Lowest and highest elevation of the input view in degrees, −20 to 40 in the released renderings. Without effect on
    /// views that are read.
    pub elevations: [f64; 2],
    /// What has a random elevation of its own: the released renderings have one for all views of an object, the paper one
    /// for each view. Without effect on views that are read.
    pub elevation_per: ElevationPer,
    /// What is behind the object, the same in the input view, colours and normal maps.
    pub background: Background,
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
            elevations: ELEVATIONS,
            elevation_per: ElevationPer::View,
            background: Background::default(),
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
            normalization: Normalization::Diagonal,
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
    /// As views where there are folders `image`, `normal` and `camera`, otherwise as meshes.
    #[default]
    Auto,
    /// Meshes, drawn while training.
    Meshes,
    /// Views that were rendered before.
    Views,
}

/// What has a random elevation of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum ElevationPer {
    /// An object: always the same for it.
    Object,
    /// A view: drawn for each sample.
    #[default]
    View,
}

/// What is behind the object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "dsl_sdk::schemars")]
pub enum Background {
    /// White, black or grey, drawn for each sample; white for samples that are not augmented.
    Random,
    /// White.
    #[default]
    White,
    /// Black.
    Black,
    /// Middle grey.
    Gray,
}

/// How often the host leaves a condition out while training, for classifier-free guidance; each is drawn for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct Dropout {
    /// All conditions together.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub all: f64,
    /// The input view. The released configuration: 0.1, in half of the cases with its CLIP embedding.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub input_view: f64,
    /// Which view and domain a picture is. The reference never leaves its texts out (0): without them, the views are alike.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub pose: f64,
}

impl Default for Dropout {
    fn default() -> Self {
        Self {
            all: 0.05,
            input_view: 0.05,
            pose: 0.0,
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
        Self { objects: 8 }
    }
}

impl Era3dConfig {
    /// Checks what the types leave open.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let (data, dropout) = (&self.data, &self.dropout);
        settings::in_range("data.image_size", data.image_size, 16..=1024)?;
        settings::in_range("data.supersampling", data.supersampling, 1..=8)?;
        settings::elevations("data.elevations", data.elevations)?;
        settings::probability("dropout.all", dropout.all)?;
        settings::probability("dropout.input_view", dropout.input_view)?;
        settings::probability("dropout.pose", dropout.pose)?;
        if !(self.camera_weight.is_finite() && self.camera_weight >= 0.0) {
            return Err(settings::wrong(
                "camera_weight",
                self.camera_weight,
                "0 or more",
            ));
        }
        settings::at_least_one("evaluation.objects", self.evaluation.objects)?;
        settings::split_names(&data.train_split, data.test_split.as_deref())
    }
}
