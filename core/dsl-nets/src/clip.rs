//! CLIP (Radford et al. 2021, arXiv 2103.00020), equal to transformers' classes: the text encoders of Stable Diffusion, and the two
//! towers that scores are measured with.
//!
//! Fields are named as keys in a weight file; `pre_layrnorm` is spelt so there.

mod config;
mod encoder;
mod model;
mod text;
mod vision;

pub use config::{
    ClipActivation, ClipConfig, ClipModelConfig, ClipTextConfig, ClipVisionConfig,
    ClipVisionModelConfig,
};
pub use encoder::{ClipAttention, ClipEncoder, ClipEncoderLayer, ClipMlp};
pub use model::{ClipModel, ClipScores};
pub use text::{ClipTextEmbeddings, ClipTextModel, ClipTextOutput, ClipTextTransformer};
pub use vision::{
    ClipVisionEmbeddings, ClipVisionModel, ClipVisionOutput, ClipVisionTransformer, PatchEmbedding,
};
