//! Light on surfaces: Lambert's law, `color (ambient + Σ intensity max(0, n · l))`, at most 1.

use glam::Vec3;

use crate::camera::{Camera, rotation};

/// The light that surfaces are seen in.
#[derive(Debug, Clone, PartialEq)]
pub enum Shading {
    /// The colours alone.
    Flat,
    /// One lamp at the camera, a little above and to the right: ambient 0.35, lamp 0.65.
    Headlight,
    /// Lamps at infinity that stand still while the camera moves.
    Lambert {
        /// Light from everywhere.
        ambient: f32,
        /// The lamps.
        lights: Vec<Light>,
    },
}

/// A lamp at infinity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Light {
    /// Where it stands, in degrees, as cameras' azimuths.
    pub azimuth: f64,
    /// In degrees above the horizon.
    pub elevation: f64,
    /// Share of its light that a surface gives back that faces it.
    pub intensity: f32,
}

impl Default for Shading {
    /// A key lamp at the front right, a weaker one at the left, one behind and one above, with ambient 0.3: each side of a
    /// thing has a brightness of its own, and none is black.
    fn default() -> Self {
        let light = |azimuth, elevation, intensity| Light {
            azimuth,
            elevation,
            intensity,
        };
        Self::Lambert {
            ambient: 0.3,
            lights: vec![
                light(30.0, 35.0, 0.5),
                light(-65.0, 20.0, 0.3),
                light(160.0, 30.0, 0.3),
                light(0.0, 90.0, 0.2),
            ],
        }
    }
}

/// Light as directions of the world.
pub(super) struct Lamps {
    ambient: f32,
    /// Directions towards them, as long as they are strong.
    towards: Vec<Vec3>,
}

impl Shading {
    pub(super) fn for_camera(&self, camera: &Camera) -> Lamps {
        match self {
            Self::Flat => Lamps {
                ambient: 1.0,
                towards: Vec::new(),
            },
            Self::Headlight => {
                let (turn, _) = camera.parts();
                let towards = turn.transpose().as_mat3() * Vec3::new(0.35, -0.5, -1.0).normalize();
                Lamps {
                    ambient: 0.35,
                    towards: vec![0.65 * towards],
                }
            }
            Self::Lambert { ambient, lights } => Lamps {
                ambient: *ambient,
                towards: (lights.iter())
                    .map(|light| {
                        // Where such a camera stands, seen from the origin.
                        let back = -rotation(light.azimuth, light.elevation).row(2).as_vec3();
                        light.intensity * back
                    })
                    .collect(),
            },
        }
    }
}

impl Lamps {
    pub(super) fn shade(&self, color: Vec3, normal: Vec3) -> Vec3 {
        let lamps = (self.towards.iter()).map(|towards| towards.dot(normal).max(0.0));
        (color * (self.ambient + lamps.sum::<f32>())).min(Vec3::ONE)
    }
}
