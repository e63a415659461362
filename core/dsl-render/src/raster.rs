//! The rasteriser: triangles become pictures, through a depth buffer.
//!
//! First every sample finds its nearest triangle; then each covered sample is shaded once. Colours, normals and texture
//! places are interpolated in space, not in the picture (perspective-correct). A pixel is the mean of
//! `supersampling × supersampling` samples, in linear light.

use glam::Vec3;

use crate::camera::{Camera, Projection};
use crate::error::RenderError;
use crate::mesh::Mesh;
use crate::pixels::Pixels;
pub use shading::{Light, Shading};
use triangles::{Triangle, Triangles};

mod shading;
mod triangles;

/// Sides above this would need gigabytes.
const MAX_SAMPLES_A_SIDE: u32 = 16_384;

/// How a picture is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderOptions {
    /// Width and height in pixels.
    pub size: u32,
    /// Samples of a pixel in each direction; 1 leaves hard edges.
    pub supersampling: u32,
    /// The light.
    pub shading: Shading,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            size: 256,
            supersampling: 3,
            shading: Shading::default(),
        }
    }
}

/// What a camera sees: square, row by row from the top.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Width and height in pixels.
    pub size: u32,
    /// Mean colour of what is seen, linear; black where nothing is.
    pub color: Vec<Vec3>,
    /// Share of the pixel that is covered, 0..1.
    pub alpha: Vec<f32>,
    /// Mean depth (along the camera's axis) of what is seen; infinite where nothing is.
    pub depth: Vec<f32>,
    /// Unit normal of what is seen, towards the camera, in the world; zero where nothing is.
    pub normal: Vec<Vec3>,
}

impl View {
    /// Display (sRGB) colours over a background of display values, blended in linear light.
    pub fn over(&self, background: [f32; 3]) -> Pixels {
        let behind = Vec3::from(background.map(crate::color::srgb_to_linear));
        let blended = (self.color.iter().zip(&self.alpha)).map(|(&color, &alpha)| {
            if alpha == 0.0 {
                return background;
            }
            behind
                .lerp(color, alpha)
                .to_array()
                .map(crate::color::linear_to_srgb)
        });
        Pixels::new(self.size, blended.collect())
    }

    /// A normal map: normals along axes that `turn` gives, as `0.5 n + 0.5`, over a background of such values.
    pub fn normals_over(
        &self,
        turn: impl Fn([f64; 3]) -> [f64; 3],
        background: [f32; 3],
    ) -> Pixels {
        let behind = Vec3::from(background);
        let blended = (self.normal.iter().zip(&self.alpha)).map(|(&normal, &alpha)| {
            if alpha == 0.0 {
                return background;
            }
            let turned = turn(normal.as_dvec3().to_array()).map(|x| x as f32);
            behind
                .lerp(Vec3::from(turned) * 0.5 + 0.5, alpha)
                .to_array()
        });
        Pixels::new(self.size, blended.collect())
    }

    /// Normals along the camera's axes (OpenCV: x right, y down, z into the scene); zero where nothing is.
    pub fn camera_normals(&self, camera: &Camera) -> Vec<[f32; 3]> {
        let turned = self.normal.iter().map(|normal| {
            camera
                .direction_to_camera(normal.as_dvec3().to_array())
                .map(|x| x as f32)
        });
        turned.collect()
    }
}

/// Draws a mesh, of which [`Mesh::check`] has nothing to say.
///
/// # Errors
/// A size or supersampling of 0, or so large that no memory would hold it.
///
/// # Panics
/// Where an index of the mesh is out of range.
pub fn render(mesh: &Mesh, camera: &Camera, options: &RenderOptions) -> Result<View, RenderError> {
    let (size, over) = (options.size, options.supersampling);
    let samples = (size.checked_mul(over)).filter(|side| (1..=MAX_SAMPLES_A_SIDE).contains(side));
    let Some(side) = samples.map(|side| side as usize) else {
        return Err(RenderError::Setting {
            field: "size times supersampling",
            found: format!("{size} times {over}"),
            expected: "1 to 16384 samples a side",
        });
    };
    let triangles = Triangles::new(mesh, camera, side);
    let nearest = visible(&triangles.list, side);
    Ok(resolve(&triangles, camera, &nearest, options))
}

/// For each sample its nearest triangle; `u32::MAX` where there is none.
fn visible(triangles: &[Triangle], side: usize) -> Vec<u32> {
    let mut nearest = vec![u32::MAX; side * side];
    let mut nearness = vec![f32::NEG_INFINITY; side * side];
    for (number, triangle) in triangles.iter().enumerate() {
        let [top, bottom] = triangle.rows;
        for row in top..bottom {
            let Some((left, right)) = triangle.span(row, side) else {
                continue;
            };
            let start = row * side;
            let [along, first] = triangle.nearness_in_row(row);
            for column in left..right {
                let near = (first + along * column as f64) as f32;
                if near > nearness[start + column] {
                    nearness[start + column] = near;
                    nearest[start + column] = number as u32;
                }
            }
        }
    }
    nearest
}

/// Shades the samples and takes the means of pixels.
fn resolve(
    triangles: &Triangles<'_>,
    camera: &Camera,
    nearest: &[u32],
    options: &RenderOptions,
) -> View {
    let (size, over) = (options.size as usize, options.supersampling as usize);
    let lights = options.shading.for_camera(camera);
    let parallel = matches!(camera.projection(), Projection::Orthographic { .. });
    let pixels = size * size;
    let mut view = View {
        size: options.size,
        color: vec![Vec3::ZERO; pixels],
        alpha: vec![0.0; pixels],
        depth: vec![f32::INFINITY; pixels],
        normal: vec![Vec3::ZERO; pixels],
    };
    let all = (over * over) as f32;
    for pixel in 0..pixels {
        let (top, left) = (pixel / size * over, pixel % size * over);
        let (mut color, mut normal) = (Vec3::ZERO, Vec3::ZERO);
        let (mut depth, mut count) = (0.0, 0.0);
        for row in top..top + over {
            for column in left..left + over {
                let number = nearest[row * size * over + column];
                if number == u32::MAX {
                    continue;
                }
                let triangle = &triangles.list[number as usize];
                let seen = triangles.seen(triangle, column, row, parallel);
                color += lights.shade(seen.color, seen.normal);
                normal += seen.normal;
                depth += seen.depth;
                count += 1.0;
            }
        }
        if count > 0.0 {
            view.color[pixel] = color / count;
            view.alpha[pixel] = count / all;
            view.depth[pixel] = depth / count;
            view.normal[pixel] = normal.normalize_or_zero();
        }
    }
    view
}
