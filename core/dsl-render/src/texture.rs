//! Pictures on surfaces.

use std::path::Path;

use glam::{Vec2, Vec3};

use crate::color::srgb_to_linear;
use crate::error::RenderError;

/// A picture on surfaces, in linear light.
#[derive(Debug, Clone, PartialEq)]
pub struct Texture {
    width: usize,
    height: usize,
    pixels: Vec<Vec3>,
}

impl Texture {
    /// Decodes a PNG, JPEG or WebP file of sRGB values; transparency is left out. `path` is named in errors.
    ///
    /// # Errors
    /// A file that is none of these, or is damaged.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, RenderError> {
        let picture = image::load_from_memory(bytes)
            .map_err(|error| RenderError::picture(path, error))?
            .into_rgb8();
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if width == 0 || height == 0 {
            return Err(RenderError::picture(path, "it has no pixels"));
        }
        let linear: Vec<f32> = (0..=255_u8)
            .map(|byte| srgb_to_linear(f32::from(byte) / 255.0))
            .collect();
        let pixels = picture.pixels();
        Ok(Self {
            width,
            height,
            pixels: pixels
                .map(|pixel| Vec3::from(pixel.0.map(|byte| linear[usize::from(byte)])))
                .collect(),
        })
    }

    /// The colour at a place, bilinear between the centres of pixels, repeated in both directions.
    pub fn sample(&self, uv: Vec2) -> Vec3 {
        let place = uv * Vec2::new(self.width as f32, self.height as f32) - 0.5;
        let (low, share) = (place.floor(), place - place.floor());
        let wrap = |at: f32, side: usize| (at as i64).rem_euclid(side as i64) as usize;
        let (x, y) = (wrap(low.x, self.width), wrap(low.y, self.height));
        let (right, below) = ((x + 1) % self.width, (y + 1) % self.height);
        let at = |x: usize, y: usize| self.pixels[y * self.width + x];
        let top = at(x, y).lerp(at(right, y), share.x);
        top.lerp(at(x, below).lerp(at(right, below), share.x), share.y)
    }

    pub(crate) fn size_bytes(&self) -> usize {
        size_of_val(&*self.pixels)
    }
}
