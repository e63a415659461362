//! The thing in a picture that a user brings, cut out and brought to the size that a protocol's objects have.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{Rgba, Rgba32FImage};

use crate::error::RenderError;
use crate::pixels::{Layer, Pixels, decode};

/// Covered at least this much, a pixel belongs to the thing.
const LEAST_ALPHA: f32 = 0.05;
/// Without transparency, a pixel that is this far from white belongs to it.
const LEAST_CONTRAST: f32 = 8.0 / 255.0;

/// Reads a picture, cuts out the thing in it, and puts it in the middle of a square of `size` pixels, its longer side
/// `share` of the square's.
///
/// The thing is what is not transparent; in a picture without transparency what is not white. (Backgrounds are not removed:
/// of a photograph the whole is taken.)
///
/// # Errors
/// A file that cannot be read; a picture in which nothing is left.
pub fn subject(
    path: &Path,
    size: u32,
    share: f64,
    background: [f32; 3],
) -> Result<Pixels, RenderError> {
    let picture = decode(path)?;
    let see_through = picture.pixels().any(|pixel| pixel[3] < 0.99);
    let belongs = |Rgba([r, g, b, a]): &Rgba<f32>| {
        if see_through {
            *a >= LEAST_ALPHA
        } else {
            1.0 - r.min(*g).min(*b) >= LEAST_CONTRAST
        }
    };
    let mut edges: Option<[u32; 4]> = None;
    for (x, y, _) in picture
        .enumerate_pixels()
        .filter(|(_, _, pixel)| belongs(pixel))
    {
        let [left, top, right, bottom] = edges.unwrap_or([x, y, x, y]);
        edges = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
    }
    let Some([left, top, right, bottom]) = edges else {
        let cause = if see_through {
            "all of it is transparent"
        } else {
            "all of it is white"
        };
        return Err(RenderError::picture(path, cause));
    };
    let (width, height) = (right - left + 1, bottom - top + 1);
    let scale = share * f64::from(size) / f64::from(width.max(height));
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).clamp(1, size);
    let mut cut = imageops::crop_imm(&picture, left, top, width, height).to_image();
    for Rgba([r, g, b, a]) in cut.pixels_mut() {
        (*r, *g, *b) = (*r * *a, *g * *a, *b * *a);
    }
    let (width, height) = (scaled(width), scaled(height));
    let mut thing = imageops::resize(&cut, width, height, FilterType::Triangle);
    for Rgba([r, g, b, a]) in thing.pixels_mut() {
        if *a > 0.0 {
            (*r, *g, *b) = (*r / *a, *g / *a, *b / *a);
        }
    }
    let mut canvas = Rgba32FImage::new(size, size);
    let (x, y) = ((size - width) / 2, (size - height) / 2);
    imageops::replace(&mut canvas, &thing, i64::from(x), i64::from(y));
    Ok(Layer::resized(canvas, size).over(background))
}
