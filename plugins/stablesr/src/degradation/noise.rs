//! Sensor noise: the same for all three channels (grey), or for each its own (colour).

use dsl_sdk::PluginError;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Poisson, StandardNormal};

use crate::raster::{CHANNELS, Raster, byte};

/// Adds normal noise of standard deviation `sigma`, in 0..1.
pub(super) fn gaussian(picture: &mut Raster, sigma: f64, grey: bool, rng: &mut ChaCha8Rng) {
    let pixels = picture.pixels();
    let mut draw = || {
        let normal: f64 = StandardNormal.sample(rng);
        (sigma * normal) as f32
    };
    let drawn = if grey { pixels } else { CHANNELS * pixels };
    let noise: Vec<f32> = (0..drawn).map(|_| draw()).collect();
    add(picture, &noise);
}

/// Adds photon noise, `scale` times as strong as that of a sensor that counts as many photons at white as the picture has
/// levels, rounded up to a power of two: `scale * (Poisson(x n) / n − x)`. Real-ESRGAN's rule, which keeps the strength of
/// the noise about the same for pictures of few and of many colours.
pub(super) fn poisson(
    picture: &mut Raster,
    scale: f64,
    grey: bool,
    rng: &mut ChaCha8Rng,
) -> Result<(), PluginError> {
    let clean: Vec<u8> = match grey {
        true => luma(picture).into_iter().map(byte).collect(),
        false => picture.values.iter().copied().map(byte).collect(),
    };
    let photons = f64::from(levels(&clean).next_power_of_two());
    let mut noise = Vec::with_capacity(clean.len());
    for &level in &clean {
        let value = f64::from(level) / 255.0;
        // A Poisson distribution of mean 0 is always 0, and the sampler knows none.
        let counted = match level {
            0 => 0.0,
            _ => Poisson::new(value * photons)
                .map_err(|error| PluginError::other(format!("Poisson noise: {error}")))?
                .sample(rng),
        };
        noise.push((scale * (counted / photons - value)) as f32);
    }
    add(picture, &noise);
    Ok(())
}

/// Adds noise of one plane to every channel, or of three to each its own.
fn add(picture: &mut Raster, noise: &[f32]) {
    for (value, noise) in picture.values.iter_mut().zip(noise.iter().cycle()) {
        *value += noise;
    }
}

/// BT.601, in 0..1.
fn luma(picture: &Raster) -> Vec<f32> {
    let n = picture.pixels();
    let v = &picture.values;
    (0..n)
        .map(|at| 0.299 * v[at] + 0.587 * v[at + n] + 0.114 * v[at + 2 * n])
        .collect()
}

/// How many of the 256 levels occur.
fn levels(values: &[u8]) -> u32 {
    let mut seen = [false; 256];
    for &value in values {
        seen[usize::from(value)] = true;
    }
    seen.iter().map(|&seen| u32::from(seen)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draws::rng;

    const SIDE: usize = 100;

    fn flat(value: f32) -> Raster {
        Raster {
            width: SIDE,
            height: SIDE,
            values: vec![value; CHANNELS * SIDE * SIDE],
        }
    }

    /// Mean and variance of the values over a constant.
    fn statistics(values: &[f32], base: f64) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values
            .iter()
            .map(|&value| f64::from(value) - base)
            .sum::<f64>()
            / n;
        let square = |value: &f32| (f64::from(*value) - base - mean).powi(2);
        (mean, values.iter().map(square).sum::<f64>() / n)
    }

    /// The variance of `n` draws lies within 4.5 standard errors of `expected`, and their mean within 4.5 of 0.
    fn check(values: &[f32], base: f64, expected: f64) {
        let n = values.len() as f64;
        let (mean, variance) = statistics(values, base);
        // Both distributions are close enough to normal for the error of the variance.
        assert!(
            (variance / expected - 1.0).abs() < 4.5 * (2.0 / n).sqrt() * 1.2,
            "{variance} {expected}"
        );
        assert!(mean.abs() < 4.5 * (expected / n).sqrt(), "{mean}");
    }

    #[test]
    fn gaussian_noise_has_the_variance_it_is_asked_for() {
        for sigma in [1.0 / 255.0, 15.0 / 255.0] {
            let mut picture = flat(0.5);
            gaussian(&mut picture, sigma, false, &mut rng(1, 0));
            check(&picture.values, 0.5, sigma * sigma);
        }
    }

    #[test]
    fn poisson_noise_has_the_variance_of_its_mean() {
        // Two levels, so two photons at white; the white corner is left out of the statistics.
        for (level, scale) in [(51, 1.0), (204, 1.0), (51, 2.0)] {
            let value = level as f32 / 255.0;
            let mut picture = flat(value);
            picture.values[CHANNELS * SIDE * SIDE - 1] = 1.0;
            poisson(&mut picture, scale, false, &mut rng(2, level)).unwrap();
            let values = &picture.values[..CHANNELS * SIDE * SIDE - 1];
            let (mean, variance) = statistics(values, f64::from(value));
            let expected = scale * scale * f64::from(value) / 2.0;
            assert!(
                (variance / expected - 1.0).abs() < 0.05,
                "{variance} {expected}"
            );
            assert!(mean.abs() < 4.5 * (expected / values.len() as f64).sqrt());
        }
    }

    #[test]
    fn black_has_no_photons() {
        let mut picture = flat(0.0);
        poisson(&mut picture, 2.0, false, &mut rng(3, 0)).unwrap();
        assert_eq!(picture, flat(0.0));
    }

    #[test]
    fn grey_noise_is_the_same_in_all_channels_and_coloured_is_not() {
        for grey in [true, false] {
            let (mut normal, mut photons) = (flat(0.5), flat(0.5));
            gaussian(&mut normal, 0.1, grey, &mut rng(4, 0));
            poisson(&mut photons, 1.0, grey, &mut rng(4, 0)).unwrap();
            for picture in [normal, photons] {
                let planes: Vec<&[f32]> = picture.values.chunks_exact(SIDE * SIDE).collect();
                assert_eq!(planes[0] == planes[1] && planes[1] == planes[2], grey);
                assert!(planes[0].iter().any(|value| *value != 0.5));
            }
        }
    }
}
