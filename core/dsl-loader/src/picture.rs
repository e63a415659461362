//! A picture that a plugin made of samples.

use bytes::Bytes;

use crate::{
    DType, LoaderError,
    arrived::{ArrivedTensor, Origin},
};

/// Longest side of a picture: what common formats and viewers can still show.
const MAX_SIDE_PIXELS: u64 = 16_384;

/// A picture that a plugin made of samples, still in the plugin's memory.
#[derive(Debug, Clone)]
pub struct RgbPicture {
    /// Width in pixels, 1..=16,384.
    pub width: u32,
    /// Height in pixels, 1..=16,384.
    pub height: u32,
    /// Red, green and blue of each pixel, row by row from the top left: `3 * width * height` bytes.
    pub bytes: Bytes,
}

impl RgbPicture {
    /// Checks what came for a picture.
    ///
    /// # Errors
    /// Another type or shape than `u8 [height, width, 3]`, sides out of bounds, another number of bytes.
    pub(crate) fn accept(tensor: ArrivedTensor, from: Origin<'_>) -> Result<Self, LoaderError> {
        let (_, tensor) = tensor.accept(from)?;
        let (dtype, shape, bytes) = tensor.into_parts();
        let side = |length: u64| {
            let side = u32::try_from(length).ok()?;
            (1..=MAX_SIDE_PIXELS).contains(&length).then_some(side)
        };
        let sides = match shape[..] {
            [height, width, 3] if dtype == DType::U8 => side(height).zip(side(width)),
            _ => None,
        };
        let Some((height, width)) = sides else {
            return Err(from.contract(
                format!("a picture, u8 [height, width, 3] with sides of 1 to {MAX_SIDE_PIXELS}"),
                format!("{dtype} {shape:?}"),
            ));
        };
        let expected = 3 * u64::from(width) * u64::from(height);
        if bytes.len() as u64 != expected {
            return Err(from.contract(
                format!("{expected} bytes for a picture of {width}×{height}"),
                format!("{} bytes", bytes.len()),
            ));
        }
        Ok(Self {
            width,
            height,
            bytes,
        })
    }
}
