//! Scores of generated views against true ones, beside those of the input view taken for each of them.

use dsl_render::{Sheet, Views};
use dsl_sdk::metrics::{MetricsError, PairScores};
use dsl_sdk::{Artefacts, Direction, MetricValue, PluginError};

use crate::sheet::Block;

/// How many objects the picture of an evaluation shows.
const SHOWN: usize = 4;

/// Means over views, then objects, of PSNR and SSIM of the generated views, and of the input view in place of each; and a
/// picture of the first objects.
///
/// The difference in PSNR says what generating gains over repeating what was given.
#[derive(Debug, Default)]
pub struct ColorScores {
    generated: PairScores,
    input_view: PairScores,
    shown: Vec<Block>,
}

impl ColorScores {
    /// Takes a view: the true one, the generated one, and the input view.
    ///
    /// # Shapes
    /// - each: `shape`, `[3, side, side]`, values in −1..1
    ///
    /// # Errors
    /// Values that are not finite, and views smaller than the window of SSIM.
    pub fn add(
        &mut self,
        truth: &[f32],
        generated: &[f32],
        given: &[f32],
        shape: [usize; 3],
    ) -> Result<(), PluginError> {
        let unfit = |error: MetricsError| {
            PluginError::other(format!("the views cannot be measured: {error}"))
        };
        self.generated.add(truth, generated, shape).map_err(unfit)?;
        self.input_view.add(truth, given, shape).map_err(unfit)
    }

    /// Shows objects, as long as there is room.
    pub fn show(&mut self, blocks: Vec<Block>) {
        let room = SHOWN - self.shown.len();
        self.shown.extend(blocks.into_iter().take(room));
    }

    /// The metrics; the picture is `views.png`. Without a view there is neither.
    pub fn finish(self, artefacts: &mut Artefacts) -> Vec<MetricValue> {
        if !self.shown.is_empty() {
            artefacts.add("views.png", "image/png", Sheet::new(&self.shown).png());
        }
        let (own, given) = (self.generated, self.input_view);
        let gain = own.psnr().zip(given.psnr()).map(|(own, given)| own - given);
        let higher = Direction::HigherIsBetter;
        let metrics = [
            metric("psnr", own.psnr(), higher, "dB"),
            metric("ssim", own.ssim(), higher, ""),
            metric("psnr/input_view", given.psnr(), higher, "dB"),
            metric("ssim/input_view", given.ssim(), higher, ""),
            metric("psnr_gain", gain, higher, "dB"),
        ];
        metrics.into_iter().flatten().collect()
    }
}

/// A metric, where there is a value.
pub fn metric(
    name: &str,
    value: Option<f64>,
    direction: Direction,
    unit: &str,
) -> Option<MetricValue> {
    value.map(|value| MetricValue {
        name: name.into(),
        value,
        direction,
        unit: unit.into(),
    })
}

/// Whether columns hold as many objects, in one size.
pub fn alike(one: &Views<'_>, other: &Views<'_>) -> bool {
    (one.objects, one.side) == (other.objects, other.side)
}

#[cfg(test)]
mod tests {
    use dsl_render::Pixels;

    use super::*;

    const SHAPE: [usize; 3] = [3, 16, 16];

    #[test]
    fn scores_are_those_of_known_differences() {
        let mut scores = ColorScores::default();
        let [truth, near, far] = [0.0, 0.2, 0.5].map(|value| vec![value; 3 * 16 * 16]);
        scores.add(&truth, &near, &far, SHAPE).unwrap();
        let mut artefacts = Artefacts::default();
        let metrics = scores.finish(&mut artefacts);
        assert!(artefacts.get("views.png").is_none());
        let value = |name: &str| {
            let found = metrics.iter().find(|metric| metric.name == name);
            found.unwrap().value
        };
        // Errors of 0.2 and 0.5 in a range of 2.
        assert!((value("psnr") - 20.0).abs() < 1e-5);
        assert!((value("psnr/input_view") - 40.0 * 2_f64.log10()).abs() < 1e-5);
        let gain = value("psnr") - value("psnr/input_view");
        assert_eq!(value("psnr_gain"), gain);
        assert!(value("ssim") > value("ssim/input_view"));
        let mut scores = ColorScores::default();
        let error = scores
            .add(&truth, &[f32::NAN; 768], &far, SHAPE)
            .unwrap_err();
        assert!(error.message.contains("cannot be measured"), "{error}");
    }

    #[test]
    fn a_picture_shows_the_first_objects() {
        let mut scores = ColorScores::default();
        let block = || vec![vec![Some(Pixels::new(2, vec![[0.5; 3]; 4]))]];
        for _ in 0..3 {
            scores.show(vec![block(), block()]);
        }
        assert_eq!(scores.shown.len(), SHOWN);
        let mut artefacts = Artefacts::default();
        assert!(scores.finish(&mut artefacts).is_empty());
        let png = image::load_from_memory(artefacts.get("views.png").unwrap()).unwrap();
        assert_eq!((png.width(), png.height()), (66 + 2, 4 * 66 + 2 + 3 * 10));
    }
}
