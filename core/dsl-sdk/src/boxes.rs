//! Boxes around things in pictures, moved along with the picture: [`crate::image::Picture::fit`], then
//! [`crate::image::Picture::append_chw`].
//!
//! ```
//! use dsl_sdk::boxes::{PixelBox, pad};
//! use dsl_sdk::image::{Resize, Window};
//!
//! // In a picture of 200 × 100 that is brought to a square of 50, and then mirrored.
//! let dog = PixelBox { left: 100.0, top: 20.0, right: 160.0, bottom: 100.0 };
//! let dog = dog.fit(200, 100, 50, Resize::CenterCrop);
//! let dog = dog.crop(Window { left: 0, top: 0, width: 50, height: 50 }).expect("it is in the middle");
//! assert_eq!(dog.flip(50), PixelBox { left: 0.0, top: 10.0, right: 25.0, bottom: 50.0 });
//! let (values, mask) = pad(&[dog.flip(50).normalized(50, 50)], 2);
//! assert_eq!(values, [0.0, 0.2, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0]);
//! assert_eq!(mask, [1.0, 0.0]);
//! ```
//!
//! Plain data and functions: any thread may use them, several at once.

use crate::image::{Resize, Window, cut_for_random_crop, scaled};

/// A box in pixels from the top left corner of a picture; edges may be fractions, and may lie outside the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelBox {
    /// Left edge.
    pub left: f32,
    /// Top edge.
    pub top: f32,
    /// Right edge.
    pub right: f32,
    /// Bottom edge.
    pub bottom: f32,
}

impl PixelBox {
    /// A box as COCO writes it: left, top, width, height.
    pub fn from_xywh([left, top, width, height]: [f32; 4]) -> Self {
        Self {
            left,
            top,
            right: left + width,
            bottom: top + height,
        }
    }

    /// Area in square pixels; 0 for a box that is inside out.
    pub fn area(&self) -> f32 {
        (self.right - self.left).max(0.0) * (self.bottom - self.top).max(0.0)
    }

    fn map(self, x: impl Fn(f32) -> f32, y: impl Fn(f32) -> f32) -> Self {
        Self {
            left: x(self.left),
            top: y(self.top),
            right: x(self.right),
            bottom: y(self.bottom),
        }
    }

    /// Where the box lies after [`crate::image::Picture::fit`] of a picture of `width` × `height`. It is not cut.
    pub fn fit(self, width: u32, height: u32, size: u32, resize: Resize) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let shorter = width.min(height);
        // First a window of the picture, then a scale for it, then a shift.
        let (window, to) = match resize {
            Resize::CenterCrop => (
                Window::within(width, height, shorter, shorter, 0.5, 0.5),
                (size, size),
            ),
            Resize::RandomCrop => {
                let window = cut_for_random_crop(width, height);
                let to = |side| scaled(side, size, shorter);
                (window, (to(window.width), to(window.height)))
            }
            Resize::Stretch => (
                Window::within(width, height, width, height, 0.5, 0.5),
                (size, size),
            ),
            Resize::Pad => {
                let to = |side| scaled(side, size, width.max(height));
                (
                    Window::within(width, height, width, height, 0.5, 0.5),
                    (to(width), to(height)),
                )
            }
        };
        let to = (to.0.max(1), to.1.max(1));
        let (right, down) = match resize {
            Resize::Pad => (
                (size.max(1).saturating_sub(to.0)) / 2,
                (size.max(1).saturating_sub(to.1)) / 2,
            ),
            _ => (0, 0),
        };
        let x_scale = to.0 as f32 / window.width as f32;
        let y_scale = to.1 as f32 / window.height as f32;
        self.map(
            |x| (x - window.left as f32) * x_scale + right as f32,
            |y| (y - window.top as f32) * y_scale + down as f32,
        )
    }

    /// The part of the box inside `window`, from the window's corner; nothing when none of it is inside.
    pub fn crop(self, window: Window) -> Option<Self> {
        let (width, height) = (window.width as f32, window.height as f32);
        let cut = self.map(
            |x| (x - window.left as f32).clamp(0.0, width),
            |y| (y - window.top as f32).clamp(0.0, height),
        );
        (cut.area() > 0.0).then_some(cut)
    }

    /// The box in the mirrored picture of that width.
    pub fn flip(self, width: u32) -> Self {
        let width = width as f32;
        Self {
            left: width - self.right,
            right: width - self.left,
            ..self
        }
    }

    /// Left, top, right and bottom as shares of the picture's sides: 0..1 for a box inside it.
    pub fn normalized(&self, width: u32, height: u32) -> [f32; 4] {
        let (width, height) = (width.max(1) as f32, height.max(1) as f32);
        [
            self.left / width,
            self.top / height,
            self.right / width,
            self.bottom / height,
        ]
    }
}

/// The first `most` boxes, filled up with zeros, and a mask with 1 where there is a box.
///
/// # Shapes
/// - values: `[most, 4]`, row-major
/// - mask: `[most]`
pub fn pad(boxes: &[[f32; 4]], most: usize) -> (Vec<f32>, Vec<f32>) {
    let count = boxes.len().min(most);
    let mut values = boxes[..count].concat();
    values.resize(4 * most, 0.0);
    let mut mask = vec![1.0; count];
    mask.resize(most, 0.0);
    (values, mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Filter, Picture};

    /// The white part of a picture, as a box.
    fn white(picture: &Picture) -> PixelBox {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let is_white = |x: usize, y: usize| picture.rgb()[3 * (y * width + x)] > 127;
        let columns: Vec<usize> = (0..width)
            .filter(|&x| (0..height).any(|y| is_white(x, y)))
            .collect();
        let rows: Vec<usize> = (0..height)
            .filter(|&y| (0..width).any(|x| is_white(x, y)))
            .collect();
        PixelBox {
            left: columns[0] as f32,
            top: rows[0] as f32,
            right: columns[columns.len() - 1] as f32 + 1.0,
            bottom: rows[rows.len() - 1] as f32 + 1.0,
        }
    }

    #[test]
    fn boxes_move_as_their_pictures_do() {
        for (width, height) in [(96_u32, 48_u32), (48, 96), (64, 64), (60, 50)] {
            let thing = PixelBox {
                left: width as f32 / 2.0 - 8.0,
                top: height as f32 / 2.0 - 12.0,
                right: width as f32 / 2.0 + 10.0,
                bottom: height as f32 / 2.0 + 6.0,
            };
            let bytes = (0..width * height).flat_map(|pixel| {
                let (x, y) = ((pixel % width) as f32, (pixel / width) as f32);
                let inside =
                    thing.left <= x && x < thing.right && thing.top <= y && y < thing.bottom;
                [if inside { 255 } else { 0 }; 3]
            });
            let picture = Picture::from_rgb(width, height, bytes.collect()).unwrap();
            for resize in [
                Resize::CenterCrop,
                Resize::RandomCrop,
                Resize::Stretch,
                Resize::Pad,
            ] {
                let fitted = picture.fit(32, resize, Filter::default(), [0; 3]);
                let expected = white(&fitted);
                let found = thing.fit(width, height, 32, resize);
                let edges = |b: PixelBox| [b.left, b.top, b.right, b.bottom];
                for (found, expected) in edges(found).into_iter().zip(edges(expected)) {
                    assert!(
                        (found - expected).abs() <= 1.0,
                        "{width} × {height}, {resize:?}: {found} for {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_outside_is_cut_off() {
        let window = Window {
            left: 10,
            top: 10,
            width: 20,
            height: 20,
        };
        let thing = PixelBox::from_xywh([0.0, 15.0, 15.0, 100.0]);
        assert_eq!(
            thing.crop(window).unwrap(),
            PixelBox::from_xywh([0.0, 5.0, 5.0, 15.0])
        );
        assert_eq!(
            PixelBox::from_xywh([0.0, 0.0, 10.0, 10.0]).crop(window),
            None
        );
        assert_eq!(thing.flip(20).flip(20), thing);
        let (values, mask) = pad(&[[0.5; 4], [0.25; 4]], 1);
        assert_eq!((values, mask), (vec![0.5; 4], vec![1.0]));
    }
}
