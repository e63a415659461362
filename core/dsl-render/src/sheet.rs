//! Pictures side by side, for people.

use crate::pixels::Pixels;

/// Between pictures, in pixels.
const GAP: u32 = 2;
/// Between blocks of rows.
const BLOCK_GAP: u32 = 10;
/// Display value between pictures.
const PAPER: u8 = 214;
/// Smaller pictures are enlarged by whole factors up to about this side.
const LEAST_SIDE: u32 = 64;

/// A picture of pictures: 8 bits a channel, rows from the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// `3 width height` bytes, red first.
    pub rgb: Vec<u8>,
}

impl Sheet {
    /// Lays rows of pictures of one size under each other; nothing leaves a place free. Each block of rows stands a little
    /// apart from the next.
    pub fn new(blocks: &[Vec<Vec<Option<Pixels>>>]) -> Self {
        let rows = || blocks.iter().flatten();
        let size = rows()
            .flatten()
            .flatten()
            .map(|pixels| pixels.size)
            .max()
            .unwrap_or(1);
        let scale = (LEAST_SIDE / size).max(1);
        let (side, columns) = (size * scale, rows().map(Vec::len).max().unwrap_or(1) as u32);
        let gaps = (blocks.len().saturating_sub(1)) as u32 * BLOCK_GAP;
        let width = columns * (side + GAP) + GAP;
        let height = rows().count() as u32 * (side + GAP) + GAP + gaps;
        let mut rgb = vec![PAPER; 3 * width as usize * height as usize];
        let mut top = GAP;
        for block in blocks {
            for row in block {
                for (column, pixels) in row.iter().enumerate() {
                    let Some(pixels) = pixels.as_ref().filter(|pixels| pixels.size == size) else {
                        continue;
                    };
                    let left = GAP + column as u32 * (side + GAP);
                    for y in 0..side {
                        for x in 0..side {
                            let from = (y / scale * size + x / scale) as usize;
                            let to = 3 * ((top + y) * width + left + x) as usize;
                            for channel in 0..3 {
                                let value = pixels.rgb[from][channel].clamp(0.0, 1.0);
                                rgb[to + channel] = (value * 255.0).round() as u8;
                            }
                        }
                    }
                }
                top += side + GAP;
            }
            top += BLOCK_GAP;
        }
        Self { width, height, rgb }
    }

    /// The bytes of a PNG file; empty where the sheet's bytes do not fill its sides, which those of [`Sheet::new`] do.
    pub fn png(&self) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_raw(self.width, self.height, self.rgb.clone())
            .and_then(|picture| picture.write_to(&mut bytes, image::ImageFormat::Png).ok())
            .map(|()| bytes.into_inner())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lie_where_they_should() {
        let plain = |value: f32| Some(Pixels::new(2, vec![[value; 3]; 4]));
        let sheet = Sheet::new(&[
            vec![vec![plain(0.0), None]],
            vec![vec![plain(0.2), plain(1.0)]],
        ]);
        assert_eq!((sheet.width, sheet.height), (2 * 66 + 2, 2 * 66 + 2 + 10));
        let at = |x: u32, y: u32| sheet.rgb[3 * (y * sheet.width + x) as usize];
        assert_eq!(
            [at(2, 2), at(65, 65), at(70, 10), at(0, 0)],
            [0, 0, PAPER, PAPER]
        );
        assert_eq!([at(2, 78), at(68, 78), at(68, 77)], [51, 255, PAPER]);
        let back = image::load_from_memory(&sheet.png()).unwrap().into_rgb8();
        assert_eq!(back.into_raw(), sheet.rgb);
    }
}
