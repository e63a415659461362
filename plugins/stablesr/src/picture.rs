//! Samples as people look at them: low resolution, generated, truth, side by side.

use dsl_sdk::image::Picture;
use dsl_sdk::{PluginError, tracing};

use crate::samples::{Pictures, Samples};

/// Pictures whose sides are shorter are enlarged by a whole factor until the longer one is at least this.
const SIDE_PIXELS: usize = 128;
/// Pixels around the pictures of a sample, and between samples besides.
const THIN: u32 = 2;
const WIDE: u32 = 6;
/// The longest side of a picture that the host takes.
const LONGEST: u32 = 16_384;
/// What shows there.
const GROUND: [u8; 3] = [255; 3];

/// The first samples of a batch, at most `most` of them and no more than fit: each a strip of two or three pictures, strips
/// in rows.
pub(crate) fn side_by_side(samples: &Samples<'_>, most: usize) -> Result<Picture, PluginError> {
    let wanted = samples.count().min(most);
    if wanted == 0 {
        return Err(PluginError::contract("no samples to draw"));
    }
    let first = strip(samples, 0)?;
    let [columns, rows] = layout([first.width(), first.height()], wanted);
    let count = wanted.min(columns * rows);
    if count < wanted {
        tracing::warn!(
            "{count} of {wanted} samples are shown: more would be longer than {LONGEST} pixels"
        );
    }
    let mut strips = vec![first];
    for index in 1..count {
        strips.push(strip(samples, index)?);
    }
    let rows: Vec<Vec<Picture>> = strips.chunks(columns).map(<[_]>::to_vec).collect();
    Picture::grid(&rows, WIDE, GROUND).ok_or_else(|| PluginError::contract("nothing to draw"))
}

/// Columns and rows for `count` strips of `size`: about square as a whole, within [`LONGEST`].
fn layout(size: [u32; 2], count: usize) -> [usize; 2] {
    let [width, height] = size.map(f64::from);
    let [most_columns, most_rows] =
        size.map(|side| ((LONGEST - WIDE) / (side + WIDE)).max(1) as usize);
    let square = (count as f64 * width * height).sqrt() / width;
    let columns = (square.round() as usize)
        .max(count.div_ceil(most_rows))
        .clamp(1, most_columns.min(count));
    [columns, count.div_ceil(columns).min(most_rows)]
}

/// One sample.
fn strip(samples: &Samples<'_>, index: usize) -> Result<Picture, PluginError> {
    let [width, height] = samples.size();
    let factor = SIDE_PIXELS.div_ceil(width.max(height));
    let shown = |of: Pictures<'_>, factor| enlarged(of.get(index), of.size(), factor);
    let low = match samples.small {
        // Its pixels as squares that cover what the target's do.
        Some(small)
            if width.is_multiple_of(small.width)
                && small.width * height == small.height * width =>
        {
            shown(small, factor * width / small.width)?
        }
        _ => shown(samples.low, factor)?,
    };
    let generated = enlarged(&samples.generated(index)?, samples.size(), factor)?;
    let mut parts = vec![low, generated];
    if let Some(truth) = samples.truth {
        parts.push(shown(truth, factor)?);
    }
    Picture::grid(&[parts], THIN, GROUND).ok_or_else(|| PluginError::contract("nothing to draw"))
}

/// Each pixel of a `[3, height, width]` picture in −1..1 becomes a square of `factor` pixels.
fn enlarged(
    values: &[f32],
    [width, height]: [usize; 2],
    factor: usize,
) -> Result<Picture, PluginError> {
    Picture::from_chw(width as u32, height as u32, values)
        .map(|picture| picture.enlarged(factor as u32))
        .ok_or_else(|| PluginError::contract(format!("{} values of a picture", values.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_are_laid_out_about_square_and_within_what_the_host_takes() {
        assert_eq!(layout([436, 148], 1), [1, 1]);
        assert_eq!(layout([436, 148], 12), [2, 6]);
        assert_eq!(layout([148, 436], 4), [3, 2]);
        // The largest pictures of a user's own: three below each other fit, and no two beside each other.
        assert_eq!(layout([8_198, 4_100], 64), [1, 3]);
        // Wide strips of little height would be wider than allowed before they are about square.
        for (size, count) in [([8_198, 36], 64), ([70, 4_100], 64), ([4_100, 2_052], 64)] {
            let [columns, rows] = layout(size, count).map(|n| n as u32);
            assert!(columns * (size[0] + WIDE) + WIDE <= LONGEST);
            assert!(rows * (size[1] + WIDE) + WIDE <= LONGEST);
        }
        assert_eq!(
            layout([70, 4_100], 64).iter().product::<usize>().min(64),
            64
        );
    }
}
