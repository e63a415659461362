//! Cameras: where they stand, what they see, and the way between points and pixels.
//!
//! # Axes and angles
//! - World: right-handed, +Y up, as in glTF.
//! - Azimuth: degrees about +Y, counter-clockwise as seen from above; 0 looks at the front of a thing from +Z, 90 from +X.
//! - Elevation: degrees above the horizon; 90 looks down.
//! - Camera: OpenCV's axes: x to the right, y down, z into the scene; depth is z.
//! - Picture: x and y from the top left corner, 0..1 over its sides; pixel `i` of `n` has its centre at `(i + 0.5) / n`.
//!
//! A camera at azimuth a and elevation e stands at `distance (sin a cos e, sin e, cos a cos e)` and looks at the origin. With
//! +Z up, as in Blender, the same is `distance (cos a cos e, sin a cos e, sin e)`: see [`y_up`].

use glam::{DMat3, DVec2, DVec3};

use crate::error::RenderError;

/// How space becomes a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Projection {
    /// A pinhole.
    Perspective {
        /// Focal length as a multiple of the picture's width: 280/256 for 280 pixels at 256, lens/sensor in millimetres.
        focal: f64,
    },
    /// Parallel rays.
    Orthographic {
        /// Width of what is seen, in units of the world.
        width: f64,
    },
}

/// A camera of square pictures, its axis through their middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Camera {
    rotation: DMat3,
    translation: DVec3,
    projection: Projection,
}

/// A direction or point of a world with +Z up in one with +Y up, such that azimuths stay as they are.
pub fn y_up([x, y, z]: [f64; 3]) -> [f64; 3] {
    [y, z, x]
}

/// The turn from world to camera, for a camera that looks at the origin.
pub(crate) fn rotation(azimuth_degrees: f64, elevation_degrees: f64) -> DMat3 {
    let (sin_a, cos_a) = azimuth_degrees.to_radians().sin_cos();
    let (sin_e, cos_e) = elevation_degrees.to_radians().sin_cos();
    let right = DVec3::new(cos_a, 0.0, -sin_a);
    let forward = -DVec3::new(sin_a * cos_e, sin_e, cos_a * cos_e);
    let down = forward.cross(right);
    DMat3::from_cols(right, down, forward).transpose()
}

impl Camera {
    /// A camera that looks at the origin; angles in degrees, see the module.
    ///
    /// # Errors
    /// Numbers that are not finite, and a distance, focal length or width that is not above 0.
    pub fn orbit(
        azimuth_degrees: f64,
        elevation_degrees: f64,
        distance: f64,
        projection: Projection,
    ) -> Result<Self, RenderError> {
        let finite = "a finite number";
        let positive = "a number above 0";
        let (field, size) = match projection {
            Projection::Perspective { focal } => ("focal", focal),
            Projection::Orthographic { width } => ("width", width),
        };
        for (field, value, wrong, expected) in [
            (
                "azimuth",
                azimuth_degrees,
                !azimuth_degrees.is_finite(),
                finite,
            ),
            (
                "elevation",
                elevation_degrees,
                !elevation_degrees.is_finite(),
                finite,
            ),
            (
                "distance",
                distance,
                !(distance.is_finite() && distance > 0.0),
                positive,
            ),
            (field, size, !(size.is_finite() && size > 0.0), positive),
        ] {
            if wrong {
                return Err(RenderError::Setting {
                    field,
                    found: value.to_string(),
                    expected,
                });
            }
        }
        Ok(Self {
            rotation: rotation(azimuth_degrees, elevation_degrees),
            translation: DVec3::new(0.0, 0.0, distance),
            projection,
        })
    }

    /// The projection.
    pub fn projection(&self) -> Projection {
        self.projection
    }

    /// World to camera, `[R | t]`: rows of x, y and z.
    pub fn world_to_camera(&self) -> [[f64; 4]; 3] {
        std::array::from_fn(|row| {
            let turn = self.rotation.row(row);
            [turn.x, turn.y, turn.z, self.translation[row]]
        })
    }

    /// The intrinsics of a pinhole in pixels, rows: `f 0 c, 0 f c, 0 0 1`; nothing for an orthographic camera.
    pub fn intrinsics(&self, pixels: u32) -> Option<[[f64; 3]; 3]> {
        let Projection::Perspective { focal } = self.projection else {
            return None;
        };
        let (f, c) = (focal * f64::from(pixels), f64::from(pixels) / 2.0);
        Some([[f, 0.0, c], [0.0, f, c], [0.0, 0.0, 1.0]])
    }

    /// The matrix that takes a point of the world, homogeneous, to `(x d, y d, d)`, with x and y in 0..1 over the picture
    /// from its top left corner, and the depth d. Nothing for an orthographic camera: x d is then no linear function.
    pub fn projection_matrix(&self) -> Option<[[f64; 4]; 3]> {
        let [[f, _, c], _, _] = self.intrinsics(1)?;
        let [x, y, z] = self.world_to_camera();
        let mix = |row: [f64; 4]| std::array::from_fn(|at| f * row[at] + c * z[at]);
        Some([mix(x), mix(y), z])
    }

    /// The camera's place.
    pub fn eye(&self) -> [f64; 3] {
        (-(self.rotation.transpose() * self.translation)).into()
    }

    /// A direction of the world along the camera's axes.
    pub fn direction_to_camera(&self, direction: [f64; 3]) -> [f64; 3] {
        (self.rotation * DVec3::from(direction)).into()
    }

    /// Place in the picture and depth of a point; nothing for a point behind a pinhole.
    pub fn project(&self, point: [f64; 3]) -> Option<([f64; 2], f64)> {
        let seen = self.rotation * DVec3::from(point) + self.translation;
        let scale = match self.projection {
            Projection::Perspective { focal } if seen.z > 0.0 => focal / seen.z,
            Projection::Perspective { .. } => return None,
            Projection::Orthographic { width } => 1.0 / width,
        };
        Some(((seen.truncate() * scale + 0.5).into(), seen.z))
    }

    /// The point of a place in the picture at a depth.
    pub fn unproject(&self, place: [f64; 2], depth: f64) -> [f64; 3] {
        let scale = match self.projection {
            Projection::Perspective { focal } => depth / focal,
            Projection::Orthographic { width } => width,
        };
        let seen = ((DVec2::from(place) - 0.5) * scale).extend(depth);
        (self.rotation.transpose() * (seen - self.translation)).into()
    }

    pub(crate) fn parts(&self) -> (DMat3, DVec3) {
        (self.rotation, self.translation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINHOLE: Projection = Projection::Perspective {
        focal: 280.0 / 256.0,
    };
    const PARALLEL: Projection = Projection::Orthographic { width: 2.0 };

    fn camera(azimuth: f64, elevation: f64, projection: Projection) -> Camera {
        Camera::orbit(azimuth, elevation, 1.5, projection).unwrap()
    }

    #[track_caller]
    fn near<const N: usize>(found: [f64; N], expected: [f64; N]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        }
    }

    #[test]
    fn where_cameras_stand() {
        near(camera(0.0, 0.0, PINHOLE).eye(), [0.0, 0.0, 1.5]);
        near(camera(90.0, 0.0, PINHOLE).eye(), [1.5, 0.0, 0.0]);
        near(camera(180.0, 90.0, PINHOLE).eye(), [0.0, 1.5, 0.0]);
        let (a, e) = (50_f64.to_radians(), 20_f64.to_radians());
        let blender = [a.cos() * e.cos(), a.sin() * e.cos(), e.sin()];
        near(
            camera(50.0, 20.0, PINHOLE).eye(),
            y_up(blender).map(|x| 1.5 * x),
        );
    }

    #[test]
    fn known_points_have_known_places() {
        // From the front, +X is to the right and +Y is up; the origin is in the middle.
        let front = camera(0.0, 0.0, PINHOLE);
        let f = 280.0 / 256.0;
        let (place, depth) = front.project([0.3, 0.2, 0.5]).unwrap();
        near(place, [0.5 + f * 0.3, 0.5 - f * 0.2]);
        assert!((depth - 1.0).abs() < 1e-12);
        let (place, depth) = camera(77.0, 30.0, PINHOLE).project([0.0; 3]).unwrap();
        near([place[0], place[1], depth], [0.5, 0.5, 1.5]);
        // From +X, +Z is to the left.
        let (place, _) = camera(90.0, 0.0, PARALLEL)
            .project([0.0, 0.5, 0.5])
            .unwrap();
        near(place, [0.25, 0.25]);
        assert_eq!(front.project([0.0, 0.0, 2.0]), None);
    }

    #[test]
    fn unprojecting_undoes_projecting() {
        for projection in [PINHOLE, PARALLEL] {
            let camera = camera(-130.0, 25.0, projection);
            let point = [0.1, -0.3, 0.4];
            let (place, depth) = camera.project(point).unwrap();
            near(camera.unproject(place, depth), point);
        }
    }

    #[test]
    fn the_matrix_says_the_same_as_the_projection() {
        let camera = camera(22.5, 30.0, PINHOLE);
        let point = [0.2, -0.1, 0.3];
        let [x, y, d] = camera
            .projection_matrix()
            .unwrap()
            .map(|[a, b, c, one]| a * point[0] + b * point[1] + c * point[2] + one);
        let (place, depth) = camera.project(point).unwrap();
        near([x / d, y / d, d], [place[0], place[1], depth]);
        let intrinsics = camera.intrinsics(256).unwrap();
        assert_eq!(
            intrinsics,
            [[280.0, 0.0, 128.0], [0.0, 280.0, 128.0], [0.0, 0.0, 1.0]]
        );
        assert_eq!(self::camera(0.0, 0.0, PARALLEL).projection_matrix(), None);
    }

    #[test]
    fn axes_are_a_turn() {
        let turn = rotation(31.0, -17.0);
        assert!((turn.determinant() - 1.0).abs() < 1e-12);
        assert!(((turn * turn.transpose()) - DMat3::IDENTITY).abs_diff_eq(DMat3::ZERO, 1e-12));
    }

    #[test]
    fn impossible_cameras_are_refused() {
        for (azimuth, distance, projection) in [
            (f64::NAN, 1.0, PINHOLE),
            (0.0, 0.0, PINHOLE),
            (0.0, 1.0, Projection::Perspective { focal: -1.0 }),
            (
                0.0,
                1.0,
                Projection::Orthographic {
                    width: f64::INFINITY,
                },
            ),
        ] {
            let error = Camera::orbit(azimuth, 0.0, distance, projection).unwrap_err();
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }
}
