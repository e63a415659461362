//! The configuration of [`AutoencoderKL`](super::AutoencoderKL), with the field names of diffusers' `config.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::config_format::ConfigFormat;
use crate::error::NetsError;

/// A block of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutoencoderDownBlockType {
    /// Residual blocks, then half the size.
    DownEncoderBlock2D,
}

/// A block of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AutoencoderUpBlockType {
    /// Residual blocks, then twice the size.
    UpDecoderBlock2D,
}

/// Shape of an [`AutoencoderKL`](super::AutoencoderKL); names, meanings and defaults are diffusers'.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderKLConfig {
    /// Channels of pictures that go in.
    pub in_channels: usize,
    /// Channels of pictures that come out.
    pub out_channels: usize,
    /// The encoder.
    pub down_block_types: Vec<AutoencoderDownBlockType>,
    /// The decoder.
    pub up_block_types: Vec<AutoencoderUpBlockType>,
    /// Channels of each block, full size first; each block but the last halves the size.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per block of the encoder; the decoder has one more.
    pub layers_per_block: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every group norm; divides every number of channels.
    pub norm_num_groups: usize,
    /// Height and width of the pictures it was trained on, in pixels; larger ones are cut into tiles of this size on demand.
    pub sample_size: usize,
    /// Latents times this have a spread near 1.
    pub scaling_factor: f64,
    /// Subtracted from latents before they are scaled.
    pub shift_factor: Option<f64>,
    /// Mean of each channel of the latents; with `latents_std` it takes the place of `shift_factor`.
    pub latents_mean: Option<Vec<f64>>,
    /// Spread of each channel of the latents.
    pub latents_std: Option<Vec<f64>>,
    /// Says that half precision overflows in this autoencoder: run it in float32.
    pub force_upcast: bool,
    /// Has a 1×1 convolution after the encoder.
    pub use_quant_conv: bool,
    /// Has a 1×1 convolution before the decoder.
    pub use_post_quant_conv: bool,
    /// Has attention between the two residual blocks in the middle.
    pub mid_block_add_attention: bool,
}

impl Default for AutoencoderKLConfig {
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![AutoencoderDownBlockType::DownEncoderBlock2D],
            up_block_types: vec![AutoencoderUpBlockType::UpDecoderBlock2D],
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 32,
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl AutoencoderKLConfig {
    /// How an autoencoder's `config.json` is read.
    pub(crate) fn file_format() -> ConfigFormat {
        ConfigFormat {
            what: "the autoencoder's config.json",
            classes: &["AutoencoderKL"],
            neutral: vec![(
                "act_fn",
                vec![json!("silu"), json!("swish")],
                "the activation is always silu",
            )],
            without_effect: &[],
        }
    }

    /// Reads a `config.json` as diffusers writes it.
    ///
    /// # Errors
    /// [`NetsError::UnsupportedOption`] for an option that is not implemented or not known; [`NetsError::InvalidConfig`] for
    /// values that contradict each other.
    pub fn from_diffusers_json(text: &str) -> Result<Self, NetsError> {
        let config: Self = Self::file_format().read(text)?;
        config.validate()?;
        Ok(config)
    }

    /// A `config.json` that diffusers reads.
    pub fn to_diffusers_json(&self) -> String {
        Self::file_format().write(self, &Map::new())
    }

    /// Width and height of a picture in units of its latents' width and height.
    pub fn scale_between_picture_and_latents(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// Checks that the fields fit together.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] naming the first field that does not fit, and why.
    pub fn validate(&self) -> Result<(), NetsError> {
        let blocks = self.block_out_channels.len();
        if !(1..=16).contains(&blocks) {
            let reason = "between 1 and 16 blocks are needed";
            let found = &self.block_out_channels;
            return Err(NetsError::config("block_out_channels", found, reason));
        }
        for (field, found) in [
            ("down_block_types", self.down_block_types.len()),
            ("up_block_types", self.up_block_types.len()),
        ] {
            if found != blocks {
                let reason =
                    format!("block_out_channels has {blocks} entries, so {field} needs as many");
                return Err(NetsError::config(field, found, reason));
            }
        }
        for (field, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("layers_per_block", self.layers_per_block),
            ("latent_channels", self.latent_channels),
            ("norm_num_groups", self.norm_num_groups),
            ("sample_size", self.sample_size),
        ] {
            if value == 0 {
                return Err(NetsError::config(field, value, "it must be at least 1"));
            }
        }
        for &channels in &self.block_out_channels {
            if channels == 0 || channels % self.norm_num_groups != 0 {
                let reason = format!(
                    "every entry must be a multiple of norm_num_groups = {}",
                    self.norm_num_groups
                );
                return Err(NetsError::config("block_out_channels", channels, reason));
            }
        }
        if self.scaling_factor == 0.0 || !self.scaling_factor.is_finite() {
            let reason = "latents are multiplied by it, and divided again";
            let found = self.scaling_factor;
            return Err(NetsError::config("scaling_factor", found, reason));
        }
        self.validate_latents()
    }

    fn validate_latents(&self) -> Result<(), NetsError> {
        let lists = [
            ("latents_mean", &self.latents_mean),
            ("latents_std", &self.latents_std),
        ];
        for (field, list) in lists {
            if let Some(list) = list
                && list.len() != self.latent_channels
            {
                let reason = format!("there are {} latent_channels", self.latent_channels);
                return Err(NetsError::config(field, list, reason));
            }
        }
        if self.latents_mean.is_some() != self.latents_std.is_some() {
            let reason = "latents_mean and latents_std belong together";
            let found = &self.latents_std;
            return Err(NetsError::config("latents_std", found, reason));
        }
        Ok(())
    }
}
