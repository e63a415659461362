//! Era3D (Li et al. 2024): six orthographic views at the horizon, in colour and as normal maps, made of one view whose camera
//! is unknown.
//!
//! The object's bounding box is centred and its diagonal is 1. Around it are sixteen azimuths with five frames each: one
//! orthographic at elevation 0, three perspective with random lenses, one orthographic; all but the first at a random
//! elevation. Lenses are before a sensor of 32 mm, and the camera stands at lens / 32, so that the object is about as large
//! with each. Targets are the orthographic frames at elevation 0, counted in steps of 22.5° from the azimuth of the
//! conditioning view.

use crate::camera::{Camera, Projection, rotation};
use crate::error::RenderError;
use crate::random::Random;

/// Azimuths around an object.
pub const AZIMUTHS: usize = 16;
/// Frames of an azimuth: orthographic at elevation 0, three perspective, orthographic at a random elevation.
pub const FRAMES: usize = 5;
/// Steps of the target views from the conditioning view.
pub const TARGETS: [usize; 6] = [0, 2, 4, 8, 12, 14];
/// Names of the target views.
pub const TARGET_NAMES: [&str; 6] = [
    "front",
    "front_right",
    "right",
    "back",
    "left",
    "front_left",
];
/// Lenses in millimetres.
pub const LENSES_MM: [f64; 5] = [35.0, 50.0, 85.0, 105.0, 135.0];
/// Width of the sensor in millimetres.
pub const SENSOR_MM: f64 = 32.0;
/// Width that an orthographic camera sees.
pub const ORTHOGRAPHIC_WIDTH: f64 = 1.0;
/// Distance of orthographic cameras.
pub const ORTHOGRAPHIC_DISTANCE: f64 = 3.0;
/// Random elevations in degrees.
pub const ELEVATIONS: [f64; 2] = [-20.0, 40.0];
/// Steps of conditioning views from the front, and their probabilities: the front 0.7, 45° to each side 0.1, 90° to each
/// side 0.05.
pub const CONDITIONING: [(usize, f64); 5] = [(0, 0.7), (2, 0.1), (14, 0.1), (4, 0.05), (12, 0.05)];
/// The step of the front in folders of rendered views, whose azimuths are those of Blender (+Z up, the front towards −Y).
pub const FRONT_IN_FOLDERS: usize = 12;
/// Longer side of the object over that of the picture, for pictures that a user brings: 420 of 512.
pub const SUBJECT_SHARE: f64 = 420.0 / 512.0;

/// A view that an object is conditioned on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditioning {
    /// Steps from the front, `0..AZIMUTHS`.
    pub step: usize,
    /// In degrees.
    pub elevation: f64,
    /// Focal length in millimetres; nothing for an orthographic camera.
    pub lens_mm: Option<f64>,
}

/// Azimuth of a step in degrees.
pub fn azimuth(step: usize) -> f64 {
    360.0 * (step % AZIMUTHS) as f64 / AZIMUTHS as f64
}

impl Conditioning {
    /// The frontal orthographic view at elevation 0: what there is without random numbers.
    pub const FRONT: Self = Self {
        step: 0,
        elevation: 0.0,
        lens_mm: None,
    };

    /// Draws a view: its azimuth by [`CONDITIONING`], one of the five frames, a lens, an elevation. `shared_elevation` is
    /// that of all the object's frames where they have one.
    pub fn draw(random: &mut Random, elevations: [f64; 2], shared_elevation: Option<f64>) -> Self {
        // All are drawn whether they are used or not, so that one setting does not change another's numbers.
        let (place, frame) = (random.uniform(), random.below(FRAMES));
        let lens = LENSES_MM[random.below(LENSES_MM.len())];
        let drawn = random.between(elevations);
        Self {
            step: step(place),
            elevation: match frame {
                0 => 0.0,
                _ => shared_elevation.unwrap_or(drawn),
            },
            lens_mm: (1..=3).contains(&frame).then_some(lens),
        }
    }

    /// Its camera.
    ///
    /// # Errors
    /// Numbers that a camera cannot have.
    pub fn camera(&self) -> Result<Camera, RenderError> {
        let azimuth = azimuth(self.step);
        match self.lens_mm {
            None => orthographic(azimuth, self.elevation),
            Some(lens) => {
                let focal = lens / SENSOR_MM;
                Camera::orbit(
                    azimuth,
                    self.elevation,
                    focal,
                    Projection::Perspective { focal },
                )
            }
        }
    }

    /// What the network estimates: the elevation in radians.
    pub fn elevation_radians(&self) -> f32 {
        self.elevation.to_radians() as f32
    }

    /// What the network estimates: 24 mm over the focal length, 0 for an orthographic camera.
    pub fn inverse_focal(&self) -> f32 {
        self.lens_mm.map_or(0.0, |lens| (24.0 / lens) as f32)
    }
}

/// The step from the front for a number in 0..1, by [`CONDITIONING`].
pub fn step(uniform: f64) -> usize {
    let mut sum = 0.0;
    for (step, share) in CONDITIONING {
        sum += share;
        if uniform < sum {
            return step;
        }
    }
    CONDITIONING[0].0
}

/// Camera of a target view, for a conditioning view at `step`.
///
/// # Errors
/// None with these numbers.
pub fn target(step: usize, view: usize) -> Result<Camera, RenderError> {
    orthographic(azimuth(step + TARGETS[view % TARGETS.len()]), 0.0)
}

fn orthographic(azimuth: f64, elevation: f64) -> Result<Camera, RenderError> {
    let projection = Projection::Orthographic {
        width: ORTHOGRAPHIC_WIDTH,
    };
    Camera::orbit(azimuth, elevation, ORTHOGRAPHIC_DISTANCE, projection)
}

/// A normal of the world along the axes of normal maps: those of the camera at elevation 0 at this azimuth, as OpenGL has
/// them (x right, y up, z towards the viewer).
pub fn normal_map_axes(azimuth: f64) -> impl Fn([f64; 3]) -> [f64; 3] {
    let turn = rotation(azimuth, 0.0);
    move |normal| {
        let [x, y, z] = (turn * glam::DVec3::from(normal)).to_array();
        [x, -y, -z]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_are_met() {
        let sum: f64 = CONDITIONING.iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        let count = 20_000;
        let mut steps = [0; AZIMUTHS];
        let (mut pinholes, mut flat) = (0, 0);
        for index in 0..count {
            let drawn = Conditioning::draw(&mut Random::new(3, index), ELEVATIONS, None);
            steps[drawn.step] += 1;
            pinholes += i32::from(drawn.lens_mm.is_some());
            flat += i32::from(drawn.elevation == 0.0);
            assert!((-20.0..=40.0).contains(&drawn.elevation));
            drawn.camera().unwrap();
        }
        let near = |found: i32, share: f64| (f64::from(found) / count as f64 - share).abs() < 0.015;
        for (step, share) in CONDITIONING {
            assert!(near(steps[step], share), "{steps:?}");
        }
        assert!(near(pinholes, 0.6) && near(flat, 0.2), "{pinholes} {flat}");
    }

    #[test]
    fn all_lenses_show_the_object_at_one_size() {
        for lens in LENSES_MM {
            let view = Conditioning {
                lens_mm: Some(lens),
                ..Conditioning::FRONT
            };
            let (place, _) = view.camera().unwrap().project([0.5, 0.0, 0.0]).unwrap();
            assert!((place[0] - 1.0).abs() < 1e-12, "{place:?}");
            assert!((f64::from(view.inverse_focal()) - 24.0 / lens).abs() < 1e-6);
        }
    }

    #[test]
    fn normals_that_face_the_viewer_are_blue() {
        // A surface that faces the conditioning camera has the normal (0, 0, 1).
        for step in 0..AZIMUTHS {
            let azimuth = azimuth(step);
            let (sin, cos) = azimuth.to_radians().sin_cos();
            let [x, y, z] = normal_map_axes(azimuth)([sin, 0.0, cos]);
            assert!(x.abs() < 1e-12 && y.abs() < 1e-12 && (z - 1.0).abs() < 1e-12);
            let [x, y, z] = normal_map_axes(azimuth)([0.0, 1.0, 0.0]);
            assert!(x.abs() < 1e-12 && (y - 1.0).abs() < 1e-12 && z.abs() < 1e-12);
        }
    }
}
