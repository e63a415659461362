//! Scores of pictures that each have a true one beside them.

use crate::{MeanPsnr, MetricsError, Picture, SsimVariant, psnr, ssim};

/// PSNR stands for at most this many decibels: a picture that equals its truth has no finite one.
const MOST_DECIBELS: f64 = 100.0;

/// Means of PSNR and SSIM over pairs of pictures with values in −1..1.
///
/// PSNR is at most 100 dB a picture. SSIM is torchmetrics' with the range said ([`SsimVariant::Torchmetrics`]).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairScores {
    psnr: MeanPsnr,
    ssim: f64,
    count: u64,
}

impl Default for PairScores {
    fn default() -> Self {
        Self {
            psnr: MeanPsnr::new(Some(MOST_DECIBELS)),
            ssim: 0.0,
            count: 0,
        }
    }
}

impl PairScores {
    /// Takes two pictures of shape `[channels, height, width]`; values are clamped to −1..1 first.
    ///
    /// # Errors
    /// Values that do not fill the shape, or are not finite; pictures smaller than the window of SSIM, 11 × 11.
    pub fn add(
        &mut self,
        truth: &[f32],
        other: &[f32],
        shape: [usize; 3],
    ) -> Result<(), MetricsError> {
        let (truth, other) = (picture(truth, shape)?, picture(other, shape)?);
        let (range, variant) = (2.0, SsimVariant::Torchmetrics);
        let ssim = ssim(&truth, &other, range, variant)?;
        self.psnr.add(psnr(&truth, &other, range)?);
        self.ssim += ssim;
        self.count += 1;
        Ok(())
    }

    /// Mean PSNR in decibels; nothing without a pair.
    pub fn psnr(&self) -> Option<f64> {
        self.psnr.mean()
    }

    /// Mean SSIM; nothing without a pair.
    pub fn ssim(&self) -> Option<f64> {
        (self.count > 0).then(|| self.ssim / self.count as f64)
    }
}

fn picture(values: &[f32], [channels, height, width]: [usize; 3]) -> Result<Picture, MetricsError> {
    let plane = height * width;
    if values.len() != channels * plane {
        let expected = format!("{channels} × {height} × {width} values");
        return Err(MetricsError::shape("picture", expected, values.len()));
    }
    let pixels = (0..plane).flat_map(|pixel| {
        (0..channels)
            .map(move |channel| f64::from(values[channel * plane + pixel]).clamp(-1.0, 1.0))
    });
    Picture::new(pixels.collect(), [height, width, channels])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_pairs() {
        let mut scores = PairScores::default();
        assert_eq!((scores.psnr(), scores.ssim()), (None, None));
        let shape = [3, 12, 12];
        let plain = |value: f32| vec![value; 3 * 12 * 12];
        // Beyond the range counts as its end: equal pictures, 100 dB.
        scores.add(&plain(1.0), &plain(1.5), shape).unwrap();
        assert_eq!((scores.psnr(), scores.ssim()), (Some(100.0), Some(1.0)));
        // A difference of a tenth of the range everywhere: 20 dB.
        scores.add(&plain(0.0), &plain(0.2), shape).unwrap();
        assert!((scores.psnr().unwrap() - 60.0).abs() < 1e-5);
        assert!(scores.ssim().unwrap() < 1.0);
        assert!(scores.add(&plain(0.0), &[0.0], shape).is_err());
        assert!(scores.add(&plain(0.0), &plain(f32::NAN), shape).is_err());
    }
}
