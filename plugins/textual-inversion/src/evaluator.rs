//! How much generated pictures show the given thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dsl_sdk::image::{Picture, Window};
use dsl_sdk::metrics::{self, Features, MeanPsnr, clip_i, psnr};
use dsl_sdk::{
    Artefacts, Batch, Direction, ErrorCode, Evaluator, Host, MetricValue, PluginError,
    Requirements, tracing,
};

use crate::config::EvaluationConfig;
use crate::looks::sheet;

/// Pictures of each kind on the sheet that an evaluation leaves.
const MOST_SHOWN: usize = 24;

/// `clip_i`, the mean cosine of CLIP embeddings over all pairs of a given and a generated picture (Gal et al. 2022), where the host
/// has the network; and `psnr_nearest`, the mean over generated pictures of the PSNR against the given picture that is nearest.
#[derive(Debug)]
pub struct ConceptScores {
    requirements: Requirements,
    clip: String,
    host: Host,
    /// Whether it was said that there is no network; shared by all evaluators of a task.
    noted: Arc<AtomicBool>,
    given: Vec<Picture>,
    generated: Vec<Picture>,
}

impl ConceptScores {
    pub(crate) fn new(
        split: &str,
        config: &EvaluationConfig,
        given: Vec<Picture>,
        host: &Host,
        noted: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            requirements: Requirements::Samples {
                split: split.to_owned(),
                count: config.samples,
            },
            clip: config.clip.clone(),
            host: host.clone(),
            noted: Arc::clone(noted),
            given,
            generated: Vec::new(),
        }
    }

    /// Embeddings of pictures of one size.
    fn embeddings(&self, pictures: &[Picture]) -> Result<Features, PluginError> {
        let count = pictures.len() as u64;
        let (width, height) = pictures
            .first()
            .map_or((0, 0), |picture| (picture.width(), picture.height()));
        let mut values = Vec::new();
        for picture in pictures {
            let whole = Window::within(width, height, width, height, 0.5, 0.5);
            picture.append_chw(whole, false, &mut values);
        }
        let shape = [count, 3, u64::from(height), u64::from(width)];
        let rows = self.host.features()?.extract(&self.clip, shape, &values)?;
        Features::from_f32(&rows, rows.len() / pictures.len().max(1))
            .map_err(|error| PluginError::contract(error.to_string()))
    }

    /// Nothing where the host has no such network, which is said once.
    fn clip_i(&self, generated: &[Picture]) -> Result<Option<f64>, PluginError> {
        let both = self
            .embeddings(&self.given)
            .and_then(|given| Ok((given, self.embeddings(generated)?)));
        match both {
            Ok((given, generated)) => clip_i(&given, &generated, false)
                .map(Some)
                .map_err(|error| PluginError::contract(error.to_string())),
            Err(error) if error.code == ErrorCode::Unsupported => {
                if !self.noted.swap(true, Ordering::Relaxed) {
                    tracing::info!("there is no `clip_i`: {error}");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn numbers(picture: &Picture) -> Result<metrics::Picture, PluginError> {
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    metrics::Picture::from_rgb8(picture.rgb(), height, width)
        .map_err(|error| PluginError::contract(error.to_string()))
}

/// The PSNR of each generated picture against the given one that is nearest; equal pictures have no finite one.
fn psnr_nearest(given: &[Picture], generated: &[Picture]) -> Result<Option<f64>, PluginError> {
    let given = given.iter().map(numbers).collect::<Result<Vec<_>, _>>()?;
    let mut mean = MeanPsnr::new(None);
    for picture in generated {
        let picture = numbers(picture)?;
        let mut nearest = f64::NEG_INFINITY;
        for view in &given {
            let value = psnr(view, &picture, 255.0);
            nearest = nearest.max(value.map_err(|error| PluginError::contract(error.to_string()))?);
        }
        mean.add(nearest);
    }
    Ok(mean.mean())
}

impl Evaluator for ConceptScores {
    fn requirements(&self) -> Requirements {
        self.requirements.clone()
    }

    fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
        self.generated.extend(inputs.pictures("generated")?);
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let generated = std::mem::take(&mut self.generated);
        let shown = &generated[..generated.len().min(MOST_SHOWN)];
        let Some(sheet) = sheet(&self.given[..self.given.len().min(MOST_SHOWN)], shown) else {
            return Ok(Vec::new());
        };
        artefacts.add("concept.png", "image/png", sheet.to_png()?);
        let values = [
            ("clip_i", self.clip_i(&generated)?, ""),
            ("psnr_nearest", psnr_nearest(&self.given, &generated)?, "dB"),
        ];
        let metric = |(name, value, unit): (&str, Option<f64>, &str)| {
            Some(MetricValue {
                name: name.into(),
                value: value?,
                direction: Direction::HigherIsBetter,
                unit: unit.into(),
            })
        };
        Ok(values.into_iter().filter_map(metric).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_view_counts() {
        let grey = |byte: u8| Picture::filled(2, 2, [byte; 3]);
        // Off by 1 from the nearest, and by 5: 10 log10(255²) and 10 log10(255² / 25).
        let found = psnr_nearest(&[grey(10), grey(100)], &[grey(11), grey(95)]).unwrap();
        let expected = (48.130_803_6 + 34.151_403_5) / 2.0;
        assert!((found.unwrap() - expected).abs() < 1e-6, "{found:?}");
        assert_eq!(psnr_nearest(&[grey(1)], &[grey(1)]).unwrap(), None);
    }
}
