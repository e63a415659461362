//! The dataset of one split: for each object an input view, the views around it, and where they look from.
//!
//! The way of a sample: object → a ring of target views (kept in memory: it is the same for every start) → a start and an
//! elevation, as the sample's seed says → the input view from there → values in −1..1, the ring turned so that the input's
//! azimuth comes first. Whether something came from memory changes nothing.

use std::sync::Arc;

use dsl_render::objects::Object;
use dsl_render::protocol::syncdreamer as protocol;
use dsl_render::{Cache, Pixels, Random, append_chw};
use dsl_sdk::{ColumnRole, ColumnSpec, PluginError};
use dsl_views::{INPUT_VIEW, ObjectSampler, Objects, POSE, VIEWS, column, failed};

use crate::config::DataConfig;
use views::Rendered;

pub(crate) mod views;

/// The column with the matrices that take the volume's points into the target views.
pub(crate) const PROJECTIONS: &str = "projections";

const WHITE: [f32; 3] = [1.0; 3];
/// Seed of the elevations of samples that are not augmented.
const FIXED: u64 = 0;

/// Views around objects. `[any thread]`
#[derive(Debug)]
pub struct ObjectViews {
    config: DataConfig,
    objects: Objects,
    /// Whether objects are folders of rendered views.
    rendered: bool,
    rings: Cache<Vec<Pixels>>,
    folders: Cache<Rendered>,
    projections: Vec<f32>,
}

impl ObjectViews {
    pub(crate) fn new(
        config: &DataConfig,
        objects: &[Object],
        rendered: bool,
    ) -> Result<Self, PluginError> {
        let objects = Objects::new(objects.to_vec(), config.drawing());
        let (slots, bytes) = (objects.len(), objects.max_bytes());
        Ok(Self {
            rings: Cache::new(slots, bytes / 2),
            folders: Cache::new(slots, bytes),
            projections: projections(config.views)?,
            config: config.clone(),
            objects,
            rendered,
        })
    }

    fn folder(&self, place: usize) -> Result<Arc<Rendered>, PluginError> {
        self.folders.get_or_make(
            place,
            || Rendered::open(self.objects.at(place)?, &self.config),
            Rendered::size_bytes,
        )
    }

    /// The target views of an object, from azimuth 0 on.
    fn ring(&self, place: usize) -> Result<Arc<Vec<Pixels>>, PluginError> {
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

    fn draw(&self, place: usize, azimuth: f64, elevation: f64) -> Result<Pixels, PluginError> {
        let camera = protocol::camera(azimuth, elevation).map_err(failed)?;
        Ok(self.objects.draw(place, &camera)?.over(WHITE))
    }
}

impl ObjectSampler for ObjectViews {
    fn objects(&self) -> &Objects {
        &self.objects
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        let side = u64::from(self.config.image_size);
        let views = u64::from(self.config.views);
        vec![
            column(VIEWS, &[views, 3, side, side], ColumnRole::Image),
            column(INPUT_VIEW, &[3, side, side], ColumnRole::Image),
            column(POSE, &[views, 4], ColumnRole::Other),
            column(PROJECTIONS, &[views, 3, 4], ColumnRole::Other),
        ]
    }

    fn sample(&self, place: usize, seed: Option<u64>) -> Result<Vec<Vec<f32>>, PluginError> {
        let views = self.config.views;
        let mut random = Random::new(seed.unwrap_or(FIXED), place as u64);
        let elevation = random.between(self.config.input_elevations);
        let start = random.below(views as usize) as u32;
        let start = if seed.is_some() { start } else { 0 };
        let (ring, input, elevation) = if self.rendered {
            let folder = self.folder(place)?;
            let at = start as usize;
            let input = folder.inputs[at].clone();
            (Arc::clone(&folder.targets), input, folder.elevations[at])
        } else {
            let ring = self.ring(place)?;
            let azimuth = protocol::azimuth(start, views);
            let input = self.draw(place, azimuth, elevation)?;
            (ring, input, elevation)
        };
        let (mut targets, mut input_view, mut poses) = (Vec::new(), Vec::new(), Vec::new());
        append_chw(&input, &mut input_view);
        for view in 0..views {
            append_chw(&ring[((start + view) % views) as usize], &mut targets);
            poses.extend(protocol::pose(view, views, elevation));
        }
        Ok(vec![targets, input_view, poses, self.projections.clone()])
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
