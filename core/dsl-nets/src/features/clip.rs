//! CLIP's image embeddings (Radford et al. 2021), for CLIP-I and, beside text embeddings, CLIP scores.

use burn::tensor::{Device, Tensor};

use super::picture_batch::{PictureBatch, to_8_bit};
use super::resize::{Filter, Resample};
use crate::clip::{ClipActivation, ClipVisionConfig, ClipVisionModel, ClipVisionModelConfig};
use crate::error::NetsError;
use crate::pretrained::load_weights;
use crate::weights::{Renamed, WeightDType, WeightFile, WeightSet};

const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const STD: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// OpenAI's published models with a vision transformer. Scores of different ones are not comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClipVit {
    /// ViT-B/32, 512 features.
    B32,
    /// ViT-B/16, 512 features.
    B16,
    /// ViT-L/14 at 224 pixels, 768 features.
    L14,
}

impl ClipVit {
    /// Number of features of an embedding.
    pub const fn embedding_size(self) -> usize {
        match self {
            Self::B32 | Self::B16 => 512,
            Self::L14 => 768,
        }
    }

    /// Shape of the vision tower. All of them use QuickGELU.
    pub fn config(self) -> ClipVisionConfig {
        let patch_size = match self {
            Self::B32 => 32,
            Self::B16 => 16,
            Self::L14 => 14,
        };
        let base = ClipVisionConfig {
            patch_size,
            hidden_act: ClipActivation::QuickGelu,
            ..ClipVisionConfig::default()
        };
        match self {
            Self::B32 | Self::B16 => base,
            Self::L14 => ClipVisionConfig {
                hidden_size: 1024,
                intermediate_size: 4096,
                projection_dim: self.embedding_size(),
                num_hidden_layers: 24,
                num_attention_heads: 16,
                ..base
            },
        }
    }
}

/// The image tower of CLIP with its projection.
#[derive(Debug)]
pub struct ClipImages {
    model: ClipVisionModel,
    side: usize,
}

impl ClipImages {
    /// Reads the weights that OpenAI publishes in the form of transformers; a file may hold the text tower as well.
    ///
    /// # Errors
    /// [`NetsError::WeightsDoNotFit`], naming every tensor that is missing or of another shape; what reading says.
    pub fn read(vit: ClipVit, file: WeightFile, device: &Device) -> Result<Self, NetsError> {
        Self::read_shape(vit.config(), file, device)
    }

    /// As [`ClipImages::read`], of any shape.
    ///
    /// # Errors
    /// As [`ClipImages::read`]; a shape that cannot be.
    pub fn read_shape(
        vision: ClipVisionConfig,
        file: WeightFile,
        device: &Device,
    ) -> Result<Self, NetsError> {
        let side = vision.image_size;
        let config = ClipVisionModelConfig {
            vision,
            with_projection: true,
        };
        let of_images =
            |key: &str| key.starts_with("vision_model.") || key.starts_with("visual_projection.");
        let set =
            WeightSet::from(file).rename(|key| of_images(key).then(|| Renamed::As(key.to_owned())));
        let (model, _) = load_weights(&config, set, WeightDType::F32, device)?;
        Ok(Self { model, side })
    }

    /// Pictures as the network wants them: rounded to 8 bits, the shorter side resized to 224 by Pillow's bicubic filter, the
    /// middle cut out, then 0..1, minus CLIP's mean, by its deviation.
    ///
    /// # Shapes
    /// - result: `[batch, 3, 224, 224]`
    pub fn prepare(&self, pictures: &PictureBatch<'_>, device: &Device) -> Tensor<4> {
        let [height, width] = pictures.size();
        // The longer side is cut off to whole pixels, as transformers does.
        let long = self.side * height.max(width) / height.min(width);
        let size = match height <= width {
            true => [self.side, long],
            false => [long, self.side],
        };
        let resized = pictures.resized(
            size,
            Resample::Pillow8Bit(Filter::Bicubic),
            to_8_bit,
            |value, channel| (value / 255.0 - MEAN[channel]) / STD[channel],
            device,
        );
        let [top, left] = size.map(|length| (length - self.side) / 2);
        resized.narrow(2, top, self.side).narrow(3, left, self.side)
    }

    /// Embeddings of length 1.
    ///
    /// # Shapes
    /// - `x`: `[batch, 3, 224, 224]`, from [`ClipImages::prepare`]; result: `[batch, 512]` or `[batch, 768]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let output = self.model.forward(x);
        let embeddings = output.image_embeds.unwrap_or(output.pooled);
        let length = embeddings.clone().square().sum_dim(1).sqrt();
        embeddings / length
    }
}
