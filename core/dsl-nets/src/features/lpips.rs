//! Learned perceptual distances between two pictures: LPIPS (Zhang et al. 2018, version 0.1) on AlexNet and VGG-16, and its
//! shift-tolerant form ST-LPIPS (Ghildyal and Liu 2022) on AlexNet.
//!
//! The distances are of different scales and are not comparable with each other.

mod steps;

use burn::tensor::{Device, Tensor};

use self::steps::Step;
use super::frozen::LayerReader;
use crate::error::NetsError;
use crate::weights::WeightFile;

/// Subtracted from inputs in −1..1, by colour.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
/// What inputs are divided by then.
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Added to the length of a feature vector before dividing by it.
const LENGTH_EPS: f64 = 1e-10;
/// Added to the square of that length: too little to change a number, enough for a gradient where all features are 0.
const SQUARE_EPS: f64 = 1e-30;

/// The network whose features are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LpipsNet {
    /// AlexNet: the authors' choice for measuring.
    Alex,
    /// VGG-16: the authors' choice as a loss, and usual in 3-D.
    Vgg,
    /// AlexNet with blurred sub-sampling: ST-LPIPS.
    ShiftTolerantAlex,
}

impl LpipsNet {
    /// The least height and width of pictures: anything less has no position left in the last layers.
    pub const fn least_side(self) -> usize {
        match self {
            Self::Alex => 31,
            Self::Vgg => 16,
            Self::ShiftTolerantAlex => 21,
        }
    }
}

/// A perceptual distance.
#[derive(Debug)]
pub struct Lpips {
    slices: Vec<Slice>,
}

/// Layers up to one that is compared, and the weights of its channels.
#[derive(Debug)]
struct Slice {
    steps: Vec<Step>,
    /// `[1, channels, 1, 1]`, not negative.
    lin: Tensor<4>,
}

/// Distances between the pictures of two batches, pair by pair.
#[derive(Debug, Clone)]
pub struct LpipsDistance {
    /// The sum over layers. `[batch]`
    pub total: Tensor<1>,
    /// What each layer adds, `[batch]` each.
    pub layers: Vec<Tensor<1>>,
}

impl Lpips {
    /// Reads trunk and heads under the key names of the package `lpips` (or of ST-LPIPS', which are built alike).
    ///
    /// # Errors
    /// [`NetsError::WeightsDoNotFit`], naming every tensor that is missing or of another shape; what reading says.
    pub fn read(net: LpipsNet, file: &WeightFile, device: &Device) -> Result<Self, NetsError> {
        Self::read_narrow(net, file, device, 1)
    }

    /// As [`Lpips::read`], with every width divided by `width_divisor`, a divisor of 16.
    ///
    /// # Errors
    /// As [`Lpips::read`].
    pub fn read_narrow(
        net: LpipsNet,
        file: &WeightFile,
        device: &Device,
        width_divisor: usize,
    ) -> Result<Self, NetsError> {
        let mut reader = LayerReader::new(file, device, width_divisor);
        let slices = (steps::slices(net).into_iter().enumerate())
            .map(|(index, slice)| {
                let prefix = format!("net.slice{}", index + 1);
                let width = reader.width(slice.channels);
                Slice {
                    steps: (slice.steps.iter())
                        .map(|step| step.read(&mut reader, &prefix))
                        .collect(),
                    lin: reader.tensor(&format!("lin{index}.model.1.weight"), [1, width, 1, 1]),
                }
            })
            .collect();
        reader.finish(Self { slices })
    }

    /// # Shapes
    /// - `first`, `second`: `[batch, 3, height, width]` in −1..1, at least [`LpipsNet::least_side`] on each side
    pub fn forward(&self, first: Tensor<4>, second: Tensor<4>) -> LpipsDistance {
        let mut features = [lpips_scaling(first), lpips_scaling(second)];
        let mut layers = Vec::with_capacity(self.slices.len());
        for slice in &self.slices {
            features = features.map(|x| slice.steps.iter().fold(x, |x, step| step.forward(x)));
            let [a, b] = features.clone();
            layers.push(lpips_layer_distance(a, b, slice.lin.clone()));
        }
        let total = layers.iter().cloned().reduce(|sum, layer| sum + layer);
        LpipsDistance {
            total: total.unwrap_or_else(|| Tensor::zeros([0], &features[0].device())),
            layers,
        }
    }
}

/// Pictures in −1..1 as the trunks want them: `(x − shift) / scale`, by colour.
///
/// # Shapes
/// - `x`, result: `[batch, 3, height, width]`
pub fn lpips_scaling(x: Tensor<4>) -> Tensor<4> {
    let device = x.device();
    let colours =
        |values: [f32; 3]| Tensor::<1>::from_floats(values, &device).reshape([1, 3, 1, 1]);
    (x - colours(SHIFT)) / colours(SCALE)
}

/// What one layer adds: `mean_hw Σ_c lin_c (n(a) − n(b))²` with `n(x) = x / (√(Σ_c x²) + 1e-10)`.
///
/// # Shapes
/// - `a`, `b`: `[batch, channels, height, width]`, `lin`: `[1, channels, 1, 1]`; result: `[batch]`
pub fn lpips_layer_distance(a: Tensor<4>, b: Tensor<4>, lin: Tensor<4>) -> Tensor<1> {
    let normalised = |x: Tensor<4>| {
        let length = (x.clone().square().sum_dim(1) + SQUARE_EPS).sqrt();
        x / (length + LENGTH_EPS)
    };
    let difference = (normalised(a) - normalised(b)).square() * lin;
    difference
        .sum_dim(1)
        .flatten::<2>(1, 3)
        .mean_dim(1)
        .squeeze_dim(1)
}
