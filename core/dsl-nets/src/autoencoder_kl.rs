//! The autoencoder of latent diffusion, equal to diffusers' `AutoencoderKL` (Rombach et al. 2022, arXiv 2112.10752).
//!
//! Fields are named as keys in a weight file.

mod blocks;
mod config;
mod controllable_feature_wrapping;
mod gaussian;
mod tiling;

pub use blocks::{
    AutoencoderAttention, AutoencoderMidBlock2D, Decoder, DownEncoderBlock2D, DownsampleAsymmetric,
    Encoder, UpDecoderBlock2D,
};
pub use config::{AutoencoderDownBlockType, AutoencoderKLConfig, AutoencoderUpBlockType};
pub use controllable_feature_wrapping::{
    ControllableFeatureWrapping, ControllableFeatureWrappingConfig, DenseBlock, FeatureFusion,
    ResidualDenseBlocks,
};
pub use gaussian::DiagonalGaussian;
pub use tiling::Tiling;

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

use crate::error::NetsError;
use crate::layers::PointwiseConv;
use crate::parameter_init::ParameterInit;

/// Pictures to latents and back.
#[derive(Module, Debug)]
pub struct AutoencoderKL {
    /// Pictures to the moments of their latents.
    pub encoder: Encoder,
    /// Latents to pictures.
    pub decoder: Decoder,
    /// 1×1, on the moments.
    pub quant_conv: Option<PointwiseConv>,
    /// 1×1, on the latents.
    pub post_quant_conv: Option<PointwiseConv>,
    #[module(skip)]
    scaling: LatentScaling,
}

/// How an autoencoder's latents become those that a diffusion model sees, with a spread near 1.
#[derive(Debug, Clone)]
struct LatentScaling {
    scaling_factor: f64,
    shift_factor: f64,
    mean_and_std: Option<(Vec<f32>, Vec<f32>)>,
}

impl AutoencoderKL {
    /// Builds the network with fresh values.
    ///
    /// # Errors
    /// As [`AutoencoderKLConfig::validate`].
    pub fn new(config: &AutoencoderKLConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        config.validate()?;
        let (moments, latents) = (2 * config.latent_channels, config.latent_channels);
        let pointwise = |name: &str, channels, wanted: bool| {
            wanted.then(|| PointwiseConv::new(&init.at(name), channels, channels))
        };
        let list = |values: &Vec<f64>| values.iter().map(|v| *v as f32).collect();
        Ok(Self {
            encoder: Encoder::new(&init.at("encoder"), config),
            decoder: Decoder::new(&init.at("decoder"), config),
            quant_conv: pointwise("quant_conv", moments, config.use_quant_conv),
            post_quant_conv: pointwise("post_quant_conv", latents, config.use_post_quant_conv),
            scaling: LatentScaling {
                scaling_factor: config.scaling_factor,
                shift_factor: config.shift_factor.unwrap_or(0.0),
                mean_and_std: config
                    .latents_mean
                    .as_ref()
                    .zip(config.latents_std.as_ref())
                    .map(|(mean, std)| (list(mean), list(std))),
            },
        })
    }

    /// The distribution of a picture's latents.
    ///
    /// # Shapes
    /// - `image`: `[batch, in_channels, height, width]`, values in -1..1
    /// - result: `[batch, latent_channels, height / f, width / f]` with f = 2^(blocks - 1), not scaled
    pub fn encode(&self, image: Tensor<4>) -> DiagonalGaussian {
        DiagonalGaussian::from_moments(self.moments(image))
    }

    /// As [`Self::encode`], with what the encoder saw at each size.
    ///
    /// # Shapes
    /// - features: for each block, full size first, `[batch, channels, ..]`
    pub fn encode_with_features(&self, image: Tensor<4>) -> (DiagonalGaussian, Vec<Tensor<4>>) {
        let (moments, features) = self.encoder.forward_with_features(image);
        let moments = self.quantised(moments);
        (DiagonalGaussian::from_moments(moments), features)
    }

    /// Mean and logarithm of the variance one after the other, the latter not clamped.
    ///
    /// # Shapes
    /// - as [`Self::encode`], with twice the channels
    pub fn moments(&self, image: Tensor<4>) -> Tensor<4> {
        self.quantised(self.encoder.forward(image))
    }

    fn quantised(&self, moments: Tensor<4>) -> Tensor<4> {
        match &self.quant_conv {
            Some(conv) => conv.forward(moments),
            None => moments,
        }
    }

    /// The picture of latents.
    ///
    /// # Shapes
    /// - `latents`: `[batch, latent_channels, height, width]`, not scaled
    /// - result: `[batch, out_channels, f height, f width]` with f = 2^(blocks - 1), values around -1..1, not clamped
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decode_with(latents, &mut |_, x| x)
    }

    /// As [`Self::decode`], with `change` made as in [`Decoder::forward_with`].
    pub fn decode_with(
        &self,
        latents: Tensor<4>,
        change: &mut dyn FnMut(usize, Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let latents = match &self.post_quant_conv {
            Some(conv) => conv.forward(latents),
            None => latents,
        };
        self.decoder.forward_with(latents, change)
    }

    /// What a diffusion model sees: `(z - shift_factor) scaling_factor`, or `(z - latents_mean) scaling_factor / latents_std`.
    pub fn scale_latents(&self, latents: Tensor<4>) -> Tensor<4> {
        let scaling = &self.scaling;
        match &scaling.mean_and_std {
            Some((mean, std)) => {
                (latents.clone() - per_channel(mean, &latents)) * scaling.scaling_factor
                    / per_channel(std, &latents)
            }
            None => (latents - scaling.shift_factor) * scaling.scaling_factor,
        }
    }

    /// The inverse of [`Self::scale_latents`], before [`Self::decode`].
    pub fn unscale_latents(&self, latents: Tensor<4>) -> Tensor<4> {
        let scaling = &self.scaling;
        match &scaling.mean_and_std {
            Some((mean, std)) => {
                latents.clone() * per_channel(std, &latents) / scaling.scaling_factor
                    + per_channel(mean, &latents)
            }
            None => latents / scaling.scaling_factor + scaling.shift_factor,
        }
    }
}

/// `values` as `[1, channels, 1, 1]`, on the device and of the type of `like`.
fn per_channel(values: &[f32], like: &Tensor<4>) -> Tensor<4> {
    let data = TensorData::new(values.to_vec(), [1, values.len(), 1, 1]);
    Tensor::<4>::from_data(data, &like.device()).cast(like.dtype())
}
