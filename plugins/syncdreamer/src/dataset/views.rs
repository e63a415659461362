//! Views that were rendered before, as SyncDreamer's own data lie on the disk.
//!
//! `target/<uid>/000.png` and on, `input/<uid>/000.png` and on, and in `input/<uid>/meta.json` at least `elevations`: one
//! number in radians for each input view. Azimuth k of n is `360 k / n` degrees in both.

use std::path::Path;
use std::sync::Arc;

use dsl_render::objects::{Object, folders_in};
use dsl_render::{Layer, Pixels, RenderError};
use dsl_sdk::PluginError;
use dsl_sdk::serde_json::Value;
use dsl_views::failed;

use super::WHITE;
use crate::config::DataConfig;

const META: &str = "meta.json";
/// What the reference implementation writes in place of `meta.json`.
const PICKLE: &str = "meta.pkl";
const CONVERT: &str = "a pickle can run code when it is read, so it is not: convert it with python -c \"import pickle, json, sys; K, a, e, d, p = pickle.load(open('meta.pkl', 'rb')); json.dump({'azimuths': list(map(float, a)), 'elevations': list(map(float, e)), 'distances': list(map(float, d))}, open('meta.json', 'w'))\"";

/// The views of one object.
#[derive(Debug)]
pub(crate) struct Rendered {
    pub(crate) targets: Arc<Vec<Pixels>>,
    pub(crate) inputs: Vec<Pixels>,
    /// In degrees.
    pub(crate) elevations: Vec<f64>,
}

/// Whether a folder is laid out so.
pub(crate) fn is_set(folder: &Path) -> bool {
    folder.join("target").is_dir() && folder.join("input").is_dir()
}

/// The objects of a set; the path of each is that of its target views.
pub(crate) fn objects_in(folder: &Path) -> Result<Vec<Object>, RenderError> {
    let is_object = |path: &Path| path.join("000.png").is_file();
    folders_in(
        &folder.join("target"),
        is_object,
        "folders with views 000.png and on",
    )
}

impl Rendered {
    pub(crate) fn open(object: &Object, config: &DataConfig) -> Result<Self, PluginError> {
        // target/<uid> → input/<uid>, whatever is in the uid.
        let depth = Path::new(&object.uid).components().count() + 1;
        let root = object.path.ancestors().nth(depth).unwrap_or(&object.path);
        let input = root.join("input").join(&object.uid);
        let all = |folder: &Path| -> Result<Vec<Pixels>, PluginError> {
            (0..config.views)
                .map(|view| {
                    let path = folder.join(format!("{view:03}.png"));
                    let layer = Layer::open(&path, config.image_size).map_err(failed)?;
                    Ok(layer.over(WHITE))
                })
                .collect()
        };
        Ok(Self {
            elevations: elevations(&input, config.views)?,
            targets: Arc::new(all(&object.path)?),
            inputs: all(&input)?,
        })
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        (self.targets.iter().chain(&self.inputs))
            .map(Pixels::size_bytes)
            .sum()
    }
}

/// Elevations of the input views in degrees.
fn elevations(folder: &Path, views: u32) -> Result<Vec<f64>, PluginError> {
    let path = folder.join(META);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let error = PluginError::io_at("read the cameras of the input views", &path, &error);
        if folder.join(PICKLE).is_file() {
            error.with_help(CONVERT)
        } else {
            error.with_help("write {\"elevations\": [one number in radians for each input view]}")
        }
    })?;
    let wrong = |why: String| {
        PluginError::config(format!("`{}`: {why}", path.display()))
            .with_help("`elevations` holds one number in radians for each input view")
    };
    let meta: Value =
        dsl_sdk::serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let numbers = |key: &str| -> Option<Vec<f64>> {
        meta.get(key)?
            .as_array()?
            .iter()
            .map(Value::as_f64)
            .collect()
    };
    let Some(elevations) = numbers("elevations") else {
        return Err(wrong("there are no `elevations`".to_owned()));
    };
    if elevations.len() != views as usize {
        let found = elevations.len();
        return Err(wrong(format!("{found} elevations, but {views} views")));
    }
    if let Some(value) = elevations
        .iter()
        .find(|value| value.abs() > std::f64::consts::FRAC_PI_2)
    {
        return Err(wrong(format!(
            "the elevation {value} is no angle in radians from -pi/2 to pi/2"
        )));
    }
    if let Some(azimuths) = numbers("azimuths") {
        for (view, azimuth) in azimuths.iter().enumerate() {
            let expected = std::f64::consts::TAU * view as f64 / f64::from(views);
            if (azimuth - expected).sin().abs() > 0.01 || (azimuth - expected).cos() < 0.0 {
                return Err(wrong(format!(
                    "azimuth {view} is {azimuth}, expected {expected:.4}"
                )));
            }
        }
    }
    Ok(elevations.into_iter().map(f64::to_degrees).collect())
}
