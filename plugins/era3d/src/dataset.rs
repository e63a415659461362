//! The dataset of one split: for each object an input view at some camera, and six views in two domains.
//!
//! The way of a sample: object → the input view's azimuth, frame, lens and elevation, and a background, as the sample's seed
//! says → the six orthographic views around from that azimuth (kept in memory with their coverage: they are the same for
//! every camera and background) → normal maps and colours on the background → values in −1..1.

use std::sync::Arc;

use dsl_render::objects::Object;
use dsl_render::protocol::era3d::{AZIMUTHS, Conditioning, TARGETS, azimuth, target};
use dsl_render::{Cache, Camera, Mesh, Normalization, Random, RenderOptions, append_chw, render};
use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnRole, ColumnSpec, DType, Dataset, Host, PluginError,
};

use crate::config::{Background, DataConfig, ElevationPer};
use crate::failed;
use frame::Frame;
use views::Folder;

mod frame;
pub(crate) mod views;

/// The column with the target views: normal maps, then colours.
pub(crate) const VIEWS: &str = "views";
/// The column with the input view.
pub(crate) const INPUT_VIEW: &str = "input_view";
/// The column that says which view and domain a picture is.
pub(crate) const POSE: &str = "pose";
/// The column with the input view's elevation.
pub(crate) const ELEVATION: &str = "elevation";
/// The column with 24 mm over the input view's focal length.
pub(crate) const INVERSE_FOCAL: &str = "inverse_focal";
/// The column with the share of each pixel of the target views that the object covers.
pub(crate) const MASK: &str = "mask";

/// Domains of a view, in the order of rows.
pub(crate) const DOMAINS: usize = 2;

/// Seeds of what is drawn for an object once and for all: cameras without augmentation, and its own elevation.
const FIXED: u64 = 0;
const OBJECT: u64 = 1;

/// Views around objects. `[any thread]`
#[derive(Debug)]
pub struct ObjectViews {
    config: DataConfig,
    host: Host,
    objects: Vec<Object>,
    /// Whether objects are folders of rendered views.
    rendered: bool,
    meshes: Cache<Mesh>,
    /// Orthographic views at elevation 0, one slot for each object and azimuth.
    frames: Cache<Frame>,
    folders: Cache<Folder>,
}

#[derive(Default)]
struct Sample {
    views: Vec<f32>,
    input_view: Vec<f32>,
    mask: Vec<f32>,
    elevation: f32,
    inverse_focal: f32,
}

impl ObjectViews {
    pub(crate) fn new(
        config: &DataConfig,
        objects: Vec<Object>,
        rendered: bool,
        host: &Host,
    ) -> Self {
        // Meshes, and what is drawn of them, have a half each.
        let bytes = config.cache_mib.saturating_mul(1 << 20) / 2;
        Self {
            meshes: Cache::new(objects.len(), bytes),
            frames: Cache::new(objects.len() * AZIMUTHS, bytes),
            folders: Cache::new(objects.len(), bytes),
            config: config.clone(),
            host: host.clone(),
            objects,
            rendered,
        }
    }

    fn sample(&self, index: u64, seed: u64, augment: bool) -> Result<Sample, PluginError> {
        let place = usize::try_from(index)
            .ok()
            .filter(|&place| place < self.objects.len())
            .ok_or_else(|| {
                let count = self.objects.len();
                PluginError::contract(format!("index {index} of a dataset of {count} samples"))
            })?;
        let mut random = Random::new(if augment { seed } else { FIXED }, index);
        let elevations = self.config.elevations;
        let own = match self.config.elevation_per {
            ElevationPer::Object => Some(Random::new(OBJECT, index).between(elevations)),
            ElevationPer::View => None,
        };
        // All are drawn whether they are used or not, so that one setting does not change another's numbers.
        let mut given = Conditioning::draw(&mut random, elevations, own);
        let (backgrounds, frame) = ([1.0_f32, 0.0, 0.5], random.uniform());
        let drawn = backgrounds[random.below(backgrounds.len())];
        let background = [match self.config.background {
            Background::Random if augment => drawn,
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
        let mut sample = Sample {
            elevation: given.elevation_radians(),
            inverse_focal: given.inverse_focal(),
            ..Sample::default()
        };
        append_chw(&input, &mut sample.input_view);
        let frames = (0..TARGETS.len())
            .map(|view| self.target(place, given.step, view))
            .collect::<Result<Vec<_>, _>>()?;
        for frame in &frames {
            let normals = frame.normals_over(azimuth(given.step), background);
            append_chw(&normals, &mut sample.views);
            sample.mask.extend(frame.alpha());
        }
        for frame in &frames {
            append_chw(&frame.over(background), &mut sample.views);
        }
        Ok(sample)
    }

    fn folder(&self, place: usize) -> Result<Arc<Folder>, PluginError> {
        let object = &self.objects[place];
        self.folders
            .get_or_make(place, || Folder::open(&object.path), |_| 4096)
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
        let object = &self.objects[place];
        let mesh = self.meshes.get_or_make(
            place,
            || object.mesh(Normalization::Diagonal).map_err(failed),
            Mesh::size_bytes,
        )?;
        let options = RenderOptions {
            size: self.config.image_size,
            supersampling: self.config.supersampling,
            ..RenderOptions::default()
        };
        render(&mesh, camera, &options)
            .map(Frame::Drawn)
            .map_err(failed)
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

impl Dataset for ObjectViews {
    fn len(&self) -> u64 {
        self.objects.len() as u64
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        let side = u64::from(self.config.image_size);
        let (views, rows) = (TARGETS.len() as u64, (DOMAINS * TARGETS.len()) as u64);
        let column = |name: &str, shape: &[u64], role: ColumnRole| ColumnSpec {
            name: name.into(),
            dtype: DType::F32,
            shape: shape.iter().copied().map(Some).collect(),
            role,
        };
        vec![
            column(VIEWS, &[rows, 3, side, side], ColumnRole::Image),
            column(INPUT_VIEW, &[3, side, side], ColumnRole::Image),
            column(POSE, &[rows, 4], ColumnRole::Other),
            column(ELEVATION, &[], ColumnRole::Other),
            column(INVERSE_FOCAL, &[], ColumnRole::Other),
            column(MASK, &[views, side, side], ColumnRole::Other),
        ]
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let BatchRequest {
            indices,
            seeds,
            augment,
        } = *request;
        if indices.len() != seeds.len() {
            let message = format!("{} indices, but {} seeds", indices.len(), seeds.len());
            return Err(PluginError::contract(message));
        }
        let samples = self.host.parallel(indices.len(), |row| {
            if self.host.cancelled() {
                return Err(PluginError::cancelled());
            }
            self.sample(indices[row], seeds[row], augment)
        })?;
        let poses = poses();
        let specs = self.columns().into_iter();
        let columns = specs.map(|spec| {
            let inner = spec.shape.iter().copied().flatten();
            let shape = std::iter::once(samples.len() as u64).chain(inner).collect();
            let of = |sample: &Sample| match spec.name.as_str() {
                VIEWS => sample.views.clone(),
                INPUT_VIEW => sample.input_view.clone(),
                POSE => poses.clone(),
                ELEVATION => vec![sample.elevation],
                INVERSE_FOCAL => vec![sample.inverse_focal],
                _ => sample.mask.clone(),
            };
            Column::f32(&spec.name, shape, samples.iter().flat_map(of).collect())
        });
        Ok(Batch {
            columns: columns.collect(),
        })
    }
}
