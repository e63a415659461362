//! Inception-v3 as the Fréchet inception distance uses it (Heusel et al. 2017).
//!
//! The network of the TensorFlow graph of 2015-12-05, under torchvision's key names, as pytorch-fid published it. It is not
//! torchvision's network: mean pools count only what is inside the picture, the last block has a maximum there, and there
//! are 1008 classes.

use burn::tensor::{Device, Tensor};

use super::frozen::{ConvSpec, FrozenConv, LayerReader};
use super::inception_blocks::{
    InceptionA, InceptionB, InceptionC, InceptionD, InceptionE, Pool, basic_conv, halving_pool,
};
use super::picture_batch::{PictureBatch, to_8_bit};
use super::resize::ResizeMode;
use crate::error::NetsError;
use crate::weights::WeightFile;

/// Height and width of the network's input.
const SIDE: usize = 299;
const CLASSES: usize = 1008;
/// Channels of the spatial features, as in ADM's evaluation of sFID.
const SPATIAL_CHANNELS: usize = 7;

/// Inception-v3 in the form of FID.
#[derive(Debug)]
pub struct InceptionV3 {
    stem: [FrozenConv; 5],
    mixed_5: [InceptionA; 3],
    mixed_6a: InceptionB,
    mixed_6: [InceptionC; 4],
    mixed_7a: InceptionD,
    mixed_7: [InceptionE; 2],
    /// `[1008, 2048]`; the bias is left out, as the inception score has it.
    fc: Tensor<2>,
}

/// What [`InceptionV3`] makes of pictures.
#[derive(Debug, Clone)]
pub struct InceptionV3Features {
    /// The mean over the 8×8 positions of the last block: FID, KID, precision and recall. `[batch, 2048]`
    pub pool3: Tensor<2>,
    /// The first 7 channels of the 1×1 branch of `Mixed_6d` (`mixed_6/conv` in the TensorFlow graph) at all 17×17
    /// positions, rows first, channels fastest: sFID. `[batch, 2023]`
    pub spatial: Tensor<2>,
}

impl InceptionV3 {
    /// Length of [`InceptionV3Features::pool3`].
    pub const POOL3: usize = 2048;
    /// Length of [`InceptionV3Features::spatial`].
    pub const SPATIAL: usize = SPATIAL_CHANNELS * 17 * 17;
    /// Number of logits.
    pub const LOGITS: usize = CLASSES;

    /// Reads the weights that pytorch-fid publishes, as safetensors.
    ///
    /// # Errors
    /// [`NetsError::WeightsDoNotFit`], naming every tensor that is missing or of another shape; what reading says.
    pub fn read(file: &WeightFile, device: &Device) -> Result<Self, NetsError> {
        Self::read_narrow(file, device, 1)
    }

    /// As [`InceptionV3::read`], with every width (but that of the classes) divided by `width_divisor`, a divisor of 16.
    ///
    /// # Errors
    /// As [`InceptionV3::read`].
    pub fn read_narrow(
        file: &WeightFile,
        device: &Device,
        width_divisor: usize,
    ) -> Result<Self, NetsError> {
        let mut reader = LayerReader::new(file, device, width_divisor);
        let r = &mut reader;
        let square = |channels: [usize; 2], kernel: usize| {
            ConvSpec::new(channels[0], channels[1], [kernel; 2])
        };
        let fc_width = r.width(Self::POOL3);
        let network = Self {
            stem: [
                basic_conv(r, "Conv2d_1a_3x3", square([3, 32], 3).stride(2)),
                basic_conv(r, "Conv2d_2a_3x3", square([32, 32], 3)),
                basic_conv(r, "Conv2d_2b_3x3", square([32, 64], 3).padding([1, 1])),
                basic_conv(r, "Conv2d_3b_1x1", square([64, 80], 1)),
                basic_conv(r, "Conv2d_4a_3x3", square([80, 192], 3)),
            ],
            mixed_5: [
                InceptionA::read(r, "Mixed_5b", 192, 32),
                InceptionA::read(r, "Mixed_5c", 256, 64),
                InceptionA::read(r, "Mixed_5d", 288, 64),
            ],
            mixed_6a: InceptionB::read(r, "Mixed_6a", 288),
            mixed_6: [
                InceptionC::read(r, "Mixed_6b", 128),
                InceptionC::read(r, "Mixed_6c", 160),
                InceptionC::read(r, "Mixed_6d", 160),
                InceptionC::read(r, "Mixed_6e", 192),
            ],
            mixed_7a: InceptionD::read(r, "Mixed_7a"),
            mixed_7: [
                InceptionE::read(r, "Mixed_7b", 1280, Pool::Mean),
                InceptionE::read(r, "Mixed_7c", 2048, Pool::Max),
            ],
            fc: r.tensor("fc.weight", [CLASSES, fc_width]),
        };
        reader.finish(network)
    }

    /// Pictures as the network wants them: rounded to 8 bits, resized to 299×299 by `mode`, `(x − 128) / 128`; for
    /// [`ResizeMode::TorchBilinear`] `x / 127.5 − 1`, as pytorch-fid does.
    ///
    /// # Shapes
    /// - result: `[batch, 3, 299, 299]`
    pub fn prepare(pictures: &PictureBatch<'_>, mode: ResizeMode, device: &Device) -> Tensor<4> {
        let scale = match mode {
            ResizeMode::TorchBilinear => |value: f32, _: usize| value / 127.5 - 1.0,
            _ => |value: f32, _: usize| (value - 128.0) / 128.0,
        };
        pictures.resized([SIDE; 2], mode.resample(), to_8_bit, scale, device)
    }

    /// # Shapes
    /// - `x`: `[batch, 3, 299, 299]`, from [`InceptionV3::prepare`]
    pub fn forward(&self, x: Tensor<4>) -> InceptionV3Features {
        let [conv_1a, conv_2a, conv_2b, conv_3b, conv_4a] = &self.stem;
        let x = conv_2a.forward_relu(conv_1a.forward_relu(x));
        let x = halving_pool(conv_2b.forward_relu(x));
        let x = halving_pool(conv_4a.forward_relu(conv_3b.forward_relu(x)));
        let x = self.mixed_5.iter().fold(x, |x, block| block.forward(x));
        let x = self.mixed_6a.forward(x);
        let [mixed_6b, mixed_6c, mixed_6d, mixed_6e] = &self.mixed_6;
        let x = mixed_6c.forward(mixed_6b.forward(x).0).0;
        let (x, branch1x1) = mixed_6d.forward(x);
        let x = self.mixed_7a.forward(mixed_6e.forward(x).0);
        let x = self.mixed_7.iter().fold(x, |x, block| block.forward(x));
        let channels = SPATIAL_CHANNELS.min(branch1x1.dims()[1]);
        InceptionV3Features {
            pool3: mean_over_positions(x),
            spatial: branch1x1
                .narrow(1, 0, channels)
                .permute([0, 2, 3, 1])
                .flatten(1, 3),
        }
    }

    /// The logits of the 1008 classes, without the bias of the layer: the inception score.
    ///
    /// # Shapes
    /// - `pool3`: `[batch, 2048]`; result: `[batch, 1008]`
    pub fn logits_unbiased(&self, pool3: Tensor<2>) -> Tensor<2> {
        pool3.matmul(self.fc.clone().transpose())
    }
}

/// # Shapes
/// - `x`: `[batch, channels, height, width]`; result: `[batch, channels]`
pub(super) fn mean_over_positions(x: Tensor<4>) -> Tensor<2> {
    x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2)
}
