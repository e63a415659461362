//! Scores of generated views and normal maps against true ones, beside those of the input view taken for each of them.

use dsl_render::glam::Vec3;
use dsl_render::protocol::era3d::TARGETS;
use dsl_sdk::{Artefacts, Batch, Direction, Evaluator, MetricValue, PluginError, Requirements};
use dsl_views::{ColorScores, GENERATED, INPUT_VIEW, VIEWS, alike, metric, views};

use crate::dataset::MASK;
use crate::sheet::{blocks, targets};

/// Pixels that the object covers less than this have something of the background, and no normal.
const LEAST_COVERED: f32 = 0.99;

/// Means over views, then objects: PSNR and SSIM of the colours, and of the input view in place of each; and the angle in
/// degrees between generated and true normals over the pixels that the object covers, and that of normals which all face the
/// viewer.
#[derive(Debug)]
pub struct ViewScores {
    requirements: Requirements,
    colors: ColorScores,
    normals: Angles,
    facing: Angles,
}

/// Angles between directions, summed up.
#[derive(Debug, Clone, Copy, Default)]
struct Angles {
    degrees: f64,
    count: u64,
}

impl Angles {
    /// A direction without length counts as one at right angles.
    fn add(&mut self, truth: Vec3, other: Vec3) {
        let cosine = truth.normalize_or_zero().dot(other.normalize_or_zero());
        self.degrees += f64::from(cosine.clamp(-1.0, 1.0)).acos().to_degrees();
        self.count += 1;
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.degrees / self.count as f64)
    }
}

impl ViewScores {
    pub(crate) fn new(requirements: Requirements) -> Self {
        Self {
            requirements,
            colors: ColorScores::default(),
            normals: Angles::default(),
            facing: Angles::default(),
        }
    }

    /// Angles between the normals of two maps of values in −1..1, where `covered` says that there is an object.
    fn angles(&mut self, truth: &[f32], own: &[f32], covered: &[f32]) {
        let plane = covered.len();
        let normal =
            |map: &[f32], pixel: usize| Vec3::from([0, 1, 2].map(|axis| map[axis * plane + pixel]));
        for pixel in (0..plane).filter(|&pixel| covered[pixel] >= LEAST_COVERED) {
            let truth = normal(truth, pixel);
            self.normals.add(truth, normal(own, pixel));
            self.facing.add(truth, Vec3::Z);
        }
    }
}

impl Evaluator for ViewScores {
    fn requirements(&self) -> Requirements {
        self.requirements.clone()
    }

    fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
        let (truth, generated) = (targets(inputs, VIEWS)?, targets(inputs, GENERATED)?);
        let given = views(inputs, INPUT_VIEW)?;
        let (_, mask) = inputs.f32(MASK)?;
        let plane = truth.side * truth.side;
        let masked = mask.len() == truth.objects * TARGETS.len() * plane;
        if !alike(&truth, &generated) || !alike(&truth, &given) || !masked {
            let message =
                format!("`{GENERATED}`, `{INPUT_VIEW}` and `{MASK}` do not fit `{VIEWS}`");
            return Err(PluginError::contract(message));
        }
        let shape = truth.shape();
        for object in 0..truth.objects {
            let given = given.values(object, 0);
            for view in 0..TARGETS.len() {
                let normals = (truth.values(object, view), generated.values(object, view));
                let start = (object * TARGETS.len() + view) * plane;
                self.angles(normals.0, normals.1, &mask[start..start + plane]);
                let color = TARGETS.len() + view;
                let (truth, own) = (truth.values(object, color), generated.values(object, color));
                self.colors.add(truth, own, given, shape)?;
            }
        }
        self.colors.show(blocks(inputs)?);
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let done = std::mem::replace(self, Self::new(self.requirements.clone()));
        let lower = Direction::LowerIsBetter;
        let normals = [
            metric("normal_error", done.normals.mean(), lower, "degrees"),
            metric("normal_error/facing", done.facing.mean(), lower, "degrees"),
        ];
        let colors = done.colors.finish(artefacts).into_iter();
        Ok(colors.chain(normals.into_iter().flatten()).collect())
    }
}
