//! Samples as people look at them: low resolution, generated, truth, side by side.

use std::io::Cursor;

use dsl_sdk::PluginError;
use dsl_sdk::image::Picture;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::raster::{CHANNELS, signed_byte};
use crate::samples::Samples;

/// Pictures of fewer pixels a side are enlarged by a whole factor to at least this.
const SIDE_PIXELS: usize = 128;
/// Pixels between pictures of a sample, and between samples.
const THIN: usize = 2;
const WIDE: usize = 8;
/// What shows there.
const GROUND: u8 = 255;

/// The first samples of a batch, at most `most` of them: each a strip of two or three pictures, strips in rows.
pub(crate) fn side_by_side(samples: &Samples<'_>, most: usize) -> Result<Picture, PluginError> {
    let strips = (0..samples.count().min(most))
        .map(|index| strip(samples, index))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = strips.first() else {
        return Err(PluginError::contract("no samples to draw"));
    };
    // About square as a whole.
    let area = strips.len() * first.width * first.height;
    let columns = ((area as f64).sqrt() / first.width as f64).round() as usize;
    let columns = columns.clamp(1, strips.len());
    let rows = strips.len().div_ceil(columns);
    let mut canvas = Canvas::new(
        columns * first.width + (columns - 1) * WIDE,
        rows * first.height + (rows - 1) * WIDE,
    );
    for (at, strip) in strips.iter().enumerate() {
        let left = at % columns * (strip.width + WIDE);
        canvas.lay(strip, left, at / columns * (strip.height + WIDE));
    }
    canvas.into_picture()
}

/// One sample.
fn strip(samples: &Samples<'_>, index: usize) -> Result<Canvas, PluginError> {
    let side = samples.side();
    let factor = SIDE_PIXELS.div_ceil(side);
    let generated = samples.generated(index)?;
    let mut parts = Vec::with_capacity(3);
    parts.push(match samples.small {
        Some(small) if side.is_multiple_of(small.side) => {
            Canvas::enlarged(small.get(index), small.side, factor * side / small.side)
        }
        _ => Canvas::enlarged(samples.low.get(index), side, factor),
    });
    parts.push(Canvas::enlarged(&generated, side, factor));
    if let Some(truth) = samples.truth {
        parts.push(Canvas::enlarged(truth.get(index), side, factor));
    }
    let width = parts[0].width;
    let mut canvas = Canvas::new(parts.len() * (width + THIN) - THIN, width);
    for (at, part) in parts.iter().enumerate() {
        canvas.lay(part, at * (width + THIN), 0);
    }
    Ok(canvas)
}

/// RGB of 8 bits, rows from the top.
struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            rgb: vec![GROUND; CHANNELS * width * height],
        }
    }

    /// Each pixel of a `[3, side, side]` picture in −1..1 becomes a square of `factor` pixels.
    fn enlarged(values: &[f32], side: usize, factor: usize) -> Self {
        let mut canvas = Self::new(side * factor, side * factor);
        for (at, value) in canvas.rgb.iter_mut().enumerate() {
            let (channel, pixel) = (at % CHANNELS, at / CHANNELS);
            let (x, y) = (pixel % canvas.width / factor, pixel / canvas.width / factor);
            *value = signed_byte(values[(channel * side + y) * side + x]);
        }
        canvas
    }

    fn lay(&mut self, part: &Self, left: usize, top: usize) {
        let rows = part.rgb.chunks_exact(CHANNELS * part.width);
        for (y, row) in rows.enumerate() {
            let start = CHANNELS * ((top + y) * self.width + left);
            self.rgb[start..start + row.len()].copy_from_slice(row);
        }
    }

    fn into_picture(self) -> Result<Picture, PluginError> {
        Picture::from_rgb(self.width as u32, self.height as u32, self.rgb)
            .ok_or_else(|| PluginError::other("a picture whose bytes do not fill it"))
    }
}

/// The picture as a PNG file.
pub(crate) fn png(picture: &Picture) -> Result<Vec<u8>, PluginError> {
    let mut bytes = Cursor::new(Vec::new());
    let (width, height) = (picture.width(), picture.height());
    PngEncoder::new(&mut bytes)
        .write_image(picture.rgb(), width, height, ExtendedColorType::Rgb8)
        .map_err(|error| PluginError::other(format!("PNG compression: {error}")))?;
    Ok(bytes.into_inner())
}
