//! Controllable feature wrapping (Wang et al. 2023, StableSR, section 3.2, equation 4): a decoder that takes what latents
//! have lost from the encoder's features of another picture, as much as one asks for.
//!
//! At each size but the smallest and the largest, `F = F_d + w R([F_e; F_d])` behind the decoder's residual blocks. `R` is a
//! residual block, dense blocks (Wang et al. 2018, ESRGAN), and a residual block.

use burn::module::Module;
use burn::tensor::{Tensor, activation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::blocks::NORM_EPS;
use super::{AutoencoderKL, AutoencoderKLConfig};
use crate::error::NetsError;
use crate::layers::Conv2d;
use crate::parameter_init::ParameterInit;
use crate::resnet::ResnetBlock2D;

/// Shape of a [`ControllableFeatureWrapping`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ControllableFeatureWrappingConfig {
    /// Residual-in-residual dense blocks at each size. The reference has 2.
    pub dense_blocks: usize,
    /// Channels that each convolution of a dense block adds. The reference has 32.
    #[schemars(range(min = 1))]
    pub growth: usize,
    /// Whether `R` starts at zero. In the reference it does not.
    pub zero_output: bool,
}

impl Default for ControllableFeatureWrappingConfig {
    fn default() -> Self {
        Self {
            dense_blocks: 2,
            growth: 32,
            zero_output: false,
        }
    }
}

/// Five 3×3 convolutions, each over the outputs of all before it: `x + 0.2 conv5(..)`.
#[derive(Module, Debug)]
pub struct DenseBlock {
    /// The last one gives as many channels as come in.
    pub convs: Vec<Conv2d>,
}

impl DenseBlock {
    const CONVS: usize = 5;
    /// Negative inputs of the activation count this much, and residuals too: both are ESRGAN's.
    const SLOPE: f64 = 0.2;
    const RESIDUAL: f64 = 0.2;

    fn new(init: &ParameterInit, channels: usize, growth: usize) -> Self {
        let init = init.at("convs");
        let conv = |i: usize| {
            let to = if i + 1 < Self::CONVS {
                growth
            } else {
                channels
            };
            Conv2d::new(&init.at(i), [channels + i * growth, to], 3, 1, 1)
        };
        Self {
            convs: (0..Self::CONVS).map(conv).collect(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut all = vec![x.clone()];
        let last = self.convs.len() - 1;
        for (i, conv) in self.convs.iter().enumerate() {
            let y = conv.forward(Tensor::cat(all.clone(), 1));
            if i == last {
                return x + y * Self::RESIDUAL;
            }
            all.push(activation::leaky_relu(y, Self::SLOPE));
        }
        x
    }
}

/// Three dense blocks with a skip connection around them.
#[derive(Module, Debug)]
pub struct ResidualDenseBlocks {
    /// Three.
    pub blocks: Vec<DenseBlock>,
}

impl ResidualDenseBlocks {
    fn new(init: &ParameterInit, channels: usize, growth: usize) -> Self {
        let init = init.at("blocks");
        Self {
            blocks: (0..3)
                .map(|i| DenseBlock::new(&init.at(i), channels, growth))
                .collect(),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = |x, block: &DenseBlock| block.forward(x);
        x.clone() + self.blocks.iter().fold(x, inner) * DenseBlock::RESIDUAL
    }
}

/// `R` at one size.
#[derive(Module, Debug)]
pub struct FeatureFusion {
    /// From both features to the decoder's channels.
    pub resnet_in: ResnetBlock2D,
    /// Dense blocks.
    pub dense: Vec<ResidualDenseBlocks>,
    /// The end.
    pub resnet_out: ResnetBlock2D,
    /// In place of the skip connection around `resnet_out`, which would leave nothing at zero; with `zero_output`.
    pub conv_out: Option<Conv2d>,
}

impl FeatureFusion {
    fn new(
        init: &ParameterInit,
        config: &ControllableFeatureWrappingConfig,
        channels: usize,
        groups: usize,
    ) -> Self {
        let resnet = |name: &str, from| {
            ResnetBlock2D::new(&init.at(name), [from, channels], None, groups, NORM_EPS)
        };
        let dense = init.at("dense");
        Self {
            resnet_in: resnet("resnet_in", 2 * channels),
            dense: (0..config.dense_blocks)
                .map(|i| ResidualDenseBlocks::new(&dense.at(i), channels, config.growth))
                .collect(),
            resnet_out: resnet("resnet_out", channels),
            conv_out: config
                .zero_output
                .then(|| Conv2d::zeros(&init.at("conv_out"), [channels, channels], 1, 1, 0)),
        }
    }

    /// # Shapes
    /// - `of_encoder`, `of_decoder`, result: `[batch, channels, height, width]`
    pub fn forward(&self, of_encoder: Tensor<4>, of_decoder: Tensor<4>) -> Tensor<4> {
        let both = Tensor::cat(vec![of_encoder, of_decoder], 1);
        let mut x = self.resnet_in.forward_without_timestep(both);
        for block in &self.dense {
            x = block.forward(x);
        }
        let x = self.resnet_out.forward_without_timestep(x);
        match &self.conv_out {
            Some(conv) => conv.forward(x),
            None => x,
        }
    }
}

/// What wraps an autoencoder's decoder, and is trained with the autoencoder frozen.
#[derive(Module, Debug)]
pub struct ControllableFeatureWrapping {
    /// One for each of the decoder's blocks but the first and the last, in their order.
    pub fusions: Vec<FeatureFusion>,
}

impl ControllableFeatureWrapping {
    /// For the autoencoder that `autoencoder` describes.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a growth of 0, and for an autoencoder of less than three blocks.
    pub fn new(
        config: &ControllableFeatureWrappingConfig,
        autoencoder: &AutoencoderKLConfig,
        init: &ParameterInit,
    ) -> Result<Self, NetsError> {
        autoencoder.validate()?;
        let channels = &autoencoder.block_out_channels;
        if config.growth == 0 {
            return Err(NetsError::config("growth", 0, "it must be at least 1"));
        }
        if channels.len() < 3 {
            let reason = "features are wrapped between its first and its last block";
            return Err(NetsError::config("block_out_channels", channels, reason));
        }
        let (init, groups) = (init.at("fusions"), autoencoder.norm_num_groups);
        let inner = channels[1..channels.len() - 1].iter().rev().enumerate();
        Ok(Self {
            fusions: inner
                .map(|(i, channels)| FeatureFusion::new(&init.at(i), config, *channels, groups))
                .collect(),
        })
    }

    /// The picture of latents, with features of another picture of the same size.
    ///
    /// # Shapes
    /// - `latents`, result: as in [`AutoencoderKL::decode`]
    /// - `features`: from [`AutoencoderKL::encode_with_features`], of a picture of the result's size
    /// - `w`: 1 in training; between 0, which is exactly the decoder alone, and 1 else. The reference takes 0.5.
    pub fn decode(
        &self,
        autoencoder: &AutoencoderKL,
        latents: Tensor<4>,
        features: &[Tensor<4>],
        w: f64,
    ) -> Tensor<4> {
        if w == 0.0 {
            return autoencoder.decode(latents);
        }
        autoencoder.decode_with(latents, &mut |block, of_decoder| {
            self.wrap(block, of_decoder, features, w)
        })
    }

    /// The features behind one of the decoder's blocks, wrapped where there is a fusion: what [`Self::decode`] changes in
    /// [`AutoencoderKL::decode_with`].
    pub fn wrap(
        &self,
        block: usize,
        of_decoder: Tensor<4>,
        features: &[Tensor<4>],
        w: f64,
    ) -> Tensor<4> {
        // The decoder walks the encoder's blocks backwards.
        let level = features.len().checked_sub(block + 1);
        let place = block.checked_sub(1).and_then(|i| self.fusions.get(i));
        match (place, level.and_then(|level| features.get(level))) {
            (Some(fusion), Some(of_encoder)) => {
                let more = fusion.forward(of_encoder.clone(), of_decoder.clone());
                of_decoder + more * w
            }
            _ => of_decoder,
        }
    }
}
