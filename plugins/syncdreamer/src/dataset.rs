//! The dataset of one split: for each object an input view, the views around it, and where they look from.
//!
//! The way of a sample: object → a ring of target views (kept in memory: it is the same for every start) → a start and an
//! elevation, as the sample's seed says → the input view from there → values in −1..1, the ring turned so that the input's
//! azimuth comes first. Whether something came from memory changes nothing.

use std::sync::Arc;

use dsl_render::objects::Object;
use dsl_render::protocol::syncdreamer as protocol;
use dsl_render::{
    Cache, Mesh, Normalization, Pixels, Random, RenderError, RenderOptions, append_chw, render,
};
use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnRole, ColumnSpec, DType, Dataset, Host, PluginError,
};

use crate::config::DataConfig;
use crate::failed;
use views::Rendered;

pub(crate) mod views;

/// The column with the target views.
pub(crate) const VIEWS: &str = "views";
/// The column with the input view.
pub(crate) const INPUT_VIEW: &str = "input_view";
/// The column with the target views' poses.
pub(crate) const POSE: &str = "pose";
/// The column with the matrices that take the volume's points into the target views.
pub(crate) const PROJECTIONS: &str = "projections";

const WHITE: [f32; 3] = [1.0; 3];
/// Seed of the elevations of samples that are not augmented.
const FIXED: u64 = 0;

/// Views around objects. `[any thread]`
#[derive(Debug)]
pub struct ObjectViews {
    config: DataConfig,
    host: Host,
    objects: Vec<Object>,
    /// Whether objects are folders of rendered views.
    rendered: bool,
    meshes: Cache<Mesh>,
    rings: Cache<Vec<Pixels>>,
    folders: Cache<Rendered>,
    projections: Vec<f32>,
}

impl ObjectViews {
    pub(crate) fn new(
        config: &DataConfig,
        objects: Vec<Object>,
        rendered: bool,
        host: &Host,
    ) -> Result<Self, PluginError> {
        // Meshes, and what is drawn of them, have a half each.
        let bytes = config.cache_mib.saturating_mul(1 << 20);
        let slots = objects.len();
        Ok(Self {
            meshes: Cache::new(slots, bytes / 2),
            rings: Cache::new(slots, bytes / 2),
            folders: Cache::new(slots, bytes),
            projections: projections(config.views)?,
            config: config.clone(),
            host: host.clone(),
            objects,
            rendered,
        })
    }

    fn sample(&self, index: u64, seed: u64, augment: bool) -> Result<Sample, PluginError> {
        let place = usize::try_from(index)
            .ok()
            .filter(|&place| place < self.objects.len())
            .ok_or_else(|| {
                let count = self.objects.len();
                PluginError::contract(format!("index {index} of a dataset of {count} samples"))
            })?;
        let views = self.config.views;
        let mut random = Random::new(if augment { seed } else { FIXED }, index);
        let elevation = random.between(self.config.input_elevations);
        let start = random.below(views as usize) as u32;
        let start = if augment { start } else { 0 };
        let (ring, input, elevation) = if self.rendered {
            let folder = self.folder(place)?;
            let at = start as usize;
            let input = folder.inputs[at].clone();
            (Arc::clone(&folder.targets), input, folder.elevations[at])
        } else {
            let ring = self.ring(place).map_err(failed)?;
            let azimuth = protocol::azimuth(start, views);
            let input = self.draw(place, azimuth, elevation).map_err(failed)?;
            (ring, input, elevation)
        };
        let mut sample = Sample::default();
        append_chw(&input, &mut sample.input_view);
        for view in 0..views {
            append_chw(&ring[((start + view) % views) as usize], &mut sample.views);
            sample.pose.extend(protocol::pose(view, views, elevation));
        }
        Ok(sample)
    }

    fn folder(&self, place: usize) -> Result<Arc<Rendered>, PluginError> {
        self.folders.get_or_make(
            place,
            || Rendered::open(&self.objects[place], &self.config),
            Rendered::size_bytes,
        )
    }

    /// The target views of an object, from azimuth 0 on.
    fn ring(&self, place: usize) -> Result<Arc<Vec<Pixels>>, RenderError> {
        let views = self.config.views;
        self.rings.get_or_make(
            place,
            || {
                (0..views)
                    .map(|view| {
                        let azimuth = protocol::azimuth(view, views);
                        self.draw(place, azimuth, protocol::TARGET_ELEVATION)
                    })
                    .collect()
            },
            |ring| ring.iter().map(Pixels::size_bytes).sum(),
        )
    }

    fn draw(&self, place: usize, azimuth: f64, elevation: f64) -> Result<Pixels, RenderError> {
        let mesh = self.meshes.get_or_make(
            place,
            || self.objects[place].mesh(Normalization::MaxSide),
            Mesh::size_bytes,
        )?;
        let options = RenderOptions {
            size: self.config.image_size,
            supersampling: self.config.supersampling,
            ..RenderOptions::default()
        };
        let camera = protocol::camera(azimuth, elevation)?;
        Ok(render(&mesh, &camera, &options)?.over(WHITE))
    }
}

/// The matrices of the views, row by row.
///
/// # Shapes
/// - result: `[views, 3, 4]`
pub(crate) fn projections(views: u32) -> Result<Vec<f32>, PluginError> {
    let matrices = protocol::projections(views).map_err(failed)?;
    let rows = matrices.into_iter().flatten().flatten();
    Ok(rows.map(|value| value as f32).collect())
}

#[derive(Default)]
struct Sample {
    views: Vec<f32>,
    input_view: Vec<f32>,
    pose: Vec<f32>,
}

impl Dataset for ObjectViews {
    fn len(&self) -> u64 {
        self.objects.len() as u64
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        let side = u64::from(self.config.image_size);
        let views = u64::from(self.config.views);
        let column = |name: &str, shape: &[u64], role: ColumnRole| ColumnSpec {
            name: name.into(),
            dtype: DType::F32,
            shape: shape.iter().copied().map(Some).collect(),
            role,
        };
        vec![
            column(VIEWS, &[views, 3, side, side], ColumnRole::Image),
            column(INPUT_VIEW, &[3, side, side], ColumnRole::Image),
            column(POSE, &[views, 4], ColumnRole::Other),
            column(PROJECTIONS, &[views, 3, 4], ColumnRole::Other),
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
        let columns = self.columns().into_iter().map(|spec| {
            let inner = spec.shape.iter().copied().flatten();
            let shape = std::iter::once(samples.len() as u64).chain(inner).collect();
            let of = |sample: &Sample| match spec.name.as_str() {
                VIEWS => sample.views.clone(),
                INPUT_VIEW => sample.input_view.clone(),
                POSE => sample.pose.clone(),
                _ => self.projections.clone(),
            };
            Column::f32(&spec.name, shape, samples.iter().flat_map(of).collect())
        });
        Ok(Batch {
            columns: columns.collect(),
        })
    }
}
