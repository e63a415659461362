//! Square pictures of display values, from a renderer or from files.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{Rgba, Rgba32FImage};

use crate::error::RenderError;

/// A square picture: red, green and blue in 0..1, row by row from the top.
#[derive(Debug, Clone, PartialEq)]
pub struct Pixels {
    /// Width and height.
    pub size: u32,
    /// `size × size` of them.
    pub rgb: Vec<[f32; 3]>,
}

/// Appends a picture as network values, `2 value − 1`, channels first.
///
/// # Shapes
/// - appended: `[3, size, size]`, each in −1..1
pub fn append_chw(pixels: &Pixels, values: &mut Vec<f32>) {
    for channel in 0..3 {
        values.extend(pixels.rgb.iter().map(|rgb| rgb[channel] * 2.0 - 1.0));
    }
}

impl Pixels {
    /// Wraps `size × size` pixels.
    pub fn new(size: u32, rgb: Vec<[f32; 3]>) -> Self {
        debug_assert_eq!(rgb.len(), size as usize * size as usize);
        Self { size, rgb }
    }

    /// From network values: clamped to −1..1, channels first.
    ///
    /// # Shapes
    /// - `values`: `[3, size, size]`; what is missing is black
    pub fn from_chw(values: &[f32], size: u32) -> Self {
        let count = size as usize * size as usize;
        let value = |at: usize| {
            values
                .get(at)
                .map_or(0.0, |value| (value.clamp(-1.0, 1.0) + 1.0) / 2.0)
        };
        let rgb =
            (0..count).map(|pixel| std::array::from_fn(|channel| value(channel * count + pixel)));
        Self::new(size, rgb.collect())
    }

    /// Memory that it takes, in bytes.
    pub fn size_bytes(&self) -> u64 {
        size_of_val(&*self.rgb) as u64
    }
}

/// A square picture with transparency, as it lies in a file, at another size.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Colours as if nothing were transparent.
    pub colors: Pixels,
    /// Share of the pixel that is covered, 0..1.
    pub alpha: Vec<f32>,
}

impl Layer {
    /// Reads a PNG, JPEG or WebP file and brings it to `size × size` pixels: means of what a pixel covers when it gets
    /// smaller, bilinear when it gets larger, of display values.
    ///
    /// # Errors
    /// A file that cannot be read, and a picture that is not square.
    pub fn open(path: &Path, size: u32) -> Result<Self, RenderError> {
        let picture = decode(path)?;
        if picture.width() != picture.height() {
            let cause = format!(
                "it is {} × {} pixels, expected a square",
                picture.width(),
                picture.height()
            );
            return Err(RenderError::picture(path, cause));
        }
        Ok(Self::resized(picture, size))
    }

    /// From straight to straight alpha, over premultiplied colours: what is transparent has no colour to give.
    pub(crate) fn resized(mut picture: Rgba32FImage, size: u32) -> Self {
        for Rgba([r, g, b, a]) in picture.pixels_mut() {
            (*r, *g, *b) = (*r * *a, *g * *a, *b * *a);
        }
        if picture.dimensions() != (size, size) {
            picture = imageops::resize(&picture, size, size, FilterType::Triangle);
        }
        let straight = |Rgba([r, g, b, a]): &Rgba<f32>| {
            if *a > 0.0 {
                [r, g, b].map(|value| (value / a).clamp(0.0, 1.0))
            } else {
                [0.0; 3]
            }
        };
        Self {
            colors: Pixels::new(size, picture.pixels().map(straight).collect()),
            alpha: picture
                .pixels()
                .map(|pixel| pixel[3].clamp(0.0, 1.0))
                .collect(),
        }
    }

    /// Over a background, blended as display values, as the reference implementations do it.
    pub fn over(&self, background: [f32; 3]) -> Pixels {
        let blended = (self.colors.rgb.iter().zip(&self.alpha)).map(|(color, alpha)| {
            std::array::from_fn(|c| alpha * color[c] + (1.0 - alpha) * background[c])
        });
        Pixels::new(self.colors.size, blended.collect())
    }
}

/// Decodes a picture of any kind that is read, in display values with straight alpha.
pub(crate) fn decode(path: &Path) -> Result<Rgba32FImage, RenderError> {
    let bytes = std::fs::read(path).map_err(|error| RenderError::io(path, error))?;
    let picture = image::load_from_memory(&bytes)
        .map_err(|error| RenderError::picture(path, error))?
        .into_rgba32f();
    if picture.width() == 0 || picture.height() == 0 {
        return Err(RenderError::picture(path, "it has no pixels"));
    }
    Ok(picture)
}
