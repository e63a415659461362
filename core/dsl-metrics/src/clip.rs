//! Scores of CLIP embeddings (Radford et al. 2021; CLIPScore: Hessel et al. 2021). Embeddings of different models are not
//! comparable: a record states which.

use crate::{error::MetricsError, features::Features};

/// Weight of CLIPScore, section 3 of its paper.
const HESSEL_WEIGHT: f64 = 2.5;

/// The cosine of the angle between two vectors, in −1..1.
///
/// # Errors
/// Vectors of different lengths; a vector of length 0.
pub fn cosine(a: &[f64], b: &[f64]) -> Result<f64, MetricsError> {
    if a.len() != b.len() {
        return Err(MetricsError::shape("the second vector", a.len(), b.len()));
    }
    let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 {
        return Ok(dot(a, b) / lengths);
    }
    Err(MetricsError::Setting {
        field: "embedding",
        found: 0.0,
        reason: "a vector of length 0 has no direction",
    })
}

/// The cosine of each picture with its own caption.
///
/// # Errors
/// Sets of different sizes; as [`cosine`].
pub fn cosines(images: &Features, captions: &Features) -> Result<Vec<f64>, MetricsError> {
    if images.count() != captions.count() {
        return Err(MetricsError::shape(
            "captions",
            images.count(),
            captions.count(),
        ));
    }
    let pairs = images.rows().zip(captions.rows());
    pairs
        .map(|(image, caption)| cosine(image, caption))
        .collect()
}

/// The mean cosine of pictures and their captions, unscaled, as papers on diffusion write it (.31 or so).
///
/// # Errors
/// No pairs; as [`cosines`].
pub fn clip_score(images: &Features, captions: &Features) -> Result<f64, MetricsError> {
    mean(&cosines(images, captions)?)
}

/// `max(100 · mean cosine, 0)`, as torchmetrics: clamped after the mean.
///
/// # Errors
/// As [`clip_score`].
pub fn clip_score_percent(images: &Features, captions: &Features) -> Result<f64, MetricsError> {
    Ok((100.0 * clip_score(images, captions)?).max(0.0))
}

/// The mean of `2.5 · max(cosine, 0)`: CLIPScore, clamped pair by pair.
///
/// # Errors
/// As [`clip_score`].
pub fn clip_score_hessel(images: &Features, captions: &Features) -> Result<f64, MetricsError> {
    let scores: Vec<f64> = cosines(images, captions)?
        .into_iter()
        .map(|cosine| HESSEL_WEIGHT * cosine.max(0.0))
        .collect();
    mean(&scores)
}

/// The mean cosine over all pairs of an input and a generated picture: CLIP-I of textual inversion. `same_set` leaves out the
/// pairs of a picture with itself, for a set that is compared with itself.
///
/// # Errors
/// No pairs; as [`cosine`].
pub fn clip_i(
    inputs: &Features,
    generated: &Features,
    same_set: bool,
) -> Result<f64, MetricsError> {
    let mut values = Vec::with_capacity(inputs.count() * generated.count());
    for (i, input) in inputs.rows().enumerate() {
        for (j, picture) in generated.rows().enumerate() {
            if !(same_set && i == j) {
                values.push(cosine(input, picture)?);
            }
        }
    }
    mean(&values)
}

fn mean(values: &[f64]) -> Result<f64, MetricsError> {
    if values.is_empty() {
        return Err(MetricsError::TooFew {
            metric: "a CLIP score",
            of: "pairs",
            least: 1,
            found: 0,
        });
    }
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(rows: &[[f64; 2]]) -> Features {
        Features::new(rows.concat(), 2).unwrap()
    }

    #[test]
    fn the_three_scales_of_the_score() {
        let images = features(&[[3.0, 0.0], [0.0, 2.0], [1.0, 0.0]]);
        let captions = features(&[[1.0, 0.0], [1.0, 1.0], [-5.0, 0.0]]);
        let half = 0.5f64.sqrt();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(clip_score(&images, &captions).unwrap(), half / 3.0);
        close(
            clip_score_percent(&images, &captions).unwrap(),
            100.0 * half / 3.0,
        );
        close(
            clip_score_hessel(&images, &captions).unwrap(),
            2.5 * (1.0 + half) / 3.0,
        );
        let negative = features(&[[-1.0, 0.0]; 3]);
        assert_eq!(clip_score_percent(&images, &negative).unwrap(), 0.0);
    }

    #[test]
    fn all_pairs_but_those_of_a_picture_with_itself() {
        let set = features(&[[1.0, 0.0], [0.0, 1.0]]);
        assert_eq!(clip_i(&set, &set, false).unwrap(), 0.5);
        assert_eq!(clip_i(&set, &set, true).unwrap(), 0.0);
        assert!(clip_i(&features(&[[1.0, 0.0]]), &features(&[[1.0, 0.0]]), true).is_err());
    }

    #[test]
    fn what_has_no_direction_or_no_partner_is_refused() {
        let (zero, two) = (features(&[[0.0, 0.0]]), features(&[[1.0, 0.0], [0.0, 1.0]]));
        assert!(cosines(&zero, &features(&[[1.0, 0.0]])).is_err());
        assert!(cosines(&zero, &two).is_err());
        assert!(cosine(&[1.0], &[1.0, 2.0]).is_err());
    }
}
