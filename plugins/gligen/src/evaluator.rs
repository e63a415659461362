//! How close generated pictures are to the true ones of the same layout, and whether something is where the boxes are.

use dsl_sdk::image::Picture;
use dsl_sdk::metrics::{self, MeanPsnr, SsimVariant, psnr, ssim};
use dsl_sdk::{Artefacts, Batch, Direction, Evaluator, MetricValue, PluginError, Requirements};

use crate::dataset::IMAGE;
use crate::drawing::{boxes_of, sheet, with_boxes};

/// Samples on the sheet that an evaluation leaves.
const MOST_SHOWN: usize = 16;

/// PSNR and SSIM against the truth, and the contrast of boxes: mean luminance inside the boxes of a picture less that outside of
/// them, in the generated picture and in the true one. `box_contrast` is Pearson's correlation of the two over the samples: 1 when
/// boxes are filled as in the truth, about 0 when the layout is not followed. It needs no other network, and says nothing of what
/// is in a box.
#[derive(Debug)]
pub struct LayoutScores {
    requirements: Requirements,
    psnr: MeanPsnr,
    ssims: Vec<f64>,
    /// Generated and true contrast of the samples that have an inside and an outside.
    contrasts: Vec<[f64; 2]>,
    tiles: Vec<Vec<Picture>>,
}

impl LayoutScores {
    pub(crate) fn new(split: &str, count: u64) -> Self {
        Self {
            requirements: Requirements::Samples {
                split: split.to_owned(),
                count,
            },
            psnr: MeanPsnr::new(None),
            ssims: Vec::new(),
            contrasts: Vec::new(),
            tiles: Vec::new(),
        }
    }
}

/// Mean luminance (0.299 R + 0.587 G + 0.114 B, 0..1) of the pixels whose middle lies in a box, less that of the others; nothing
/// when one of the two is empty.
fn contrast(picture: &Picture, boxes: &[([f32; 4], &str)]) -> Option<f64> {
    let (width, height) = (picture.width() as usize, picture.height() as f32);
    let (mut sums, mut counts) = ([0.0; 2], [0_u32; 2]);
    for (index, pixel) in picture.rgb().chunks_exact(3).enumerate() {
        let x = ((index % width) as f32 + 0.5) / width as f32;
        let y = ((index / width) as f32 + 0.5) / height;
        let is_inside = boxes.iter().any(|([left, top, right, bottom], _)| {
            (*left..*right).contains(&x) && (*top..*bottom).contains(&y)
        });
        let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(f64::from);
        sums[usize::from(is_inside)] += (0.299 * red + 0.587 * green + 0.114 * blue) / 255.0;
        counts[usize::from(is_inside)] += 1;
    }
    let mean = |part: usize| sums[part] / f64::from(counts[part]);
    (counts[0] > 0 && counts[1] > 0).then(|| mean(1) - mean(0))
}

/// Pearson's correlation; nothing for fewer than two pairs, or where one side does not vary.
fn correlation(pairs: &[[f64; 2]]) -> Option<f64> {
    let count = pairs.len() as f64;
    let means = [0, 1].map(|side: usize| pairs.iter().map(|pair| pair[side]).sum::<f64>() / count);
    let moment = |a: usize, b: usize| -> f64 {
        let products = pairs
            .iter()
            .map(|pair| (pair[a] - means[a]) * (pair[b] - means[b]));
        products.sum()
    };
    let scale = (moment(0, 0) * moment(1, 1)).sqrt();
    (pairs.len() > 1 && scale > 1e-12).then(|| (moment(0, 1) / scale).clamp(-1.0, 1.0))
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

impl Evaluator for LayoutScores {
    fn requirements(&self) -> Requirements {
        self.requirements.clone()
    }

    fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
        let generated = inputs.pictures("generated")?;
        let truth = inputs.pictures(IMAGE)?;
        if generated.len() != truth.len() {
            return Err(PluginError::contract(format!(
                "{} generated pictures, but {} true ones",
                generated.len(),
                truth.len()
            )));
        }
        let boxes = boxes_of(inputs, generated.len())?;
        for ((generated, truth), boxes) in generated.iter().zip(&truth).zip(&boxes) {
            let measured = [generated, truth].map(|picture| {
                let (height, width) = (picture.height() as usize, picture.width() as usize);
                metrics::Picture::from_rgb8(picture.rgb(), height, width)
            });
            let [Ok(first), Ok(second)] = measured else {
                return Err(PluginError::contract("a picture without pixels"));
            };
            let value = psnr(&second, &first, 255.0);
            self.psnr
                .add(value.map_err(|error| PluginError::contract(error.to_string()))?);
            // Pictures smaller than the window have none.
            self.ssims
                .extend(ssim(&second, &first, 255.0, SsimVariant::default()));
            let contrasts = [contrast(generated, boxes), contrast(truth, boxes)];
            if let [Some(generated), Some(truth)] = contrasts {
                self.contrasts.push([generated, truth]);
            }
            if self.tiles.len() < MOST_SHOWN {
                self.tiles
                    .push(vec![with_boxes(generated, boxes), with_boxes(truth, boxes)]);
            }
        }
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let Requirements::Samples { split, count } = &self.requirements else {
            return Err(PluginError::contract("the evaluator wants samples"));
        };
        let done = std::mem::replace(self, Self::new(split, *count));
        if let Some(sheet) = sheet(done.tiles) {
            artefacts.add("layouts.png", "image/png", sheet.to_png()?);
        }
        let contrasts = &done.contrasts;
        let error = mean(contrasts.iter().map(|[a, b]| (a - b).abs()));
        let values = [
            ("psnr", done.psnr.mean(), Direction::HigherIsBetter, "dB"),
            (
                "ssim",
                mean(done.ssims.iter().copied()),
                Direction::HigherIsBetter,
                "",
            ),
            (
                "box_contrast",
                correlation(contrasts),
                Direction::HigherIsBetter,
                "",
            ),
            ("box_contrast_error", error, Direction::LowerIsBetter, ""),
        ];
        let metric = |(name, value, direction, unit): (&str, Option<f64>, Direction, &str)| {
            Some(MetricValue {
                name: name.into(),
                value: value?,
                direction,
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
    fn correlation_by_hand() {
        assert_eq!(
            correlation(&[[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]),
            Some(1.0)
        );
        assert_eq!(correlation(&[[1.0, 6.0], [3.0, 2.0]]), Some(-1.0));
        // Deviations (−1, 0, 1) and (−1, 2, −1)·1: product 0.
        assert_eq!(
            correlation(&[[0.0, 0.0], [1.0, 3.0], [2.0, 0.0]]),
            Some(0.0)
        );
        assert_eq!(correlation(&[[1.0, 2.0]]), None);
        assert_eq!(correlation(&[[1.0, 2.0], [1.0, 3.0]]), None);
    }

    #[test]
    fn contrast_by_hand() {
        // White on the left, black on the right.
        let picture = Picture::from_rgb(2, 1, vec![255, 255, 255, 0, 0, 0]).unwrap();
        let left = [0.0, 0.0, 0.5, 1.0];
        let found = contrast(&picture, &[(left, "a")]).unwrap();
        assert!((found - 1.0).abs() < 1e-12);
        let right = [0.5, 0.0, 1.0, 1.0];
        assert!((contrast(&picture, &[(right, "a")]).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(contrast(&picture, &[]), None);
        assert_eq!(contrast(&picture, &[(left, "a"), (right, "b")]), None);
    }
}
