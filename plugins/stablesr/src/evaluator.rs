//! Fidelity: generated pictures against the truth, beside the bicubic filter as the baseline.

use dsl_sdk::metrics::{MeanPsnr, MetricsError, Picture, SsimVariant, psnr, ssim};
use dsl_sdk::{
    Artefacts, Batch, Direction, Evaluator, Host, MetricValue, PluginError, Requirements, image,
    tracing,
};

use crate::config::ColorFix;
use crate::picture::side_by_side;
use crate::raster::CHANNELS;
use crate::samples::Samples;

/// Samples in the picture that an evaluation leaves.
const SHOWN: usize = 12;
/// The distance that papers on super-resolution report, and the fewest pixels a side that it takes.
const LPIPS: &str = "lpips/alex";
const LPIPS_SIDE: usize = 31;

/// PSNR and SSIM (`skimage_gauss`) over RGB of 8 bits, whole pictures, mean over pictures; LPIPS where the host has it. Colours
/// of generated pictures are corrected first.
#[derive(Debug)]
pub struct Fidelity {
    requirements: Requirements,
    color_fix: ColorFix,
    /// For LPIPS.
    host: Option<Host>,
    generated: Scores,
    bicubic: Scores,
    /// PNG of the first samples.
    shown: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Scores {
    psnr: MeanPsnr,
    ssim: Mean,
    lpips: Mean,
}

#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

impl Fidelity {
    /// `host` is asked for LPIPS; none leaves it out.
    pub(crate) fn new(requirements: Requirements, color_fix: ColorFix, host: Option<Host>) -> Self {
        Self {
            requirements,
            color_fix,
            host: host.filter(has_lpips),
            generated: Scores::default(),
            bicubic: Scores::default(),
            shown: None,
        }
    }
}

fn has_lpips(host: &Host) -> bool {
    let known = host.features().and_then(|features| features.describe());
    let found = known.is_ok_and(|all| all.iter().any(|info| info.id == LPIPS && info.available));
    if !found {
        tracing::debug!("the host cannot compute {LPIPS}: it is left out");
    }
    found
}

/// A `[3, height, width]` picture in −1..1 as the metrics read it: rounded to 8 bits, channels last.
fn rounded(values: &[f32], [width, height]: [usize; 2]) -> Result<Picture, PluginError> {
    let rounded = image::Picture::from_chw(width as u32, height as u32, values)
        .ok_or_else(|| PluginError::contract(format!("{} values of a picture", values.len())))?;
    Picture::from_rgb8(rounded.rgb(), height, width).map_err(cannot)
}

fn cannot(error: MetricsError) -> PluginError {
    PluginError::other(format!("cannot compare pictures: {error}"))
}

impl Scores {
    fn add(&mut self, truth: &Picture, found: &Picture) -> Result<(), PluginError> {
        self.psnr.add(psnr(truth, found, 255.0).map_err(cannot)?);
        let variant = SsimVariant::SkimageGauss;
        self.ssim
            .add(ssim(truth, found, 255.0, variant).map_err(cannot)?);
        Ok(())
    }
}

impl Evaluator for Fidelity {
    fn requirements(&self) -> Requirements {
        self.requirements.clone()
    }

    fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
        let samples = Samples::of(inputs, self.color_fix)?;
        let size = samples.size();
        let [width, height] = size;
        let truth = samples
            .truth
            .ok_or_else(|| PluginError::contract("a batch of samples without the truth"))?;
        if samples.count() == 0 {
            return Ok(());
        }
        let mut corrected = Vec::with_capacity(samples.count() * CHANNELS * width * height);
        let mut broken = 0;
        for index in 0..samples.count() {
            let generated = samples.generated(index)?;
            broken += u64::from(!generated.iter().all(|value| value.is_finite()));
            let exact = rounded(truth.get(index), size)?;
            self.generated.add(&exact, &rounded(&generated, size)?)?;
            self.bicubic
                .add(&exact, &rounded(samples.low.get(index), size)?)?;
            // Networks read what is inside the range.
            corrected.extend(generated.iter().map(|value| value.clamp(-1.0, 1.0)));
        }
        if broken > 0 {
            tracing::warn!(
                "{broken} of {} generated pictures have values that are no numbers: they count as black",
                samples.count()
            );
        }
        if let Some(host) = self
            .host
            .as_ref()
            .filter(|_| width.min(height) >= LPIPS_SIDE && broken == 0)
        {
            let shape = [samples.count() as u64, 3, height as u64, width as u64];
            let (_, truth) = inputs.f32(crate::dataset::IMAGE)?;
            let (_, low) = inputs.f32(crate::dataset::LOW)?;
            let features = host.features()?;
            for (scores, found) in [
                (&mut self.generated, corrected.as_slice()),
                (&mut self.bicubic, low),
            ] {
                for distance in features.distance(LPIPS, shape, found, truth)? {
                    scores.lpips.add(f64::from(distance));
                }
            }
        }
        if self.shown.is_none() {
            self.shown = Some(side_by_side(&samples, SHOWN)?.to_png()?);
        }
        Ok(())
    }

    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
        let generated = std::mem::take(&mut self.generated);
        let bicubic = std::mem::take(&mut self.bicubic);
        if let Some(bytes) = self.shown.take() {
            artefacts.add("samples.png", "image/png", bytes);
        }
        let equal = generated.psnr.infinite() + bicubic.psnr.infinite();
        if equal > 0 {
            tracing::warn!(
                "{equal} pictures are equal to the truth: they have no finite PSNR and are left out of its mean"
            );
        }
        let gain = match (generated.psnr.mean(), bicubic.psnr.mean()) {
            (Some(generated), Some(bicubic)) => Some(generated - bicubic),
            _ => None,
        };
        use Direction::{HigherIsBetter, LowerIsBetter};
        Ok([
            ("psnr", generated.psnr.mean(), HigherIsBetter, "dB"),
            ("psnr/bicubic", bicubic.psnr.mean(), HigherIsBetter, "dB"),
            ("psnr_gain", gain, HigherIsBetter, "dB"),
            ("ssim", generated.ssim.mean(), HigherIsBetter, ""),
            ("ssim/bicubic", bicubic.ssim.mean(), HigherIsBetter, ""),
            ("lpips", generated.lpips.mean(), LowerIsBetter, ""),
            ("lpips/bicubic", bicubic.lpips.mean(), LowerIsBetter, ""),
        ]
        .into_iter()
        .filter_map(|(name, value, direction, unit)| {
            Some(MetricValue {
                name: name.to_owned(),
                value: value?,
                direction,
                unit: unit.to_owned(),
            })
        })
        .collect())
    }
}
