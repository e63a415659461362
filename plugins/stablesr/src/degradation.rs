//! From a picture to its low-resolution version: by a bicubic filter, or by the second-order degradation of Real-ESRGAN.
//!
//! Everything is computed on sRGB values in float32; blurs mirror the picture at its border. Unlike the reference there is no
//! queue in which the pictures of several batches mix their degradations: each sample draws all of its own, and so depends on
//! its index and its seed alone.

use std::f64::consts::PI;

use dsl_sdk::PluginError;
use rand_chacha::ChaCha8Rng;

pub use config::{
    FirstStage, KernelShares, RealEsrganConfig, ResizeShares, SecondStage, SharpenConfig,
};
use kernel::{Kernel, Spread};

use crate::config::Degradation;
use crate::draws::{between, uniform, weighted};
use crate::filter::{Axis, Border, Interpolation};
use crate::raster::Raster;

mod config;
mod jpeg;
mod kernel;
mod noise;
#[cfg(test)]
mod tests;

/// Sides of a target are this many times those of its low-resolution version.
pub(crate) const SCALE: usize = 4;

/// Ways of resizing among which the second-order degradation draws.
const DRAWN: [Interpolation; 3] = [
    Interpolation::Area,
    Interpolation::Bilinear,
    Interpolation::Bicubic,
];

/// A picture brought to another size by a bicubic filter without aliasing, as a file of 8 bits holds it.
pub(crate) fn bicubic(picture: &Raster, width: usize, height: usize) -> Raster {
    resize(picture, width, height, Interpolation::BicubicAntialias).rounded()
}

/// A target and its low-resolution version, whose sides are a quarter as long and whose values are those of a file of 8 bits.
/// The target is `picture`, sharpened where the configuration says so.
pub(crate) fn degrade(
    picture: Raster,
    degradation: Degradation,
    config: &RealEsrganConfig,
    rng: &mut ChaCha8Rng,
) -> Result<(Raster, Raster), PluginError> {
    let (width, height) = (picture.width / SCALE, picture.height / SCALE);
    if degradation == Degradation::Bicubic {
        let low = bicubic(&picture, width, height);
        return Ok((picture, low));
    }
    let target = match &config.sharpen {
        Some(sharpen) => sharpened(&picture, sharpen),
        None => picture,
    };
    let low = if uniform(rng) < config.clean_probability {
        resize(&target, width, height, drawn(rng))
    } else {
        second_order(&target, width, height, config, rng)?
    };
    Ok((target, low.rounded()))
}

fn second_order(
    target: &Raster,
    width: usize,
    height: usize,
    config: &RealEsrganConfig,
    rng: &mut ChaCha8Rng,
) -> Result<Raster, PluginError> {
    let (first, second) = (&config.first, &FirstStage::from(&config.second));
    let mut picture = blurred(target.clone(), first, rng);
    picture = resized(&picture, [target.width, target.height], first, rng);
    picture = noised(picture, first, rng)?;
    picture = compressed(&picture, first, rng)?;

    picture = blurred(picture, second, rng);
    picture = resized(&picture, [width, height], second, rng);
    picture = noised(picture, second, rng)?;
    let sinc = if uniform(rng) < config.final_sinc_probability {
        Some(Kernel::sinc(
            config.final_sinc_size as usize,
            between(rng, [PI / 3.0, PI]),
        ))
    } else {
        None
    };
    let finish = |picture: &Raster, rng: &mut ChaCha8Rng| {
        let small = resize(picture, width, height, drawn(rng));
        let filtered = match &sinc {
            Some(sinc) => sinc.apply(&small),
            None => small,
        };
        filtered.clamped()
    };
    if uniform(rng) < 0.5 {
        let picture = finish(&picture, rng);
        compressed(&picture, second, rng)
    } else {
        let picture = compressed(&picture, second, rng)?;
        Ok(finish(&picture, rng))
    }
}

fn blurred(picture: Raster, stage: &FirstStage, rng: &mut ChaCha8Rng) -> Raster {
    if uniform(rng) >= stage.blur_probability {
        return picture;
    }
    kernel(stage, rng).apply(&picture)
}

/// A blur as the configuration draws it.
fn kernel(stage: &FirstStage, rng: &mut ChaCha8Rng) -> Kernel {
    // The odd numbers of the range.
    let [smallest, largest] = stage.kernel_size;
    let (first, last) = (smallest / 2, largest.saturating_sub(1) / 2);
    let count = f64::from(last - first.min(last) + 1);
    let side = 2 * (first.min(last) as usize + (uniform(rng) * count) as usize) + 1;
    if uniform(rng) < stage.sinc_probability {
        // Small kernels cannot cut off low frequencies.
        let lowest = if side < 13 { PI / 3.0 } else { PI / 5.0 };
        return Kernel::sinc(side, between(rng, [lowest, PI]));
    }
    let kind = weighted(rng, &stage.kernels.list());
    let sigma = [between(rng, stage.sigma), between(rng, stage.sigma)];
    let angle = between(rng, [-PI, PI]);
    let spread = match kind % 2 {
        0 => Spread::isotropic(sigma[0]),
        _ => Spread { sigma, angle },
    };
    match kind / 2 {
        0 => Kernel::gaussian(side, spread, 1.0),
        1 => Kernel::gaussian(side, spread, exponent(stage.generalized_beta, rng)),
        _ => Kernel::plateau(side, spread, exponent(stage.plateau_beta, rng)),
    }
}

/// Half of the draws below 1, half above, where both can be.
fn exponent([low, high]: [f64; 2], rng: &mut ChaCha8Rng) -> f64 {
    let below = uniform(rng) < 0.5;
    let range = match (low < 1.0 && 1.0 < high, below) {
        (true, true) => [low, 1.0],
        (true, false) => [1.0, high],
        (false, _) => [low, high],
    };
    between(rng, range)
}

/// Resizes to `size` times a factor as the configuration draws it.
fn resized(picture: &Raster, size: [usize; 2], stage: &FirstStage, rng: &mut ChaCha8Rng) -> Raster {
    let [low, high] = stage.resize_range;
    let factor = match weighted(rng, &stage.resize.list()) {
        0 => between(rng, [1.0, high]),
        1 => between(rng, [low, 1.0]),
        _ => 1.0,
    };
    let [width, height] = size.map(|side| ((side as f64 * factor) as usize).max(1));
    resize(picture, width, height, drawn(rng))
}

fn noised(
    mut picture: Raster,
    stage: &FirstStage,
    rng: &mut ChaCha8Rng,
) -> Result<Raster, PluginError> {
    let (normal, grey) = (
        uniform(rng) < stage.gaussian_probability,
        uniform(rng) < stage.grey_probability,
    );
    if normal {
        let sigma = between(rng, stage.gaussian_sigma) / 255.0;
        noise::gaussian(&mut picture, sigma, grey, rng);
    } else {
        let scale = between(rng, stage.poisson_scale);
        noise::poisson(&mut picture, scale, grey, rng)?;
    }
    Ok(picture.clamped())
}

fn compressed(
    picture: &Raster,
    stage: &FirstStage,
    rng: &mut ChaCha8Rng,
) -> Result<Raster, PluginError> {
    let quality = between(rng, stage.jpeg_quality.map(f64::from)).round() as u8;
    jpeg::compress(picture, quality)
}

fn drawn(rng: &mut ChaCha8Rng) -> Interpolation {
    DRAWN[weighted(rng, &[1.0; 3])]
}

fn resize(picture: &Raster, width: usize, height: usize, interpolation: Interpolation) -> Raster {
    picture.filtered(
        &Axis::resample(picture.width, width, interpolation),
        &Axis::resample(picture.height, height, interpolation),
    )
}

/// Unsharp masking; where it applies is blurred as well, so that it has no edges.
fn sharpened(picture: &Raster, config: &SharpenConfig) -> Raster {
    let side = config.radius as usize | 1;
    let sigma = match config.sigma {
        0.0 => 0.15 * side as f64 + 0.35,
        sigma => sigma,
    };
    let weights: Vec<f64> = (0..side)
        .map(|at| (at as f64 - (side / 2) as f64) / sigma)
        .map(|x| (-0.5 * x * x).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    let weights: Vec<f32> = weights.iter().map(|weight| (weight / sum) as f32).collect();
    let axis = |length| Axis::correlate(length, &weights, 1, Border::Mirror);
    let (x, y) = (axis(picture.width), axis(picture.height));

    let blurred = picture.filtered(&x, &y);
    let detail = |at: usize| picture.values[at] - blurred.values[at];
    let mut mask = picture.clone();
    for (at, value) in mask.values.iter_mut().enumerate() {
        let applies = f64::from(detail(at).abs()) * 255.0 > config.threshold;
        *value = f32::from(u8::from(applies));
    }
    let mask = mask.filtered(&x, &y);
    let mut sharp = picture.clone();
    for (at, value) in sharp.values.iter_mut().enumerate() {
        let sharper = (*value + config.weight as f32 * detail(at)).clamp(0.0, 1.0);
        *value += mask.values[at] * (sharper - *value);
    }
    sharp
}
