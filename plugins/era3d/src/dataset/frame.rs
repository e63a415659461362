//! One view in both domains before it has a background: drawn, or read.

use dsl_render::camera::y_up;
use dsl_render::glam::DVec3;
use dsl_render::protocol::era3d::{self as protocol, normal_map_axes};
use dsl_render::{Layer, Pixels, View};

/// One view in both domains.
#[derive(Debug)]
pub(crate) enum Frame {
    /// Drawn.
    Drawn(View),
    /// Read; the normals are those of a world with +Z up, as `0.5 n + 0.5`.
    Read {
        /// Colours.
        image: Layer,
        /// Normals.
        normal: Layer,
    },
}

impl Frame {
    /// Colours on a background.
    pub(crate) fn over(&self, background: [f32; 3]) -> Pixels {
        match self {
            Self::Drawn(view) => view.over(background),
            Self::Read { image, .. } => image.over(background),
        }
    }

    /// A normal map on a background, along the axes of a conditioning view at this azimuth.
    pub(crate) fn normals_over(&self, azimuth: f64, background: [f32; 3]) -> Pixels {
        match self {
            Self::Drawn(view) => view.normals_over(normal_map_axes(azimuth), background),
            Self::Read { normal, .. } => {
                // Azimuths are counted from the front, which in the world of these files is elsewhere.
                let axes = normal_map_axes(azimuth + protocol::azimuth(protocol::FRONT_IN_FOLDERS));
                let turned = normal.colors.rgb.iter().map(|stored| {
                    let world = stored.map(|value| 2.0 * f64::from(value) - 1.0);
                    let own = axes(DVec3::from(y_up(world)).normalize_or_zero().into());
                    own.map(|x| 0.5 * x as f32 + 0.5)
                });
                let turned = Layer {
                    colors: Pixels::new(normal.colors.size, turned.collect()),
                    alpha: normal.alpha.clone(),
                };
                turned.over(background)
            }
        }
    }

    /// Share of each pixel that is covered.
    pub(crate) fn alpha(&self) -> &[f32] {
        match self {
            Self::Drawn(view) => &view.alpha,
            Self::Read { image, .. } => &image.alpha,
        }
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        // Colour, coverage, depth and normal; colour and coverage twice.
        32 * self.alpha().len() as u64
    }
}
