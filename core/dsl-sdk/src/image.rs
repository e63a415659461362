//! Pictures for authors of image tasks: decoding, fitting to a square, cropping, flipping, and the way to network values.
//!
//! The path is always the same: [`Picture::decode`] → [`Picture::fit`] (worth caching: it depends on the file alone) →
//! [`Window`] (what a sample's random numbers decide) → [`Picture::append_chw`].
//! All arithmetic is on the stored sRGB bytes, as the reference pipelines do it; colour profiles are ignored.
//!
//! Everything here is plain data and functions: any thread may use them, several at once.

use std::io::Cursor;

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage, imageops};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::PluginError;
use crate::buckets::Placed;

mod canvas;
mod jpeg;
#[cfg(test)]
mod tests;

/// File name endings, in lower case, of the pictures that [`Picture::decode`] reads.
pub const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// No side of a decoded picture may be longer: the width of a WebP's or JPEG's own size field.
const MAX_SIDE_PIXELS: u32 = 65_535;
/// A picture that would need more memory than this is refused: a few bytes of PNG can claim any size.
const MAX_DECODED_BYTES: u64 = 1 << 30;
/// For [`Resize::RandomCrop`] the longer side is first cut to this many times the shorter one: a 1 × 60,000 strip would otherwise
/// be enlarged to gigabytes.
const MAX_ASPECT: u32 = 16;

/// Whether a file name ends like a picture that can be read (case does not matter).
///
/// Files that begin with a dot are never pictures: tools leave their own data under such names (`._photo.jpg`).
pub fn is_picture_name(file_name: &str) -> bool {
    let base = file_name.rsplit('/').next().unwrap_or(file_name);
    !base.starts_with('.')
        && base.rsplit_once('.').is_some_and(|(_, extension)| {
            EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str())
        })
}

/// How a picture of any size becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// The largest square in the middle.
    #[default]
    CenterCrop,
    /// A square as large as the shorter side, at a place drawn for each sample; the middle when samples are not augmented.
    RandomCrop,
    /// The whole picture, its proportions changed.
    Stretch,
    /// The whole picture in its proportions, in the middle of a square of the background colour.
    Pad,
}

/// The resampling filter. All of them widen when a picture gets smaller, so that nothing aliases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Windowed sinc of three lobes: the sharpest.
    #[default]
    Lanczos,
    /// Catmull-Rom cubic.
    Bicubic,
    /// Triangle.
    Bilinear,
}

impl Filter {
    fn kernel(self) -> imageops::FilterType {
        match self {
            Filter::Lanczos => imageops::FilterType::Lanczos3,
            Filter::Bicubic => imageops::FilterType::CatmullRom,
            Filter::Bilinear => imageops::FilterType::Triangle,
        }
    }
}

/// An RGB picture of 8 bits a channel, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pixels: RgbImage,
}

impl Picture {
    /// Wraps `width * height * 3` bytes, red first, rows from the top; `None` when the length is another, or nothing is left.
    pub fn from_rgb(width: u32, height: u32, bytes: Vec<u8>) -> Option<Self> {
        let expected = u64::from(width) * u64::from(height) * 3;
        if expected == 0 || expected != bytes.len() as u64 {
            return None;
        }
        RgbImage::from_raw(width, height, bytes).map(|pixels| Self { pixels })
    }

    /// Decodes a PNG, JPEG or WebP file; the format is told by the content, not by the name.
    ///
    /// The orientation noted in the file is applied, an animation gives its first frame, 16 bits become 8, grey becomes RGB,
    /// and what is transparent shows `background`.
    ///
    /// # Errors
    /// Names `origin` (a file, or a shard and its member) when the bytes are of no known format, damaged, cut short (also a JPEG,
    /// which most decoders would fill up with grey in silence), or larger than 65,535 pixels a side or 1 GiB decoded.
    pub fn decode(bytes: &[u8], origin: &str, background: [u8; 3]) -> Result<Self, PluginError> {
        decode(bytes, background).map_err(|cause| unreadable(origin, &cause))
    }

    /// Width and height of the picture that [`Picture::decode`] would give, from the beginning of a file: no pixel is decoded.
    ///
    /// # Errors
    /// As [`Picture::decode`], as far as the header tells.
    pub fn size(bytes: &[u8], origin: &str) -> Result<[u32; 2], PluginError> {
        size(bytes).map_err(|cause| unreadable(origin, &cause))
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> u32 {
        self.pixels.width()
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> u32 {
        self.pixels.height()
    }

    /// The bytes, red first, rows from the top.
    pub fn rgb(&self) -> &[u8] {
        self.pixels.as_raw()
    }

    /// The picture at exactly `width` × `height`; a side of 0 is taken as 1.
    pub fn resize(&self, width: u32, height: u32, filter: Filter) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        if (width, height) == self.pixels.dimensions() {
            return self.clone();
        }
        Self {
            pixels: imageops::resize(&self.pixels, width, height, filter.kernel()),
        }
    }

    /// The part of the picture inside `window`, whose edges are clipped to the picture.
    pub fn crop(&self, window: Window) -> Self {
        let window = window.clipped(self.width(), self.height());
        let view = imageops::crop_imm(
            &self.pixels,
            window.left,
            window.top,
            window.width,
            window.height,
        );
        Self {
            pixels: view.to_image(),
        }
    }

    /// Brings the picture to `size` × `size` pixels, or, for [`Resize::RandomCrop`], to a shorter side of `size` pixels
    /// (and a longer one of at most 16 times that) from which [`Window::within`] cuts the square.
    ///
    /// [`Resize::CenterCrop`] cuts first and resizes then: the same picture up to the outermost pixels' filter support, and a long
    /// strip costs nothing.
    pub fn fit(&self, size: u32, resize: Resize, filter: Filter, background: [u8; 3]) -> Self {
        let (width, height) = (self.width(), self.height());
        let shorter = width.min(height);
        match resize {
            Resize::CenterCrop => self
                .crop(Window::within(width, height, shorter, shorter, 0.5, 0.5))
                .resize(size, size, filter),
            Resize::RandomCrop => {
                let window = cut_for_random_crop(width, height);
                self.crop(window).resize(
                    scaled(window.width, size, shorter),
                    scaled(window.height, size, shorter),
                    filter,
                )
            }
            Resize::Stretch => self.resize(size, size, filter),
            Resize::Pad => {
                let longer = width.max(height);
                let inner = self.resize(
                    scaled(width, size, longer),
                    scaled(height, size, longer),
                    filter,
                );
                inner.in_the_middle_of([size, size], background)
            }
        }
    }

    /// Brings the picture to its place among buckets of aspect ratios. [`Window::within`] then cuts the bucket from it:
    ///
    /// - [`Resize::CenterCrop`] and [`Resize::RandomCrop`] keep the proportions: the picture is of the size `placed.resized`,
    ///   and reaches over the bucket in one direction;
    /// - [`Resize::Stretch`] and [`Resize::Pad`] give a picture of the bucket's size.
    pub fn fit_bucket(
        &self,
        placed: Placed,
        resize: Resize,
        filter: Filter,
        background: [u8; 3],
    ) -> Self {
        let [width, height] = placed.bucket;
        match resize {
            Resize::CenterCrop | Resize::RandomCrop => {
                // In the size that it was placed by.
                let cut = self.crop(cut_for_random_crop(self.width(), self.height()));
                cut.resize(placed.resized[0], placed.resized[1], filter)
            }
            Resize::Stretch => self.resize(width, height, filter),
            Resize::Pad => {
                let is_wider = u64::from(self.width()) * u64::from(height)
                    > u64::from(self.height()) * u64::from(width);
                let [w, h] = match is_wider {
                    true => [width, scaled(self.height(), width, self.width())],
                    false => [scaled(self.width(), height, self.height()), height],
                };
                self.resize(w.min(width), h.min(height), filter)
                    .in_the_middle_of([width, height], background)
            }
        }
    }

    fn in_the_middle_of(&self, [width, height]: [u32; 2], background: [u8; 3]) -> Self {
        let mut canvas =
            RgbImage::from_pixel(width.max(1), height.max(1), ::image::Rgb(background));
        let left = canvas.width().saturating_sub(self.width()) / 2;
        let top = canvas.height().saturating_sub(self.height()) / 2;
        imageops::replace(&mut canvas, &self.pixels, i64::from(left), i64::from(top));
        Self { pixels: canvas }
    }

    /// Appends the part inside `window` (clipped to the picture) as network values: `byte / 127.5 − 1`, channels first.
    ///
    /// `flip` mirrors left and right.
    ///
    /// # Shapes
    /// - appended: `[3, window.height, window.width]`, row-major, each in −1..1
    pub fn append_chw(&self, window: Window, flip: bool, values: &mut Vec<f32>) {
        let window = window.clipped(self.width(), self.height());
        let stride = self.width() as usize * 3;
        values.reserve(window.width as usize * window.height as usize * 3);
        for channel in 0..3 {
            for row in window.top..window.top + window.height {
                let start = row as usize * stride + window.left as usize * 3;
                let row = self.rgb()[start..start + window.width as usize * 3].chunks_exact(3);
                let value = |pixel: &[u8]| f32::from(pixel[channel]) / 127.5 - 1.0;
                if flip {
                    values.extend(row.rev().map(value));
                } else {
                    values.extend(row.map(value));
                }
            }
        }
    }
}

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Columns left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Columns in it.
    pub width: u32,
    /// Rows in it.
    pub height: u32,
}

impl Window {
    /// A window of `width` × `height` inside a picture of `outer_width` × `outer_height`.
    ///
    /// `x` and `y` in 0..1 choose the place: 0 is the left or top edge, 0.5 the middle, just below 1 the right or bottom edge;
    /// uniform numbers give every place the same chance. A window larger than the picture is clipped to it.
    pub fn within(
        outer_width: u32,
        outer_height: u32,
        width: u32,
        height: u32,
        x: f64,
        y: f64,
    ) -> Self {
        let place = |outer: u32, inner: u32, at: f64| {
            let places = f64::from(outer - inner) + 1.0;
            ((at * places).floor().max(0.0) as u32).min(outer - inner)
        };
        let (width, height) = (width.min(outer_width), height.min(outer_height));
        Self {
            left: place(outer_width, width, x),
            top: place(outer_height, height, y),
            width,
            height,
        }
    }

    fn clipped(self, width: u32, height: u32) -> Self {
        let (left, top) = (self.left.min(width), self.top.min(height));
        Self {
            left,
            top,
            width: self.width.min(width - left),
            height: self.height.min(height - top),
        }
    }
}

/// What [`Resize::RandomCrop`] keeps of a picture before it resizes.
pub(crate) fn cut_for_random_crop(width: u32, height: u32) -> Window {
    let longest = width.min(height).saturating_mul(MAX_ASPECT);
    Window::within(
        width,
        height,
        width.min(longest),
        height.min(longest),
        0.5,
        0.5,
    )
}

/// `side * to / from`, rounded, at least 1.
pub(crate) fn scaled(side: u32, to: u32, from: u32) -> u32 {
    let (side, to, from) = (u64::from(side), u64::from(to), u64::from(from.max(1)));
    let rounded = (side * to + from / 2) / from;
    u32::try_from(rounded.max(1)).unwrap_or(u32::MAX)
}

fn unreadable(origin: &str, cause: &str) -> PluginError {
    PluginError::io(format!("cannot read the image `{origin}`: {cause}"))
        .with_help("replace the file, or leave it out; PNG, JPEG and WebP are read")
}

fn format_of(bytes: &[u8]) -> Result<ImageFormat, String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    match ::image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) => Ok(format),
        Ok(other) => Err(format!("it is {other:?}, not PNG, JPEG or WebP")),
        Err(_) => Err("its content is neither PNG, JPEG nor WebP".to_owned()),
    }
}

fn damaged(format: ImageFormat, error: &::image::ImageError) -> String {
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        _ => "WebP",
    };
    format!("the {name} is damaged ({error})")
}

/// A decoder that has read the header of a picture of bearable size.
fn decoder(bytes: &[u8], format: ImageFormat) -> Result<impl ImageDecoder + '_, String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE_PIXELS);
    limits.max_image_height = Some(MAX_SIDE_PIXELS);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let decoder = reader
        .into_decoder()
        .map_err(|error| damaged(format, &error))?;
    if decoder.total_bytes() > MAX_DECODED_BYTES {
        let (width, height) = decoder.dimensions();
        return Err(format!("it is too large ({width} × {height} pixels)"));
    }
    Ok(decoder)
}

fn size(bytes: &[u8]) -> Result<[u32; 2], String> {
    let format = format_of(bytes)?;
    let mut decoder = decoder(bytes, format)?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err("it has no pixels".to_owned());
    }
    let turned = match decoder.orientation() {
        Ok(orientation) => matches!(
            orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        ),
        Err(error) => return Err(damaged(format, &error)),
    };
    Ok(match turned {
        true => [height, width],
        false => [width, height],
    })
}

fn decode(bytes: &[u8], background: [u8; 3]) -> Result<Picture, String> {
    let format = format_of(bytes)?;
    if format == ImageFormat::Jpeg {
        jpeg::check_complete(bytes)?;
    }
    let damaged = |error: ::image::ImageError| damaged(format, &error);
    let mut decoder = decoder(bytes, format)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    if image.width() == 0 || image.height() == 0 {
        return Err("it has no pixels".to_owned());
    }
    let pixels = if image.color().has_alpha() {
        flatten(&image, background)
    } else {
        image.into_rgb8()
    };
    Ok(Picture { pixels })
}

/// Lays the picture on `background`: `(color * alpha + background * (255 − alpha)) / 255`, rounded.
fn flatten(image: &DynamicImage, background: [u8; 3]) -> RgbImage {
    let source = image.to_rgba8();
    let mut target = RgbImage::new(source.width(), source.height());
    for (from, to) in source.pixels().zip(target.pixels_mut()) {
        let alpha = u32::from(from[3]);
        for channel in 0..3 {
            let sum =
                u32::from(from[channel]) * alpha + u32::from(background[channel]) * (255 - alpha);
            to[channel] = ((sum + 127) / 255) as u8;
        }
    }
    target
}
