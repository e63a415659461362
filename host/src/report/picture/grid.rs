use image::{Rgb, RgbImage};

use super::{PictureError, Samples, blank};

/// Between and around the images: a grey that neither white nor black ones melt into.
const GAP_COLOUR: [u8; 3] = [112, 112, 112];

/// Shown for values that are not finite: no picture looks like that by accident.
const BROKEN_COLOUR: Rgb<u8> = Rgb([255, 0, 255]);

/// Small images are enlarged to about this many pixels.
const TILE: usize = 128;

/// How images are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridLayout {
    /// Images per row.
    pub columns: usize,
    /// Every pixel becomes a square of so many.
    pub scale: usize,
    /// Pixels between and around the images.
    pub gap: usize,
}

impl GridLayout {
    /// A near-square grid of images large enough to look at.
    pub fn fitting(shape: [usize; 4]) -> Self {
        let [samples, _, height, width] = shape;
        let columns = (1..).find(|side| side * side >= samples).unwrap_or(1);
        Self {
            columns,
            scale: (TILE / height.max(width).max(1)).max(1),
            gap: 4,
        }
    }

    /// The same with so many images per row.
    pub fn with_columns(self, columns: usize) -> Self {
        Self {
            columns: columns.max(1),
            ..self
        }
    }
}

/// Draws images of −1..1 row by row. One channel is grey, three are RGB, the fourth of four is
/// opacity, over white. Values beyond −1..1 are cut off; those that are not finite show in magenta.
///
/// # Errors
/// [`PictureError::Shape`] for any other number of channels, [`PictureError::TooLarge`].
pub fn grid(samples: Samples<'_>, layout: &GridLayout) -> Result<RgbImage, PictureError> {
    let [count, channels, height, width] = samples.shape();
    if ![1, 3, 4].contains(&channels) {
        return Err(PictureError::Shape(samples.shape()));
    }
    let columns = layout.columns.clamp(1, count);
    let rows = count.div_ceil(columns);
    let side = |tiles: usize, pixels: usize| {
        let tile = (pixels as u64).saturating_mul(layout.scale.max(1) as u64);
        (tile.saturating_add(layout.gap as u64))
            .saturating_mul(tiles as u64)
            .saturating_add(layout.gap as u64)
    };
    let mut picture = blank(side(columns, width), side(rows, height), GAP_COLOUR)?;

    let scale = layout.scale.max(1);
    let plane = height * width;
    for (index, image) in samples.values.chunks_exact(channels * plane).enumerate() {
        let left = layout.gap + index % columns * (width * scale + layout.gap);
        let top = layout.gap + index / columns * (height * scale + layout.gap);
        for y in 0..height {
            for x in 0..width {
                let colour = colour(image, plane, y * width + x);
                for (dy, dx) in (0..scale * scale).map(|i| (i / scale, i % scale)) {
                    let (px, py) = (left + x * scale + dx, top + y * scale + dy);
                    picture.put_pixel(px as u32, py as u32, colour);
                }
            }
        }
    }
    Ok(picture)
}

/// The colour of one pixel of a channels-first image.
fn colour(image: &[f32], plane: usize, at: usize) -> Rgb<u8> {
    let channels = image.len() / plane;
    let value = |channel: usize| image[channel * plane + at];
    if (0..channels).any(|channel| !value(channel).is_finite()) {
        return BROKEN_COLOUR;
    }
    // −1..1 to 0..1
    let unit = |channel: usize| ((value(channel) + 1.0) / 2.0).clamp(0.0, 1.0);
    let byte = |unit: f32| (unit * 255.0).round() as u8;
    match channels {
        1 => Rgb([byte(unit(0)); 3]),
        3 => Rgb([0, 1, 2].map(|channel| byte(unit(channel)))),
        _ => {
            let opacity = unit(3);
            Rgb([0, 1, 2].map(|channel| byte(unit(channel) * opacity + 1.0 - opacity)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_fits_its_images() {
        let check = |shape, columns, scale| {
            let layout = GridLayout::fitting(shape);
            assert_eq!(
                (layout.columns, layout.scale),
                (columns, scale),
                "{shape:?}"
            );
        };
        check([16, 3, 32, 32], 4, 4);
        check([10, 3, 32, 32], 4, 4);
        check([1, 3, 200, 100], 1, 1);
        check([2, 1, 8, 8], 2, 16);
    }

    #[test]
    fn every_pixel_is_where_it_belongs() {
        // Three images of 2×1 in a row of two: red and green, blue and white, black and broken.
        let pixel = |r: f32, g: f32, b: f32| [r, g, b];
        let images = [
            [pixel(1., -1., -1.), pixel(-1., 1., -1.)],
            [pixel(-1., -1., 1.), pixel(1., 9., 1.)],
            [pixel(-1., -1., -9.), pixel(0., f32::NAN, 0.)],
        ];
        let values: Vec<f32> = images
            .iter()
            .flat_map(|image| (0..3).flat_map(move |c| image.iter().map(move |p| p[c])))
            .collect();
        let samples = Samples::new(&values, [3, 3, 1, 2]).unwrap();
        let layout = GridLayout {
            columns: 2,
            scale: 3,
            gap: 2,
        };
        let picture = grid(samples, &layout).unwrap();
        assert_eq!(picture.dimensions(), (2 + 6 + 2 + 6 + 2, 2 + 3 + 2 + 3 + 2));
        let at = |x, y| picture.get_pixel(x, y).0;
        assert_eq!(at(0, 0), GAP_COLOUR);
        for (dx, dy) in [(0, 0), (2, 2)] {
            assert_eq!(at(2 + dx, 2 + dy), [255, 0, 0]);
            assert_eq!(at(5 + dx, 2 + dy), [0, 255, 0]);
            assert_eq!(at(10 + dx, 2 + dy), [0, 0, 255]);
            assert_eq!(at(13 + dx, 2 + dy), [255, 255, 255]);
            assert_eq!(at(2 + dx, 7 + dy), [0, 0, 0]);
            assert_eq!(at(5 + dx, 7 + dy), BROKEN_COLOUR.0);
            // The place of the fourth image is empty.
            assert_eq!(at(10 + dx, 7 + dy), GAP_COLOUR);
        }
        assert_eq!(at(8, 2), GAP_COLOUR);
    }

    #[test]
    fn grey_and_opacity() {
        let layout = GridLayout {
            columns: 1,
            scale: 1,
            gap: 0,
        };
        let one = grid(Samples::new(&[0.0], [1, 1, 1, 1]).unwrap(), &layout).unwrap();
        assert_eq!(one.get_pixel(0, 0).0, [128; 3]);
        let clear = Samples::new(&[-1., -1., -1., -1.], [1, 4, 1, 1]).unwrap();
        let clear = grid(clear, &layout).unwrap();
        assert_eq!(clear.get_pixel(0, 0).0, [255; 3]);
    }
}
