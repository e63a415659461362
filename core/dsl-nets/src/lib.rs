//! Denoising networks equal to their references, and what belongs to them: text encoder, tokenizer, low-rank adapters,
//! feature networks of metrics, weight files.
//!
//! Used by the engine and the host. Depends on burn, and must never depend on plugins, on the engine, or on a command line.
//!
//! Start at [`ModelConfig`]: it describes a [`Denoiser`] and perhaps a [`TextEncoder`], and builds both from a seed.

mod attention;
mod conditioning;
mod denoiser;
mod embeddings;
mod error;
pub mod features;
mod layers;
pub mod lora;
mod mlp_denoiser;
mod model;
mod parameter_init;
pub mod parameters;
mod resnet;
mod text_encoder;
mod tokenizer;
mod transformer_2d;
mod unet_2d_blocks;
mod unet_2d_condition;
pub mod weights;

pub use attention::{Attention, BasicTransformerBlock, FeedForward, GeGlu};
pub use conditioning::Conditioning;
pub use denoiser::{Denoiser, DenoiserConfig};
pub use embeddings::{TimestepEmbedding, Timesteps};
pub use error::NetsError;
pub use layers::{Conv2d, Embedding, GroupNorm, LayerNorm, Linear, PointwiseConv};
pub use lora::{LoraAdapter, LoraConfig, LoraInit};
pub use mlp_denoiser::{MlpConfig, MlpDenoiser};
pub use model::{Model, ModelConfig};
pub use parameter_init::ParameterInit;
pub use parameters::{NamedParameter, named_parameters};
pub use resnet::{Downsample2D, ResnetBlock2D, Upsample2D};
pub use text_encoder::{
    TextAttention, TextEmbeddings, TextEncoder, TextEncoderConfig, TextEncoderLayer,
    TextEncoderLayers, TextMlp,
};
pub use tokenizer::Tokenizer;
pub use transformer_2d::{Projection, Transformer2D};
pub use unet_2d_blocks::{
    CrossAttnDownBlock2D, CrossAttnUpBlock2D, DownBlock, DownBlock2D, UNetMidBlock2DCrossAttn,
    UpBlock, UpBlock2D,
};
pub use unet_2d_condition::{
    DownBlockType, MidBlockType, OneOrMany, UNet2DCondition, UNet2DConditionConfig, UpBlockType,
};
pub use weights::{LoadReport, WeightDType, WeightFile};
