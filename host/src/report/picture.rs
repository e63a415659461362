//! Samples as pictures: images in a grid, points of the plane in a plot.

mod grid;
mod scatter;

use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};

use crate::run_dir::{RunDirError, write_atomic};

pub use grid::{GridLayout, grid};
pub use scatter::{ScatterLayout, scatter};

/// Samples as the engine gives them: `values` in the order of `shape`, which is
/// `[samples, channels, height, width]`. Images are in −1..1; points of the plane are
/// `[samples, 2, 1, 1]` in their own units.
#[derive(Debug, Clone, Copy)]
pub struct Samples<'a> {
    values: &'a [f32],
    shape: [usize; 4],
}

/// Why samples cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// Shape and number of values disagree.
    #[error("samples of shape {shape:?} need {expected} values, and {found} were given")]
    Length {
        /// The shape.
        shape: [usize; 4],
        /// Its product.
        expected: usize,
        /// What was there.
        found: usize,
    },
    /// There is nothing to draw.
    #[error("samples of shape {0:?} hold nothing to draw")]
    Empty([usize; 4]),
    /// No picture for this shape.
    #[error(
        "samples of shape {0:?} cannot be drawn: images need 1, 3 or 4 channels, points of the plane are [n, 2, 1, 1]"
    )]
    Shape([usize; 4]),
    /// The picture would be larger than a PNG file should be.
    #[error(
        "a picture of {width}×{height} pixels is too large\nhint: draw fewer samples, or enlarge them less"
    )]
    TooLarge {
        /// Pixels across.
        width: u64,
        /// Pixels down.
        height: u64,
    },
}

impl<'a> Samples<'a> {
    /// Checks that `values` fill `shape`.
    ///
    /// # Errors
    /// [`PictureError::Length`], [`PictureError::Empty`].
    pub fn new(values: &'a [f32], shape: [usize; 4]) -> Result<Self, PictureError> {
        let expected = shape
            .iter()
            .try_fold(1usize, |product, side| product.checked_mul(*side))
            .ok_or(PictureError::Shape(shape))?;
        if expected != values.len() {
            return Err(PictureError::Length {
                shape,
                expected,
                found: values.len(),
            });
        }
        if expected == 0 {
            return Err(PictureError::Empty(shape));
        }
        Ok(Self { values, shape })
    }

    /// `[samples, channels, height, width]`.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Whether these are points of the plane rather than images.
    pub fn are_points(&self) -> bool {
        self.shape[1..] == [2, 1, 1]
    }

    /// The points, of samples that [`are_points`](Samples::are_points).
    fn points(&self) -> impl Iterator<Item = [f32; 2]> {
        self.values.as_chunks::<2>().0.iter().copied()
    }
}

/// Draws samples in the way their shape asks for: a grid of images, or a plot of points over those
/// of `reference`.
///
/// # Errors
/// [`PictureError`].
pub fn picture(
    samples: Samples<'_>,
    reference: Option<Samples<'_>>,
) -> Result<RgbImage, PictureError> {
    if samples.are_points() {
        scatter(samples, reference, &ScatterLayout::default())
    } else {
        grid(samples, &GridLayout::fitting(samples.shape()))
    }
}

/// The bytes of a PNG file.
pub fn png_bytes(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ImageFormat::Png)
        .expect("an RGB image of checked size encodes into memory");
    bytes.into_inner()
}

/// Writes a PNG file, whole or not at all.
///
/// # Errors
/// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
pub fn write_png(path: &Path, picture: &RgbImage) -> Result<(), RunDirError> {
    write_atomic(path, &png_bytes(picture))
}

/// An empty picture of `width` × `height`, with a bound that keeps a slip in a command from taking
/// all memory.
fn blank(width: u64, height: u64, colour: [u8; 3]) -> Result<RgbImage, PictureError> {
    const MOST_PIXELS: u64 = 1 << 28;
    match (u32::try_from(width), u32::try_from(height)) {
        (Ok(w), Ok(h)) if width.saturating_mul(height) <= MOST_PIXELS => {
            Ok(RgbImage::from_pixel(w, h, image::Rgb(colour)))
        }
        _ => Err(PictureError::TooLarge { width, height }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_chooses_the_picture() {
        let points = [0.0; 10];
        let points = Samples::new(&points, [5, 2, 1, 1]).unwrap();
        assert!(points.are_points());
        assert_eq!(picture(points, None).unwrap().width(), 512);

        let images = [0.0; 2 * 3 * 8 * 8];
        let images = Samples::new(&images, [2, 3, 8, 8]).unwrap();
        assert!(!images.are_points());
        picture(images, None).unwrap();

        let other = [0.0; 7];
        let other = Samples::new(&other, [1, 7, 1, 1]).unwrap();
        assert_eq!(
            picture(other, None).unwrap_err(),
            PictureError::Shape([1, 7, 1, 1])
        );
    }

    #[test]
    fn wrong_sizes_are_errors() {
        let error = Samples::new(&[0.0; 5], [1, 3, 2, 2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "samples of shape [1, 3, 2, 2] need 12 values, and 5 were given"
        );
        assert!(Samples::new(&[], [0, 3, 2, 2]).is_err());
        assert!(Samples::new(&[], [usize::MAX, 3, 2, 2]).is_err());
        assert!(matches!(
            blank(1 << 20, 1 << 20, [0; 3]),
            Err(PictureError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_png_file_holds_the_picture() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a.png");
        let picture = RgbImage::from_fn(7, 3, |x, y| image::Rgb([x as u8 * 30, y as u8 * 80, 9]));
        write_png(&path, &picture).unwrap();
        assert_eq!(image::open(&path).unwrap().into_rgb8(), picture);
    }
}
