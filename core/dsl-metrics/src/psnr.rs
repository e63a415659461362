//! Peak signal-to-noise ratio.

use crate::{error::MetricsError, picture::Picture};

/// `10 log10(range² / MSE)` in decibels, with the mean of squares over all pixels and channels; infinite for equal pictures.
///
/// `range` is the width of the range of values: 255 for 8 bits, 1 for 0..1, 2 for −1..1. The usual value of a set is the
/// mean over pictures, see [`MeanPsnr`]; of 8-bit RGB without a border cut off ([`Picture::cropped`]; papers on ×4
/// super-resolution often cut 4, and measure on [`Picture::luma`]).
///
/// # Errors
/// Pictures of different shapes; a range that is not positive.
pub fn psnr(reference: &Picture, other: &Picture, range: f64) -> Result<f64, MetricsError> {
    reference.same_shape(other)?;
    positive(range)?;
    let pairs = reference.values.iter().zip(&other.values);
    let sum: f64 = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
    let mse = sum / reference.values.len() as f64;
    Ok(10.0 * (range * range / mse).log10())
}

pub(crate) fn positive(range: f64) -> Result<(), MetricsError> {
    if range > 0.0 && range.is_finite() {
        return Ok(());
    }
    Err(MetricsError::Setting {
        field: "range",
        found: range,
        reason: "it is the width of the range of values, such as 255",
    })
}

/// The mean of the PSNR of pictures (not the PSNR of the mean of squares). Equal pictures have no finite one: they are left
/// out and counted, so that a report can say so, unless a cap stands for them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MeanPsnr {
    /// Stands for every larger value, such as 100; none leaves infinite ones out.
    pub cap: Option<f64>,
    sum: f64,
    count: u64,
    infinite: u64,
}

impl MeanPsnr {
    /// Of nothing yet.
    pub fn new(cap: Option<f64>) -> Self {
        Self {
            cap,
            ..Self::default()
        }
    }

    /// Takes the PSNR of a picture.
    pub fn add(&mut self, psnr: f64) {
        self.infinite += u64::from(psnr.is_infinite());
        let value = self.cap.map_or(psnr, |cap| psnr.min(cap));
        if value.is_finite() {
            self.sum += value;
            self.count += 1;
        }
    }

    /// The mean; nothing when no picture counts.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// How many pictures were equal to their reference.
    pub fn infinite(&self) -> u64 {
        self.infinite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(values: &[f64]) -> Picture {
        Picture::new(values.to_vec(), [1, values.len() / 3, 3]).unwrap()
    }

    #[test]
    fn one_step_of_256_everywhere_is_48_decibels() {
        let (a, b) = (picture(&[10.0; 6]), picture(&[11.0; 6]));
        let found = psnr(&a, &b, 255.0).unwrap();
        assert!((found - 20.0 * 255f64.log10()).abs() < 1e-12);
        // The unit does not matter as long as the range is in it.
        let (a, b) = (picture(&[-1.0; 6]), picture(&[-1.0 + 2.0 / 255.0; 6]));
        assert!((psnr(&a, &b, 2.0).unwrap() - found).abs() < 1e-9);
    }

    #[test]
    fn a_set_is_the_mean_over_pictures_and_equal_ones_are_counted() {
        let mut mean = MeanPsnr::new(None);
        let mut capped = MeanPsnr::new(Some(100.0));
        assert_eq!(mean.mean(), None);
        for value in [20.0, 30.0, f64::INFINITY] {
            mean.add(value);
            capped.add(value);
        }
        assert_eq!((mean.mean(), mean.infinite()), (Some(25.0), 1));
        assert_eq!((capped.mean(), capped.infinite()), (Some(50.0), 1));
        let same = picture(&[1.0; 3]);
        assert_eq!(psnr(&same, &same, 1.0).unwrap(), f64::INFINITY);
    }

    #[test]
    fn borders_and_luma() {
        let bytes: Vec<u8> = (0..75).collect();
        let picture = Picture::from_rgb8(&bytes, 5, 5).unwrap();
        assert_eq!(picture.cropped(2).unwrap().values, [36.0, 37.0, 38.0]);
        assert!(picture.cropped(3).is_err());
        let white = Picture::from_rgb8(&[255; 3], 1, 1).unwrap();
        assert!((white.luma().unwrap().values[0] - 235.0).abs() < 1e-9);
        assert!(white.luma().unwrap().luma().is_err());
        assert!(psnr(&white, &picture, 255.0).is_err() && psnr(&white, &white, 0.0).is_err());
    }
}
