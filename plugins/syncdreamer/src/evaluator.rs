//! Scores of generated views against true ones, beside those of the input view taken for each of them.

use dsl_render::{Pixels, Sheet, Views};
use dsl_sdk::metrics::{MetricsError, PairScores};
use dsl_sdk::{Artefacts, Batch, Direction, Evaluator, MetricValue, PluginError, Requirements};

use crate::dataset::{INPUT_VIEW, VIEWS};
use crate::sheet::{GENERATED, blocks, views};

/// How many objects the picture of an evaluation shows.
const SHOWN: usize = 4;

/// Means over views, then objects, of PSNR and SSIM, on white; of the generated views, and of the input view in place of each.
///
/// The difference in PSNR says what generating gains over repeating what was given.
#[derive(Debug)]
pub struct ViewScores {
    requirements: Requirements,
    generated: PairScores,
    input_view: PairScores,
    shown: Vec<Vec<Vec<Option<Pixels>>>>,
}

impl ViewScores {
    pub(crate) fn new(requirements: Requirements) -> Self {
        Self {
            requirements,
            generated: PairScores::default(),
            input_view: PairScores::default(),
            shown: Vec::new(),
        }
    }
}

impl Evaluator for ViewScores {
    fn requirements(&self) -> Requirements {
        self.requirements.clone()
    }

    fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
        let (truth, generated) = (views(inputs, VIEWS)?, views(inputs, GENERATED)?);
        let given = views(inputs, INPUT_VIEW)?;
        let fits = |other: &Views<'_>| (other.objects, other.side) == (truth.objects, truth.side);
        if !fits(&generated) || !fits(&given) || generated.views != truth.views {
            let message = format!("`{GENERATED}` and `{INPUT_VIEW}` do not fit `{VIEWS}`");
            return Err(PluginError::contract(message));
        }
        let shape = truth.shape();
        for object in 0..truth.objects {
            let given = given.values(object, 0);
            for view in 0..truth.views {
                let (truth, own) = (truth.values(object, view), generated.values(object, view));
                self.generated.add(truth, own, shape).map_err(unfit)?;
                self.input_view.add(truth, given, shape).map_err(unfit)?;
            }
        }
        let room = SHOWN - self.shown.len();
        self.shown.extend(blocks(inputs)?.into_iter().take(room));
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let done = std::mem::replace(self, Self::new(self.requirements.clone()));
        if !done.shown.is_empty() {
            artefacts.add("views.png", "image/png", Sheet::new(&done.shown).png());
        }
        let metric = |name: &str, value: Option<f64>, unit: &str| {
            value.map(|value| MetricValue {
                name: name.into(),
                value,
                direction: Direction::HigherIsBetter,
                unit: unit.into(),
            })
        };
        let (own, given) = (done.generated, done.input_view);
        let gain = own.psnr().zip(given.psnr()).map(|(own, given)| own - given);
        let metrics = [
            metric("psnr", own.psnr(), "dB"),
            metric("ssim", own.ssim(), ""),
            metric("psnr/input_view", given.psnr(), "dB"),
            metric("ssim/input_view", given.ssim(), ""),
            metric("psnr_gain", gain, "dB"),
        ];
        Ok(metrics.into_iter().flatten().collect())
    }
}

fn unfit(error: MetricsError) -> PluginError {
    PluginError::other(format!("the views cannot be measured: {error}"))
}
