//! The numbers of the second-order degradation.

use dsl_sdk::PluginError;
use dsl_sdk::schemars::JsonSchema;
use dsl_sdk::serde::{Deserialize, Serialize};

/// Blur, resizing, noise and compression, twice, as Real-ESRGAN has them (Wang et al. 2021), with the softer numbers that
/// StableSR trains with. All are drawn anew for each sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct RealEsrganConfig {
    /// Unsharp masking of the target, before it is degraded; `null` leaves it as it is.
    pub sharpen: Option<SharpenConfig>,
    /// Probability that a sample is only made smaller.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub clean_probability: f64,
    /// The first time.
    pub first: FirstStage,
    /// The second time.
    pub second: SecondStage,
    /// Probability that a sinc filter ends the second time.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub final_sinc_probability: f64,
    /// Side of that filter, in pixels; odd.
    #[schemars(range(min = 1, max = 101))]
    pub final_sinc_size: u32,
}

impl Default for RealEsrganConfig {
    fn default() -> Self {
        Self {
            sharpen: Some(SharpenConfig::default()),
            clean_probability: 0.01,
            first: FirstStage::default(),
            second: SecondStage::default(),
            final_sinc_probability: 0.8,
            final_sinc_size: 21,
        }
    }
}

/// Unsharp masking: `x + weight (x − blur(x))` where `|x − blur(x)|` is above the threshold, with soft edges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct SharpenConfig {
    /// How much of what the blur takes away is added.
    #[schemars(range(min = 0.0))]
    pub weight: f64,
    /// Side of the Gaussian, in pixels; an even one counts as the next odd one.
    #[schemars(range(min = 1, max = 501))]
    pub radius: u32,
    /// Standard deviation of the Gaussian, in pixels; 0 takes `0.15 side + 0.35`, as OpenCV does.
    #[schemars(range(min = 0.0))]
    pub sigma: f64,
    /// Levels of 255 below which nothing is sharpened.
    #[schemars(range(min = 0.0, max = 255.0))]
    pub threshold: f64,
}

impl Default for SharpenConfig {
    fn default() -> Self {
        Self {
            weight: 0.5,
            radius: 50,
            sigma: 0.0,
            threshold: 10.0,
        }
    }
}

/// Both stages, whose keys are the same, with what the first and what the second has by default. They are types of their own
/// since a schema states one default for each key of a type.
macro_rules! stages {
    ($($(#[$attribute:meta])* $field:ident: $type:ty = $first:expr, $second:expr;)*) => {
        stages!(@one FirstStage, "Blur, resizing, noise, compression: the first time. A range holds the least and the greatest value.",
            $($(#[$attribute])* $field: $type = $first;)*);
        stages!(@one SecondStage, "Blur, resizing, noise, compression: the second time. A range holds the least and the greatest value.",
            $($(#[$attribute])* $field: $type = $second;)*);

        impl From<&SecondStage> for FirstStage {
            fn from(second: &SecondStage) -> Self {
                Self { $($field: second.$field,)* }
            }
        }
    };
    (@one $name:ident, $doc:literal, $($(#[$attribute:meta])* $field:ident: $type:ty = $default:expr;)*) => {
        #[doc = $doc]
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
        #[schemars(crate = "dsl_sdk::schemars")]
        pub struct $name {
            $($(#[$attribute])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

stages! {
    /// Probability of a blur.
    #[schemars(range(min = 0.0, max = 1.0))]
    blur_probability: f64 = 1.0, 0.5;
    /// Sides of blur kernels, in pixels, of which an odd one is drawn.
    kernel_size: [u32; 2] = [7, 21], [7, 11];
    /// Which blurs, by their shares.
    kernels: KernelShares = KernelShares::default(), KernelShares::default();
    /// Probability that a blur is a sinc filter, which rings, in place of these.
    #[schemars(range(min = 0.0, max = 1.0))]
    sinc_probability: f64 = 0.1, 0.1;
    /// Standard deviations of blurs, in pixels.
    sigma: [f64; 2] = [0.2, 1.5], [0.2, 1.0];
    /// Exponents of generalised Gaussians. Where 1 lies inside, half of the draws are below.
    generalized_beta: [f64; 2] = [0.5, 2.0], [0.5, 2.0];
    /// Exponents of plateaus. Where 1 lies inside, half of the draws are below.
    plateau_beta: [f64; 2] = [1.0, 1.5], [1.0, 1.5];
    /// Whether the picture gets larger or smaller or stays, by their shares.
    resize: ResizeShares = ResizeShares { up: 0.2, down: 0.7, keep: 0.1 }, ResizeShares { up: 0.3, down: 0.4, keep: 0.3 };
    /// Factors of resizing: below 1 down to the first, above up to the second. The second time they are of the size of the
    /// low-resolution picture.
    resize_range: [f64; 2] = [0.3, 1.5], [0.6, 1.2];
    /// Probability that noise is Gaussian; otherwise it is Poisson's.
    #[schemars(range(min = 0.0, max = 1.0))]
    gaussian_probability: f64 = 0.5, 0.5;
    /// Standard deviations of Gaussian noise, in levels of 255.
    gaussian_sigma: [f64; 2] = [1.0, 15.0], [1.0, 12.0];
    /// Strengths of Poisson noise.
    poisson_scale: [f64; 2] = [0.05, 2.0], [0.05, 1.0];
    /// Probability that noise is the same in all channels.
    #[schemars(range(min = 0.0, max = 1.0))]
    grey_probability: f64 = 0.4, 0.4;
    /// Qualities of JPEG.
    jpeg_quality: [u8; 2] = [60, 95], [60, 100];
}

/// Shares of the kinds of blur.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct KernelShares {
    /// Gaussian, the same in all directions.
    pub isotropic: f64,
    /// Gaussian with an axis.
    pub anisotropic: f64,
    /// Generalised Gaussian.
    pub generalized_isotropic: f64,
    /// Generalised Gaussian with an axis.
    pub generalized_anisotropic: f64,
    /// Plateau.
    pub plateau_isotropic: f64,
    /// Plateau with an axis.
    pub plateau_anisotropic: f64,
}

impl Default for KernelShares {
    fn default() -> Self {
        Self {
            isotropic: 0.45,
            anisotropic: 0.25,
            generalized_isotropic: 0.12,
            generalized_anisotropic: 0.03,
            plateau_isotropic: 0.12,
            plateau_anisotropic: 0.03,
        }
    }
}

impl KernelShares {
    /// In the order of the fields: Gaussian, generalised, plateau, each without and with an axis.
    pub(super) fn list(&self) -> [f64; 6] {
        [
            self.isotropic,
            self.anisotropic,
            self.generalized_isotropic,
            self.generalized_anisotropic,
            self.plateau_isotropic,
            self.plateau_anisotropic,
        ]
    }
}

/// Shares of the ways of resizing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "dsl_sdk::serde", deny_unknown_fields)]
#[schemars(crate = "dsl_sdk::schemars")]
pub struct ResizeShares {
    /// Larger.
    pub up: f64,
    /// Smaller.
    pub down: f64,
    /// As it is.
    pub keep: f64,
}

impl ResizeShares {
    pub(super) fn list(&self) -> [f64; 3] {
        [self.up, self.down, self.keep]
    }
}

impl RealEsrganConfig {
    /// Checks what the types leave open.
    pub(crate) fn check(&self) -> Result<(), PluginError> {
        probability("clean_probability", self.clean_probability)?;
        probability("final_sinc_probability", self.final_sinc_probability)?;
        let size = self.final_sinc_size;
        if size.is_multiple_of(2) || size > MAX_SIDE {
            return outside(
                "final_sinc_size",
                size,
                &format!("an odd number up to {MAX_SIDE}"),
            );
        }
        if let Some(sharpen) = self.sharpen {
            let least = |value: f64| value.is_finite() && value >= 0.0;
            if !(1..=501).contains(&sharpen.radius) {
                return outside("sharpen.radius", sharpen.radius, "1 to 501 pixels");
            }
            for (key, value) in [
                ("sharpen.weight", sharpen.weight),
                ("sharpen.sigma", sharpen.sigma),
                ("sharpen.threshold", sharpen.threshold),
            ] {
                if !least(value) {
                    return outside(key, value, "a number from 0");
                }
            }
        }
        self.first.check("first")?;
        FirstStage::from(&self.second).check("second")
    }
}

impl FirstStage {
    fn check(&self, stage: &str) -> Result<(), PluginError> {
        let key = |name: &str| format!("{stage}.{name}");
        for (name, value) in [
            ("blur_probability", self.blur_probability),
            ("sinc_probability", self.sinc_probability),
            ("gaussian_probability", self.gaussian_probability),
            ("grey_probability", self.grey_probability),
        ] {
            probability(&key(name), value)?;
        }
        shares(&key("kernels"), &self.kernels.list())?;
        shares(&key("resize"), &self.resize.list())?;
        for (name, range, least) in [
            ("sigma", self.sigma, f64::MIN_POSITIVE),
            ("generalized_beta", self.generalized_beta, f64::MIN_POSITIVE),
            ("plateau_beta", self.plateau_beta, f64::MIN_POSITIVE),
            ("gaussian_sigma", self.gaussian_sigma, 0.0),
            ("poisson_scale", self.poisson_scale, 0.0),
        ] {
            ordered(&key(name), range, [least, f64::MAX])?;
        }
        let [low, high] = self.resize_range;
        ordered(&key("resize_range"), [low, high], [0.01, 4.0])?;
        if !(low <= 1.0 && 1.0 <= high) {
            return outside(
                &key("resize_range"),
                format!("[{low}, {high}]"),
                "a range around 1",
            );
        }
        let quality = self.jpeg_quality.map(f64::from);
        ordered(&key("jpeg_quality"), quality, [1.0, 100.0])?;
        let [small, large] = self.kernel_size;
        ordered(
            &key("kernel_size"),
            [small, large].map(f64::from),
            [1.0, f64::from(MAX_SIDE)],
        )?;
        if small == large && small.is_multiple_of(2) {
            return outside(
                &key("kernel_size"),
                format!("[{small}, {large}]"),
                "a range with an odd number in it",
            );
        }
        Ok(())
    }
}

/// No blur kernel has a longer side, in pixels.
const MAX_SIDE: u32 = 101;

fn outside(key: &str, value: impl std::fmt::Display, range: &str) -> Result<(), PluginError> {
    Err(PluginError::config(format!(
        "`task.realesrgan.{key}` is {value}, expected {range}"
    )))
}

fn probability(key: &str, value: f64) -> Result<(), PluginError> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => outside(key, value, "a probability from 0 to 1"),
    }
}

fn shares(key: &str, shares: &[f64]) -> Result<(), PluginError> {
    let fine = shares
        .iter()
        .all(|share| share.is_finite() && *share >= 0.0);
    match fine && shares.iter().sum::<f64>() > 0.0 {
        true => Ok(()),
        false => outside(
            key,
            format!("{shares:?}"),
            "shares from 0, with a sum above 0",
        ),
    }
}

fn ordered(key: &str, [low, high]: [f64; 2], [least, most]: [f64; 2]) -> Result<(), PluginError> {
    match least <= low && low <= high && high <= most {
        true => Ok(()),
        false => {
            let range = match (least, most) {
                (0.0, f64::MAX) => "from 0".to_owned(),
                (_, f64::MAX) => "above 0".to_owned(),
                _ => format!("from {least} to {most}"),
            };
            let expected = format!("the least and the greatest value, {range}");
            outside(key, format!("[{low}, {high}]"), &expected)
        }
    }
}
