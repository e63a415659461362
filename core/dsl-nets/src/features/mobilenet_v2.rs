//! MobileNetV2 (Sandler et al. 2018) up to its pooled features, under torchvision's key names.

use burn::tensor::{Device, Tensor};

use super::frozen::{BatchNorm, ConvSpec, FrozenConv, LayerReader};
use super::inception_v3::mean_over_positions;
use super::picture_batch::PictureBatch;
use super::resize::{Filter, Resample};
use crate::error::NetsError;
use crate::weights::WeightFile;

/// Height and width that the network was trained on.
const SIDE: usize = 224;
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];
const NORM_EPS: f64 = 1e-5;
/// Expansion, channels, repeats and stride of the first of them: table 2 of the paper.
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

/// MobileNetV2 without its classifier.
#[derive(Debug)]
pub struct MobileNetV2 {
    first: FrozenConv,
    blocks: Vec<InvertedResidual>,
    last: FrozenConv,
}

#[derive(Debug)]
struct InvertedResidual {
    expand: Option<FrozenConv>,
    depthwise: FrozenConv,
    project: FrozenConv,
    is_residual: bool,
}

impl MobileNetV2 {
    /// Number of features.
    pub const POOLED: usize = 1280;

    /// Reads weights that torchvision publishes, as safetensors.
    ///
    /// # Errors
    /// [`NetsError::WeightsDoNotFit`], naming every tensor that is missing or of another shape; what reading says.
    pub fn read(file: &WeightFile, device: &Device) -> Result<Self, NetsError> {
        Self::read_narrow(file, device, 1)
    }

    /// As [`MobileNetV2::read`], with every width divided by `width_divisor`, a divisor of 8.
    ///
    /// # Errors
    /// As [`MobileNetV2::read`].
    pub fn read_narrow(
        file: &WeightFile,
        device: &Device,
        width_divisor: usize,
    ) -> Result<Self, NetsError> {
        let mut reader = LayerReader::new(file, device, width_divisor);
        let stem = ConvSpec::new(3, 32, [3, 3]).stride(2).padding([1, 1]);
        let first = conv_norm(&mut reader, "features.0", [0, 1], stem);
        let mut blocks = Vec::new();
        let mut channels_in = 32;
        for [expansion, channels, repeats, first_stride] in STAGES {
            for repeat in 0..repeats {
                let key = format!("features.{}.conv", blocks.len() + 1);
                let stride = if repeat == 0 { first_stride } else { 1 };
                let sizes = [channels_in, channels_in * expansion, channels];
                blocks.push(InvertedResidual::read(&mut reader, &key, sizes, stride));
                channels_in = channels;
            }
        }
        let key = format!("features.{}", blocks.len() + 1);
        let last = ConvSpec::new(channels_in, Self::POOLED, [1, 1]);
        let last = conv_norm(&mut reader, &key, [0, 1], last);
        reader.finish(Self {
            first,
            blocks,
            last,
        })
    }

    /// Pictures as the network wants them: resized to 224×224 (bilinear with antialias; pictures of that size stay), then
    /// 0..1, minus ImageNet's mean, by its deviation.
    ///
    /// # Shapes
    /// - result: `[batch, 3, 224, 224]`
    pub fn prepare(pictures: &PictureBatch<'_>, device: &Device) -> Tensor<4> {
        pictures.resized(
            [SIDE; 2],
            Resample::Antialias(Filter::Bilinear),
            |value| (value + 1.0) / 2.0,
            |value, channel| (value - MEAN[channel]) / STD[channel],
            device,
        )
    }

    /// The mean of the last layer over positions.
    ///
    /// # Shapes
    /// - `x`: `[batch, 3, height, width]`, normalised as by [`MobileNetV2::prepare`], of any size
    /// - result: `[batch, 1280]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu6(self.first.forward(x));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        mean_over_positions(relu6(self.last.forward(x)))
    }
}

impl InvertedResidual {
    fn read(
        reader: &mut LayerReader<'_>,
        key: &str,
        [channels_in, inner, channels_out]: [usize; 3],
        stride: usize,
    ) -> Self {
        // The first block does not expand, and so has one layer less.
        let expand = (inner != channels_in).then(|| {
            let spec = ConvSpec::new(channels_in, inner, [1, 1]);
            conv_norm(reader, &format!("{key}.0"), [0, 1], spec)
        });
        let next = usize::from(expand.is_some());
        let depthwise = ConvSpec::depthwise(inner, 3).stride(stride).padding([1, 1]);
        let project = ConvSpec::new(inner, channels_out, [1, 1]);
        Self {
            depthwise: conv_norm(reader, &format!("{key}.{next}"), [0, 1], depthwise),
            project: conv_norm(reader, key, [next + 1, next + 2], project),
            is_residual: stride == 1 && channels_in == channels_out,
            expand,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = match &self.expand {
            Some(expand) => relu6(expand.forward(x.clone())),
            None => x.clone(),
        };
        let y = self.project.forward(relu6(self.depthwise.forward(inner)));
        if self.is_residual { x + y } else { y }
    }
}

/// Convolution and batch norm, by their numbers in a sequence of layers.
fn conv_norm(
    reader: &mut LayerReader<'_>,
    key: &str,
    [conv, norm]: [usize; 2],
    spec: ConvSpec,
) -> FrozenConv {
    let norm = BatchNorm {
        key: &format!("{key}.{norm}"),
        norm_eps: NORM_EPS,
    };
    reader.conv_norm(&format!("{key}.{conv}"), norm, spec)
}

fn relu6(x: Tensor<4>) -> Tensor<4> {
    x.clamp(0.0, 6.0)
}
