//! Samples as people look at them: low resolution, generated, truth, side by side.

use dsl_sdk::PluginError;
use dsl_sdk::image::Picture;

use crate::samples::Samples;

/// Pictures of fewer pixels a side are enlarged by a whole factor to at least this.
const SIDE_PIXELS: usize = 128;
/// Pixels between pictures of a sample, and between samples.
const THIN: u32 = 2;
const WIDE: u32 = 8;
/// What shows there.
const GROUND: [u8; 3] = [255; 3];

/// The first samples of a batch, at most `most` of them: each a strip of two or three pictures, strips in rows.
pub(crate) fn side_by_side(samples: &Samples<'_>, most: usize) -> Result<Picture, PluginError> {
    let strips = (0..samples.count().min(most))
        .map(|index| strip(samples, index))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = strips.first() else {
        return Err(PluginError::contract("no samples to draw"));
    };
    let (width, height) = (first.width(), first.height());
    // About square as a whole.
    let area = strips.len() as f64 * f64::from(width) * f64::from(height);
    let count = strips.len() as u32;
    let columns = ((area.sqrt() / f64::from(width)).round() as u32).clamp(1, count);
    let rows = count.div_ceil(columns);
    let mut whole = Picture::filled(
        columns * (width + WIDE) - WIDE,
        rows * (height + WIDE) - WIDE,
        GROUND,
    );
    for (at, strip) in (0..).zip(&strips) {
        let (left, top) = (
            at % columns * (width + WIDE),
            at / columns * (height + WIDE),
        );
        whole.paste(strip, left, top);
    }
    Ok(whole)
}

/// One sample.
fn strip(samples: &Samples<'_>, index: usize) -> Result<Picture, PluginError> {
    let side = samples.side();
    let factor = SIDE_PIXELS.div_ceil(side);
    let generated = samples.generated(index)?;
    let mut parts = vec![match samples.small {
        Some(small) if side.is_multiple_of(small.side) => {
            enlarged(small.get(index), small.side, factor * side / small.side)?
        }
        _ => enlarged(samples.low.get(index), side, factor)?,
    }];
    parts.push(enlarged(&generated, side, factor)?);
    if let Some(truth) = samples.truth {
        parts.push(enlarged(truth.get(index), side, factor)?);
    }
    let width = parts[0].width();
    let count = parts.len() as u32;
    let mut strip = Picture::filled(count * (width + THIN) - THIN, width, GROUND);
    for (at, part) in (0..).zip(&parts) {
        strip.paste(part, at * (width + THIN), 0);
    }
    Ok(strip)
}

/// Each pixel of a `[3, side, side]` picture in −1..1 becomes a square of `factor` pixels.
fn enlarged(values: &[f32], side: usize, factor: usize) -> Result<Picture, PluginError> {
    Picture::from_chw(side as u32, side as u32, values)
        .map(|picture| picture.enlarged(factor as u32))
        .ok_or_else(|| PluginError::contract(format!("{} values of a picture", values.len())))
}
