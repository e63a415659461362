//! The configuration of the task: which objects, from where they are seen, and how often a condition is left out.

use dsl_render::protocol::era3d::ELEVATIONS;
use dsl_sdk::PluginError;
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};

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
    /// Checks what the types leave open; the schema says the same, but not everyone comes through the host.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        let wrong = |key: &str, value: String, expected: &str| {
            Err(PluginError::config(format!(
                "`task.{key}` is {value}, expected {expected}"
            )))
        };
        let data = &self.data;
        for (key, value, range) in [
            ("data.image_size", data.image_size, 16..=1024),
            ("data.supersampling", data.supersampling, 1..=8),
        ] {
            if !range.contains(&value) {
                let expected = format!("{} to {}", range.start(), range.end());
                return wrong(key, value.to_string(), &expected);
            }
        }
        let [low, high] = data.elevations;
        if !(-90.0 <= low && low <= high && high <= 90.0) {
            let expected = "two angles from -90 to 90 degrees, the lower one first";
            return wrong("data.elevations", format!("[{low}, {high}]"), expected);
        }
        for (key, value) in [
            ("dropout.all", self.dropout.all),
            ("dropout.input_view", self.dropout.input_view),
            ("dropout.pose", self.dropout.pose),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return wrong(key, value.to_string(), "a probability from 0 to 1");
            }
        }
        if !(self.camera_weight.is_finite() && self.camera_weight >= 0.0) {
            return wrong("camera_weight", self.camera_weight.to_string(), "0 or more");
        }
        if self.evaluation.objects == 0 {
            return wrong("evaluation.objects", "0".to_owned(), "at least 1");
        }
        let names = [
            ("data.train_split", Some(&data.train_split)),
            ("data.test_split", data.test_split.as_ref()),
        ];
        for (key, name) in names {
            if let Some(name) = name.filter(|name| {
                name.trim().is_empty() || name.contains(['/', '\\']) || *name == ".."
            }) {
                return wrong(key, format!("`{name}`"), "a name, not a path");
            }
        }
        if data.test_split.as_ref() == Some(&data.train_split) {
            return wrong(
                "data.test_split",
                format!("`{}`", data.train_split),
                "another name than `train_split`",
            );
        }
        Ok(())
    }
}
