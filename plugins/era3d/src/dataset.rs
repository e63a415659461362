//! The dataset of one split: for each object an input view at some camera, and six views in two domains.
//!
//! The way of a sample: object → the input view's azimuth, frame, lens and elevation, and a background, as the sample's seed
//! says → the six orthographic views around from that azimuth (kept in memory with their coverage: they are the same for
//! every camera and background) → normal maps and colours on the background → values in −1..1.

use std::sync::Arc;

use dsl_render::objects::Object;
use dsl_render::protocol::era3d::{AZIMUTHS, Conditioning, TARGETS, azimuth, target};
use dsl_render::{Cache, Camera, Random, append_chw};
use dsl_sdk::{ColumnRole, ColumnSpec, PluginError};
use dsl_views::{INPUT_VIEW, ObjectSampler, Objects, POSE, VIEWS, column, failed};

use crate::config::{Background, DataConfig, ElevationPer};
use frame::Frame;
use views::Folder;

mod frame;
pub(crate) mod views;

/// The column with the input view's elevation.
pub(crate) const ELEVATION: &str = "elevation";
/// The column with 24 mm over the input view's focal length.
pub(crate) const INVERSE_FOCAL: &str = "inverse_focal";
/// The column with the share of each pixel of the target views that the object covers.
pub(crate) const MASK: &str = "mask";

/// Domains of a view, in the order of the target views: normal maps, then colours.
pub(crate) const DOMAINS: usize = 2;

/// Seeds of what is drawn for an object once and for all: cameras without augmentation, and its own elevation.
const FIXED: u64 = 0;
const OBJECT: u64 = 1;

/// Views around objects. `[any thread]`
#[derive(Debug)]
pub struct ObjectViews {
    config: DataConfig,
    objects: Objects,
    /// Whether objects are folders of rendered views.
    rendered: bool,
    /// Orthographic views at elevation 0, one slot for each object and azimuth.
    frames: Cache<Frame>,
    folders: Cache<Folder>,
}

impl ObjectViews {
    pub(crate) fn new(config: &DataConfig, objects: &[Object], rendered: bool) -> Self {
        let objects = Objects::new(objects.to_vec(), config.drawing());
        let (slots, bytes) = (objects.len(), objects.max_bytes() / 2);
        Self {
            frames: Cache::new(slots * AZIMUTHS, bytes),
            folders: Cache::new(slots, bytes),
            config: config.clone(),
            objects,
            rendered,
        }
    }

    fn folder(&self, place: usize) -> Result<Arc<Folder>, PluginError> {
        self.folders.get_or_make(
            place,
            || Folder::open(&self.objects.at(place)?.path),
            |_| 4096,
        )
    }

    /// A target view, counted from the conditioning view's step.
    fn target(&self, place: usize, step: usize, view: usize) -> Result<Arc<Frame>, PluginError> {
        let at = (step + TARGETS[view]) % AZIMUTHS;
        self.frames.get_or_make(
            place * AZIMUTHS + at,
            || {
                if self.rendered {
                    return self.folder(place)?.read_target(at, self.config.image_size);
                }
                self.draw(place, &target(step, view).map_err(failed)?)
            },
            Frame::size_bytes,
        )
    }

    fn draw(&self, place: usize, camera: &Camera) -> Result<Frame, PluginError> {
        self.objects.draw(place, camera).map(Frame::Drawn)
    }
}

impl ObjectSampler for ObjectViews {
    fn objects(&self) -> &Objects {
        &self.objects
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        let side = u64::from(self.config.image_size);
        let (views, rows) = (TARGETS.len() as u64, (DOMAINS * TARGETS.len()) as u64);
        vec![
            column(VIEWS, &[rows, 3, side, side], ColumnRole::Image),
            column(INPUT_VIEW, &[3, side, side], ColumnRole::Image),
            column(POSE, &[rows, 4], ColumnRole::Other),
            column(ELEVATION, &[], ColumnRole::Other),
            column(INVERSE_FOCAL, &[], ColumnRole::Other),
            column(MASK, &[views, side, side], ColumnRole::Other),
        ]
    }

    fn sample(&self, place: usize, seed: Option<u64>) -> Result<Vec<Vec<f32>>, PluginError> {
        let mut random = Random::new(seed.unwrap_or(FIXED), place as u64);
        let elevations = self.config.elevations;
        let own = match self.config.elevation_per {
            ElevationPer::Object => Some(Random::new(OBJECT, place as u64).between(elevations)),
            ElevationPer::View => None,
        };
        // All are drawn whether they are used or not, so that one setting does not change another's numbers.
        let mut given = Conditioning::draw(&mut random, elevations, own);
        let (backgrounds, frame) = ([1.0_f32, 0.0, 0.5], random.uniform());
        let drawn = backgrounds[random.below(backgrounds.len())];
        let background = [match self.config.background {
            Background::Random if seed.is_some() => drawn,
            Background::Random | Background::White => 1.0,
            Background::Black => 0.0,
            Background::Gray => 0.5,
        }; 3];
        let input = if self.rendered {
            let folder = self.folder(place)?;
            let (number, camera) = folder.frame_at(given.step, frame)?;
            given = camera;
            folder
                .read_image(number, self.config.image_size)?
                .over(background)
        } else {
            let frame = self.draw(place, &given.camera().map_err(failed)?)?;
            frame.over(background)
        };
        let (mut targets, mut input_view, mut mask) = (Vec::new(), Vec::new(), Vec::new());
        append_chw(&input, &mut input_view);
        let frames = (0..TARGETS.len())
            .map(|view| self.target(place, given.step, view))
            .collect::<Result<Vec<_>, _>>()?;
        for frame in &frames {
            let normals = frame.normals_over(azimuth(given.step), background);
            append_chw(&normals, &mut targets);
            mask.extend(frame.alpha());
        }
        for frame in &frames {
            append_chw(&frame.over(background), &mut targets);
        }
        Ok(vec![
            targets,
            input_view,
            poses(),
            vec![given.elevation_radians()],
            vec![given.inverse_focal()],
            mask,
        ])
    }
}

/// Which view and domain each row is: `[sin Δa, cos Δa, is a normal map, is in colour]`.
///
/// They take the place of the reference's fixed text embeddings of "a rendering image of 3D models, front view, normal map"
/// and so on: without a text encoder, four numbers say the same.
///
/// # Shapes
/// - result: `[2 · 6, 4]`
pub(crate) fn poses() -> Vec<f32> {
    let domains = [[1.0, 0.0], [0.0, 1.0]];
    let rows = domains.iter().flat_map(|domain| {
        TARGETS.iter().flat_map(move |&step| {
            let (sin, cos) = azimuth(step).to_radians().sin_cos();
            [sin as f32, cos as f32, domain[0], domain[1]]
        })
    });
    rows.collect()
}
