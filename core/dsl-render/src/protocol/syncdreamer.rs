//! SyncDreamer (Liu et al. 2023): sixteen views around an object from slightly above, made of one view.
//!
//! The object's bounding box is centred and its longest side is 1. All cameras stand at distance 1.5, with a focal length of
//! 280 pixels at 256 (35 mm before a sensor of 32). Targets: elevation 30°, azimuths evenly around. Input views: the same
//! azimuths, each at a random elevation. A sample's views are counted from the azimuth of its input view: view 0 looks from
//! there, view k from k steps further, counter-clockwise as seen from above.

use crate::camera::{Camera, Projection};
use crate::error::RenderError;

/// Number of target views.
pub const VIEWS: u32 = 16;
/// Elevation of the target views, in degrees.
pub const TARGET_ELEVATION: f64 = 30.0;
/// Elevations of input views in degrees, as the paper has them; the released renderings have −10 to 40.
pub const INPUT_ELEVATIONS: [f64; 2] = [-20.0, 40.0];
/// Distance of all cameras.
pub const DISTANCE: f64 = 1.5;
/// Focal length over the width of the picture.
pub const FOCAL: f64 = 280.0 / 256.0;
/// Half the side of the volume's cube.
pub const HALF_SIDE: f64 = 0.5;
/// Depths at which a pixel's ray meets the cube at the nearest and farthest: half its diagonal around the distance.
pub const DEPTH_RANGE: [f64; 2] = [DISTANCE - 0.866_03, DISTANCE + 0.866_03];
/// Longer side of the object over that of the picture, for pictures that a user brings: 200 of 256.
pub const SUBJECT_SHARE: f64 = 200.0 / 256.0;

/// Azimuth of a view in degrees, counted from the input view.
pub fn azimuth(view: u32, views: u32) -> f64 {
    360.0 * f64::from(view) / f64::from(views.max(1))
}

/// A camera of the protocol, in degrees.
///
/// # Errors
/// Angles that are not finite.
pub fn camera(azimuth: f64, elevation: f64) -> Result<Camera, RenderError> {
    Camera::orbit(
        azimuth,
        elevation,
        DISTANCE,
        Projection::Perspective { focal: FOCAL },
    )
}

/// What a target view is told of its camera: `[e_target − e_input, sin Δa, cos Δa, 0]`, in radians, elevations negated as
/// Zero-1-to-3 has them (Liu et al. 2023): −30° and the negated elevation of the input.
pub fn pose(view: u32, views: u32, input_elevation: f64) -> [f32; 4] {
    let (sin, cos) = azimuth(view, views).to_radians().sin_cos();
    let elevation = (input_elevation - TARGET_ELEVATION).to_radians();
    [elevation as f32, sin as f32, cos as f32, 0.0]
}

/// For each target view the matrix that takes a point of the cube to `(x d, y d, d)`, see [`Camera::projection_matrix`].
///
/// # Errors
/// None with these cameras; a pinhole has such a matrix.
pub fn projections(views: u32) -> Result<Vec<[[f64; 4]; 3]>, RenderError> {
    (0..views)
        .map(|view| {
            let camera = camera(azimuth(view, views), TARGET_ELEVATION)?;
            camera.projection_matrix().ok_or(RenderError::Setting {
                field: "projection",
                found: "orthographic".to_owned(),
                expected: "a pinhole",
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_volumes_centre_is_in_the_middle_of_every_view() {
        let projections = projections(VIEWS).unwrap();
        assert_eq!(projections.len(), 16);
        for [x, y, d] in projections {
            let (x, y, d) = (x[3], y[3], d[3]);
            assert!((x / d - 0.5).abs() < 1e-12 && (y / d - 0.5).abs() < 1e-12);
            assert!((d - DISTANCE).abs() < 1e-12);
        }
    }

    #[test]
    fn the_cubes_corners_lie_in_the_depth_range() {
        let mut depths = [f64::INFINITY, 0.0];
        for corner in 0..8_u32 {
            let point = [0, 1, 2].map(|axis| f64::from(corner >> axis & 1) - 0.5);
            for view in 0..VIEWS {
                let camera = camera(azimuth(view, VIEWS), TARGET_ELEVATION).unwrap();
                let (_, depth) = camera.project(point).unwrap();
                depths = [depths[0].min(depth), depths[1].max(depth)];
            }
        }
        assert!(
            DEPTH_RANGE[0] <= depths[0] && depths[1] <= DEPTH_RANGE[1],
            "{depths:?}"
        );
    }

    #[test]
    fn poses_are_those_of_zero123() {
        let [elevation, sin, cos, zero] = pose(4, 16, 30.0);
        assert_eq!((elevation, sin, zero), (0.0, 1.0, 0.0));
        assert!(cos.abs() < 1e-6);
        assert!((pose(0, 16, -20.0)[0] + 50_f32.to_radians()).abs() < 1e-6);
    }
}
