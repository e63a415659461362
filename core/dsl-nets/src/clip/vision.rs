//! The vision tower: patches and one class token, each of which sees every other.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use super::config::{ClipVisionConfig, ClipVisionModelConfig};
use super::encoder::ClipEncoder;
use crate::error::NetsError;
use crate::layers::{Embedding, LayerNorm, Linear};
use crate::parameter_init::ParameterInit;

/// A convolution whose stride is its kernel, without a bias.
#[derive(Module, Debug)]
pub struct PatchEmbedding {
    /// `[hidden_size, channels, patch, patch]`.
    pub weight: Param<Tensor<4>>,
}

/// Patches, class token and positions.
#[derive(Module, Debug)]
pub struct ClipVisionEmbeddings {
    /// The first token, `[hidden_size]`.
    pub class_embedding: Param<Tensor<1>>,
    /// Pictures to patches.
    pub patch_embedding: PatchEmbedding,
    /// One vector per patch, and the class token's first.
    pub position_embedding: Embedding,
}

/// Embeddings and layers between two norms.
#[derive(Module, Debug)]
pub struct ClipVisionTransformer {
    /// Patches to tokens.
    pub embeddings: ClipVisionEmbeddings,
    /// Before the first layer; files spell it so.
    pub pre_layrnorm: LayerNorm,
    /// Layers.
    pub encoder: ClipEncoder,
    /// On the class token, after the last layer.
    pub post_layernorm: LayerNorm,
}

/// An image encoder: transformers' `CLIPVisionModel`, or `CLIPVisionModelWithProjection`.
#[derive(Module, Debug)]
pub struct ClipVisionModel {
    /// Everything but the projection.
    pub vision_model: ClipVisionTransformer,
    /// `[hidden_size] -> [projection_dim]`, without a bias.
    pub visual_projection: Option<Linear>,
}

/// What an image encoder makes of a batch of pictures.
#[derive(Debug, Clone)]
pub struct ClipVisionOutput {
    /// The states before the first layer and after each one, `layers + 1` times `[batch, patches + 1, hidden_size]`.
    pub hidden_states: Vec<Tensor<3>>,
    /// The last of them, not normed.
    pub last_hidden_state: Tensor<3>,
    /// The class token of `last_hidden_state`, normed: `[batch, hidden_size]`.
    pub pooled: Tensor<2>,
    /// `pooled`, projected, in models with a projection: `[batch, projection_dim]`.
    pub image_embeds: Option<Tensor<2>>,
}

impl ClipVisionModel {
    /// Builds the network with fresh values.
    ///
    /// # Errors
    /// As [`ClipVisionConfig::validate`].
    pub fn new(config: &ClipVisionModelConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        let vision = &config.vision;
        vision.validate()?;
        Ok(Self {
            vision_model: ClipVisionTransformer::new(vision, &init.at("vision_model")),
            visual_projection: config.with_projection.then(|| {
                let init = init.at("visual_projection");
                Linear::without_bias(&init, vision.hidden_size, vision.projection_dim)
            }),
        })
    }

    /// # Shapes
    /// - `pixels`: `[batch, channels, image_size, image_size]`, normalised as the model's preprocessor says
    pub fn forward(&self, pixels: Tensor<4>) -> ClipVisionOutput {
        let mut output = self.vision_model.forward(pixels);
        output.image_embeds = self
            .visual_projection
            .as_ref()
            .map(|projection| projection.forward(output.pooled.clone()));
        output
    }
}

impl ClipVisionTransformer {
    pub(super) fn new(config: &ClipVisionConfig, init: &ParameterInit) -> Self {
        let (features, patch) = (config.hidden_size, config.patch_size);
        let patches = (config.image_size / patch).pow(2);
        let embeddings = init.at("embeddings");
        let norm =
            |name: &str| LayerNorm::with_eps(&init.at(name), features, config.layer_norm_eps);
        let bound = ((config.num_channels * patch * patch) as f64).powf(-0.5);
        Self {
            embeddings: ClipVisionEmbeddings {
                class_embedding: embeddings.normal(
                    "class_embedding",
                    [features],
                    (features as f64).powf(-0.5),
                ),
                patch_embedding: PatchEmbedding {
                    weight: embeddings.at("patch_embedding").uniform(
                        "weight",
                        [features, config.num_channels, patch, patch],
                        bound,
                    ),
                },
                position_embedding: Embedding::new(
                    &embeddings.at("position_embedding"),
                    patches + 1,
                    features,
                ),
            },
            pre_layrnorm: norm("pre_layrnorm"),
            encoder: ClipEncoder::new(&init.at("encoder"), &config.encoder()),
            post_layernorm: norm("post_layernorm"),
        }
    }

    pub(super) fn forward(&self, pixels: Tensor<4>) -> ClipVisionOutput {
        let [batch, ..] = pixels.dims();
        let weight = self.embeddings.patch_embedding.weight.val();
        let [features, _, patch, _] = weight.dims();
        let patches = kernels::conv2d(pixels, weight, None, patch, 0);
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2);
        let class = self.embeddings.class_embedding.val();
        let class = class.reshape([1, 1, features]).expand([batch, 1, features]);
        let positions = self.embeddings.position_embedding.weight.val();
        let x = Tensor::cat(vec![class, patches], 1) + positions.unsqueeze::<3>();
        let x = self.pre_layrnorm.forward(x);
        let hidden_states = self.encoder.forward(x.clone(), None);
        let last_hidden_state = hidden_states.last().cloned().unwrap_or(x);
        let class = last_hidden_state.clone().narrow(1, 0, 1);
        let pooled = self
            .post_layernorm
            .forward(class.reshape([batch, features]));
        ClipVisionOutput {
            hidden_states,
            last_hidden_state,
            pooled,
            image_embeds: None,
        }
    }
}
