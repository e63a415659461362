//! Compression as JPEG and back.

use dsl_sdk::PluginError;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageFormat};

use crate::raster::{CHANNELS, Raster, byte};

/// Compresses with `quality` from 1 to 100 and decodes. Values are rounded to 8 bits first. Chroma keeps its resolution.
pub(super) fn compress(picture: &Raster, quality: u8) -> Result<Raster, PluginError> {
    let failed =
        |error: image::ImageError| PluginError::other(format!("JPEG compression: {error}"));
    let pixels = picture.pixels();
    let interleaved: Vec<u8> = (0..CHANNELS * pixels)
        .map(|at| byte(picture.values[at % CHANNELS * pixels + at / CHANNELS]))
        .collect();
    let (width, height) = (picture.width as u32, picture.height as u32);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .encode(&interleaved, width, height, ExtendedColorType::Rgb8)
        .map_err(failed)?;
    let decoded = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg).map_err(failed)?;
    let decoded = decoded.into_rgb8().into_raw();
    Ok(Raster {
        width: picture.width,
        height: picture.height,
        values: (0..CHANNELS * pixels)
            .map(|at| f32::from(decoded[at % pixels * CHANNELS + at / pixels]) / 255.0)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn textured() -> Raster {
        let (width, height) = (40, 24);
        Raster {
            width,
            height,
            values: (0..CHANNELS * width * height)
                .map(|at| 0.5 + 0.4 * ((at as f32 * 0.7).sin() * (at as f32 * 0.013).cos()))
                .collect(),
        }
    }

    #[test]
    fn lower_quality_changes_more_and_the_best_almost_nothing() {
        let picture = textured();
        let error = |quality| {
            let found = compress(&picture, quality).unwrap();
            assert_eq!((found.width, found.height), (40, 24));
            let pairs = found.values.iter().zip(&picture.values);
            pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / picture.values.len() as f32
        };
        let errors = [100, 95, 60, 10].map(error);
        assert!(errors.is_sorted() && errors[0] > 0.0, "{errors:?}");
        assert!(
            errors[0].sqrt() < 2.0 / 255.0 && errors[3] > 10.0 * errors[1],
            "{errors:?}"
        );
    }

    #[test]
    fn channels_and_places_stay_where_they_are() {
        let mut picture = textured().map(|_| 0.0);
        // The left half is red, the lower half blue.
        for at in 0..960 {
            picture.values[at] = f32::from(u8::from(at % 40 < 20));
            picture.values[2 * 960 + at] = f32::from(u8::from(at / 40 >= 12));
        }
        let found = compress(&picture, 100).unwrap();
        let worst = found
            .values
            .iter()
            .zip(&picture.values)
            .map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f32::max) < 0.05);
    }
}
