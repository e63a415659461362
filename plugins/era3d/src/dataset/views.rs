//! Views that were rendered before, as Era3D's own data lie on the disk.
//!
//! `<uid>/image/000.png`, `<uid>/normal/000.png` and `<uid>/camera/000.json` and on, in any order: the cameras say what each
//! frame is. Azimuths are those of Blender, in steps of 22.5°, the front at 270°.

use std::path::{Path, PathBuf};

use dsl_render::objects::{Object, folders_in};
use dsl_render::protocol::era3d::{AZIMUTHS, Conditioning, FRONT_IN_FOLDERS, azimuth};
use dsl_render::{Layer, RenderError};
use dsl_sdk::PluginError;
use dsl_sdk::serde::Deserialize;
use dsl_views::failed;

use super::frame::Frame;

const HELP: &str = "write for each frame such as {\"camera\": \"persp\", \"azimuth_degrees\": 270, \"elevation_degrees\": 12.5, \"focal_mm\": 50}, or \"ortho\" without a focal length; a .npy of the reference is a pickled dictionary, which can run code when it is read, so it is not: load it with numpy.load(…, allow_pickle=True).item() and write its numbers as JSON";
/// Steps and elevations are written with rounding.
const TOLERANCE_DEGREES: f64 = 0.5;

/// A camera as a file says it.
#[derive(Debug, Deserialize)]
#[serde(crate = "dsl_sdk::serde")]
struct CameraFile {
    camera: Kind,
    azimuth_degrees: f64,
    elevation_degrees: f64,
    focal_mm: Option<f64>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(crate = "dsl_sdk::serde", rename_all = "lowercase")]
enum Kind {
    Ortho,
    Persp,
}

/// The frames of one object.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Names of frames, and their cameras; steps are counted from the front.
    frames: Vec<(String, Conditioning)>,
}

/// The objects of a set.
pub(crate) fn objects_in(folder: &Path) -> Result<Vec<Object>, RenderError> {
    folders_in(
        folder,
        is_object,
        "folders with image/000.png, normal/000.png and camera/000.json",
    )
}

/// Whether a folder is laid out as an object.
fn is_object(path: &Path) -> bool {
    path.join("image").is_dir() && path.join("normal").is_dir()
}

/// Whether there is an object below a folder, at most three levels down.
pub(crate) fn is_set(folder: &Path, levels: u32) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().map(|entry| entry.path()).any(|path| {
        path.is_dir() && (is_object(&path) || (levels > 0 && is_set(&path, levels - 1)))
    })
}

impl Folder {
    /// Reads the cameras; pictures are not opened.
    pub(crate) fn open(path: &Path) -> Result<Self, PluginError> {
        let folder = path.join("camera");
        let entries = std::fs::read_dir(&folder).map_err(|error| {
            PluginError::io_at("read the cameras", &folder, &error).with_help(HELP)
        })?;
        let mut files: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .collect();
        files.sort();
        if files.is_empty() {
            let message = format!(
                "there are no cameras (000.json and on) in `{}`",
                folder.display()
            );
            return Err(PluginError::config(message).with_help(HELP));
        }
        let frames = files.iter().map(|file| {
            let name = file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            Ok((name, camera(file)?))
        });
        Ok(Self {
            path: path.to_owned(),
            frames: frames.collect::<Result<_, PluginError>>()?,
        })
    }

    /// Name and camera of one of the frames at a step from the front; `uniform` in 0..1 says which.
    pub(crate) fn frame_at(
        &self,
        step: usize,
        uniform: f64,
    ) -> Result<(&str, Conditioning), PluginError> {
        let at: Vec<_> = (self.frames.iter())
            .filter(|(_, camera)| camera.step == step)
            .collect();
        let place = ((uniform * at.len() as f64) as usize).min(at.len().saturating_sub(1));
        match at.get(place) {
            Some((name, camera)) => Ok((name, *camera)),
            None => Err(self.missing(step, "frame")),
        }
    }

    /// Colours of a frame.
    pub(crate) fn read_image(&self, name: &str, size: u32) -> Result<Layer, PluginError> {
        let path = self.path.join("image").join(format!("{name}.png"));
        Layer::open(&path, size).map_err(failed)
    }

    /// The orthographic frame at elevation 0 at a step from the front, in both domains.
    pub(crate) fn read_target(&self, step: usize, size: u32) -> Result<Frame, PluginError> {
        let found = self.frames.iter().find(|(_, camera)| {
            camera.step == step
                && camera.lens_mm.is_none()
                && camera.elevation.abs() < TOLERANCE_DEGREES
        });
        let Some((name, _)) = found else {
            return Err(self.missing(step, "orthographic frame at elevation 0"));
        };
        let normal = self.path.join("normal").join(format!("{name}.png"));
        Ok(Frame::Read {
            image: self.read_image(name, size)?,
            normal: Layer::open(&normal, size).map_err(failed)?,
        })
    }

    fn missing(&self, step: usize, what: &str) -> PluginError {
        let azimuth = azimuth(step + FRONT_IN_FOLDERS);
        PluginError::config(format!(
            "`{}` has no {what} at azimuth {azimuth} degrees",
            self.path.display()
        ))
    }
}

fn camera(path: &Path) -> Result<Conditioning, PluginError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| PluginError::io_at("read the camera", path, &error))?;
    let wrong = |why: String| {
        PluginError::config(format!("the camera `{}`: {why}", path.display())).with_help(HELP)
    };
    let file: CameraFile =
        dsl_sdk::serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let steps = file.azimuth_degrees * AZIMUTHS as f64 / 360.0;
    let step = steps.round();
    let is_step = (steps - step).abs() * 360.0 / (AZIMUTHS as f64) < TOLERANCE_DEGREES;
    if !is_step {
        return Err(wrong(format!(
            "the azimuth {} is no multiple of 22.5 degrees",
            file.azimuth_degrees
        )));
    }
    let is_elevation = file.elevation_degrees.abs() <= 90.0;
    if !is_elevation {
        return Err(wrong(format!(
            "the elevation is {}",
            file.elevation_degrees
        )));
    }
    let lens_mm = match (file.camera, file.focal_mm) {
        (Kind::Ortho, _) => None,
        (Kind::Persp, Some(focal)) if focal > 0.0 && focal.is_finite() => Some(focal),
        (Kind::Persp, found) => return Err(wrong(format!("the focal length is {found:?}"))),
    };
    Ok(Conditioning {
        step: (step as i64 - FRONT_IN_FOLDERS as i64).rem_euclid(AZIMUTHS as i64) as usize,
        elevation: file.elevation_degrees,
        lens_mm,
    })
}
