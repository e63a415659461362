//! Denoising networks equal to their references, and what belongs to them: text encoder, tokenizer, low-rank adapters,
//! feature networks of metrics, weight files.
//!
//! Used by the engine and the host. Depends on burn, and must never depend on plugins, on the engine, or on a command line.
//!
//! Start at [`ModelConfig`]: it describes a [`Denoiser`] and perhaps a [`TextEncoder`], and builds both from a seed.

mod attention;
mod autoencoder_kl;
mod clip;
mod clip_tokenizer;
mod conditioning;
mod config_format;
mod denoiser;
mod embeddings;
mod error;
pub mod features;
mod gligen;
mod gradient_checkpointing;
mod inspect;
mod layers;
mod learned_tokens;
pub mod lora;
mod mlp_denoiser;
mod model;
mod parameter_init;
pub mod parameters;
mod patch_discriminator;
mod pipeline;
mod pipeline_text;
mod pretrained;
mod resnet;
mod single_file;
mod task_modules;
mod text_encoder;
mod textual_inversion;
mod tokenizer;
mod transformer_2d;
mod unet_2d_blocks;
mod unet_2d_condition;
pub mod weights;

pub use attention::{Attention, AttentionContext, BasicTransformerBlock, FeedForward, GeGlu};
pub use autoencoder_kl::{
    AutoencoderAttention, AutoencoderDownBlockType, AutoencoderKL, AutoencoderKLConfig,
    AutoencoderMidBlock2D, AutoencoderUpBlockType, ControllableFeatureWrapping,
    ControllableFeatureWrappingConfig, Decoder, DenseBlock, DiagonalGaussian, DownEncoderBlock2D,
    DownsampleAsymmetric, Encoder, FeatureFusion, ResidualDenseBlocks, Tiling, UpDecoderBlock2D,
};
pub use clip::{
    ClipActivation, ClipAttention, ClipConfig, ClipEncoder, ClipEncoderLayer, ClipMlp, ClipModel,
    ClipModelConfig, ClipScores, ClipTextConfig, ClipTextEmbeddings, ClipTextModel, ClipTextOutput,
    ClipTextTransformer, ClipVisionConfig, ClipVisionEmbeddings, ClipVisionModel,
    ClipVisionModelConfig, ClipVisionOutput, ClipVisionTransformer, PatchEmbedding,
};
pub use clip_tokenizer::ClipTokenizer;
pub use conditioning::{
    AddedConditioning, CameraEstimate, Conditioning, GligenConditioning, GligenImages,
    VolumeConditioning,
};
pub use denoiser::{Denoiser, DenoiserConfig};
pub use embeddings::{TimestepEmbedding, Timesteps};
pub use error::NetsError;
pub use gligen::{
    BoxLayers, GatedSelfAttentionDense, PositionNet, TextImagePositionNet, TextPositionNet,
};
pub use gradient_checkpointing::Tape;
pub use inspect::{Inspection, PartInspection, inspect, inspect_model};
pub use layers::{Conv2d, Embedding, GroupNorm, LayerNorm, Linear, PointwiseConv, Scalar};
pub use learned_tokens::LearnedTokens;
pub use lora::{ConvLoraAdapter, LoraAdapter, LoraConfig, LoraInit};
pub use lora::{LoraComponent, LoraExport, LoraFile, LoraMatrices};
pub use mlp_denoiser::{MlpConfig, MlpDenoiser};
pub use model::{Model, ModelConfig};
pub use parameter_init::ParameterInit;
pub use parameters::{NamedParameter, named_parameters};
pub use patch_discriminator::PatchDiscriminator;
pub use pipeline::{Pipeline, SaveOptions, read_model_index, save_folder, save_parts};
pub use pipeline_text::{PipelineText, PipelineTextConfig, PipelineTextOutput};
pub use pretrained::{
    LoadOptions, Loaded, Pretrained, load_folder, load_unet_extending, load_weights, read_config,
};
pub use resnet::{Downsample2D, ResnetBlock2D, Upsample2D};
pub use single_file::{Generation, SingleFile, load_single_file};
pub use task_modules::{
    AcrossViews, Block3D, CameraPoseConfig, CameraRegression, CameraRegressionConfig,
    CameraRegressor, ContextConfig, Conv3d, DepthAttention, FeaturePyramidConfig, Level3D,
    MultiViewConfig, ResidualMlp, RowEmbedding, SftNorm, TaskModulesConfig, UNet3D, Upsample3D,
    ViewEncoder, ViewResnetBlock, ViewVolume, ViewVolumeConfig,
};
pub use task_modules::{
    CameraPoseEmbedding, ClassLabelEmbedding, ContextEmbedding, FeaturePyramid, PyramidAttention,
    PyramidLevel, PyramidMiddle, SpatialFeatureTransform, TaskModule, TaskModuleKind,
};
pub use text_encoder::{
    TextAttention, TextEmbeddings, TextEncoder, TextEncoderConfig, TextEncoderLayer,
    TextEncoderLayers, TextMlp,
};
pub use textual_inversion::{EmbeddingStyle, LearnedEmbedding, add_embedding};
pub use tokenizer::{TextTokens, Tokenizer};
pub use transformer_2d::{Projection, Transformer2D};
pub use unet_2d_blocks::{
    CrossAttnDownBlock2D, CrossAttnUpBlock2D, DownBlock, DownBlock2D, UNetMidBlock2DCrossAttn,
    UpBlock, UpBlock2D,
};
pub use unet_2d_condition::{
    AdditionEmbedType, AttentionType, ClassEmbedType, DownBlockType, MidBlockType, OneOrMany,
    UNet2DCondition, UNet2DConditionConfig, UpBlockType,
};
pub use weights::{Extension, LoadReport, TaskShare, WeightDType, WeightFile, WeightSet};
