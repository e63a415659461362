//! Pictures made of network values and of other pictures: what people look at.

use std::io::Cursor;

use ::image::{DynamicImage, ImageFormat, RgbImage, imageops};

use super::{Picture, Window};
use crate::{Batch, PluginError};

impl Picture {
    /// A picture of one colour; a side of 0 is taken as 1.
    pub fn filled(width: u32, height: u32, color: [u8; 3]) -> Self {
        Self {
            pixels: RgbImage::from_pixel(width.max(1), height.max(1), ::image::Rgb(color)),
        }
    }

    /// The picture of network values in −1..1, channels first: `(value + 1) · 127.5`, rounded and cut to 0..255.
    /// `None` when `values` are not `3 · height · width`, or nothing is left.
    pub fn from_chw(width: u32, height: u32, values: &[f32]) -> Option<Self> {
        let pixels = width as usize * height as usize;
        if pixels == 0 || values.len() != 3 * pixels {
            return None;
        }
        // Not-a-number becomes 0 by the conversion.
        let byte = |value: f32| ((value + 1.0) * 127.5).round() as u8;
        let bytes = (0..pixels).flat_map(|pixel| {
            [0, 1, 2].map(|channel: usize| byte(values[channel * pixels + pixel]))
        });
        Self::from_rgb(width, height, bytes.collect())
    }

    /// Every pixel as a square of `factor` × `factor` of them; 0 is taken as 1.
    pub fn enlarged(&self, factor: u32) -> Self {
        let factor = factor.max(1);
        let (width, height) = (self.width() * factor, self.height() * factor);
        Self {
            pixels: RgbImage::from_fn(width, height, |x, y| {
                *self.pixels.get_pixel(x / factor, y / factor)
            }),
        }
    }

    /// Lays `other` over this one, its corner at `left`, `top`; what does not fit is cut off.
    pub fn paste(&mut self, other: &Self, left: u32, top: u32) {
        imageops::replace(
            &mut self.pixels,
            &other.pixels,
            i64::from(left),
            i64::from(top),
        );
    }

    /// Gives all pixels of `window` that are inside the picture one colour.
    pub fn fill(&mut self, window: Window, color: [u8; 3]) {
        let window = window.clipped(self.width(), self.height());
        for y in window.top..window.top + window.height {
            for x in window.left..window.left + window.width {
                self.pixels.put_pixel(x, y, ::image::Rgb(color));
            }
        }
    }

    /// Rows of pictures, each cell as large as the largest picture, `gap` pixels of `background` around and between them;
    /// `None` when there are none.
    pub fn grid(rows: &[Vec<Picture>], gap: u32, background: [u8; 3]) -> Option<Self> {
        let all = || rows.iter().flatten();
        let width = all().map(Self::width).max()? + gap;
        let height = all().map(Self::height).max()? + gap;
        let columns = rows.iter().map(Vec::len).max()? as u32;
        let mut grid = Self::filled(
            columns * width + gap,
            rows.len() as u32 * height + gap,
            background,
        );
        for (row, pictures) in (0..).zip(rows) {
            for (column, picture) in (0..).zip(pictures) {
                grid.paste(picture, gap + column * width, gap + row * height);
            }
        }
        Some(grid)
    }

    /// The bytes of a PNG file.
    ///
    /// # Errors
    /// A picture too large for the format.
    pub fn to_png(&self) -> Result<Vec<u8>, PluginError> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(self.pixels.clone())
            .write_to(&mut bytes, ImageFormat::Png)
            .map_err(|error| PluginError::other(format!("cannot write a PNG: {error}")))?;
        Ok(bytes.into_inner())
    }
}

impl Batch {
    /// The pictures of a column of floats, sample by sample; those of one sample in their order.
    ///
    /// # Errors
    /// A broken contract, when there is no such column, or it is not of the shape `[n, …, 3, height, width]`.
    pub fn pictures(&self, name: &str) -> Result<Vec<Picture>, PluginError> {
        let (shape, values) = self.f32(name)?;
        let no_pictures = || {
            PluginError::contract(format!(
                "column `{name}`: expected pictures of the shape [n, …, 3, height, width], found {shape:?}"
            ))
        };
        let [_, .., 3, height, width] = *shape else {
            return Err(no_pictures());
        };
        let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
            return Err(no_pictures());
        };
        let size = 3 * width as usize * height as usize;
        values
            .chunks(size.max(1))
            .map(|values| Picture::from_chw(width, height, values).ok_or_else(no_pictures))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Column, ColumnData};

    #[test]
    fn values_and_bytes_go_both_ways() {
        let bytes: Vec<u8> = (0..24).map(|i| i * 10).collect();
        let picture = Picture::from_rgb(4, 2, bytes).unwrap();
        let whole = Window::within(4, 2, 4, 2, 0.5, 0.5);
        let mut values = Vec::new();
        picture.append_chw(whole, false, &mut values);
        assert_eq!(Picture::from_chw(4, 2, &values).unwrap(), picture);
        let wild = [f32::NAN, -7.0, 7.0];
        assert_eq!(Picture::from_chw(1, 1, &wild).unwrap().rgb(), [0, 0, 255]);
        assert_eq!(Picture::from_chw(1, 2, &wild), None);

        let batch = Batch {
            columns: vec![Column {
                name: "views".into(),
                data: ColumnData::F32 {
                    shape: vec![1, 2, 3, 1, 1],
                    values: vec![1.0; 6],
                },
            }],
        };
        assert_eq!(batch.pictures("views").unwrap().len(), 2);
        assert!(batch.pictures("image").is_err());
        let png = picture.to_png().unwrap();
        assert_eq!(Picture::decode(&png, "png", [0; 3]).unwrap(), picture);
    }

    #[test]
    fn grids_and_windows() {
        let [red, blue] = [[255, 0, 0], [0, 0, 255]].map(|color| Picture::filled(1, 1, color));
        let large = red.enlarged(2);
        assert_eq!((large.width(), large.height()), (2, 2));
        let grid = Picture::grid(&[vec![large], vec![blue.clone(), blue]], 1, [9; 3]).unwrap();
        assert_eq!((grid.width(), grid.height()), (7, 7));
        let at = |x: usize, y: usize| grid.rgb()[3 * (y * 7 + x)..][..3].to_vec();
        assert_eq!(at(2, 2), [255, 0, 0]);
        assert_eq!(at(4, 4), [0, 0, 255]);
        assert_eq!(at(0, 0), [9, 9, 9]);
        let mut cut = Picture::filled(2, 2, [0; 3]);
        let beyond = Window {
            left: 1,
            top: 0,
            width: 9,
            height: 1,
        };
        cut.fill(beyond, [5; 3]);
        assert_eq!(cut.rgb(), [0, 0, 0, 5, 5, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Picture::grid(&[], 1, [0; 3]), None);
    }
}
