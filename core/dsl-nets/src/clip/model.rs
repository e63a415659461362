//! Both towers with a common space.

use burn::module::Module;
use burn::tensor::{Int, Tensor};

use super::config::{ClipConfig, ClipModelConfig};
use super::text::ClipTextTransformer;
use super::vision::ClipVisionTransformer;
use crate::error::NetsError;
use crate::layers::{Linear, Scalar};
use crate::parameter_init::ParameterInit;

/// Texts and pictures in one space: transformers' `CLIPModel`.
#[derive(Module, Debug)]
pub struct ClipModel {
    /// The text tower.
    pub text_model: ClipTextTransformer,
    /// The vision tower.
    pub vision_model: ClipVisionTransformer,
    /// `[vision hidden_size] -> [projection_dim]`, without a bias.
    pub visual_projection: Linear,
    /// `[text hidden_size] -> [projection_dim]`, without a bias.
    pub text_projection: Linear,
    /// Logarithm of the factor of the cosines in the logits.
    pub logit_scale: Scalar,
}

/// Texts against pictures.
#[derive(Debug, Clone)]
pub struct ClipScores {
    /// Unit vectors, `[texts, projection_dim]`.
    pub text_embeds: Tensor<2>,
    /// Unit vectors, `[pictures, projection_dim]`.
    pub image_embeds: Tensor<2>,
    /// `exp(logit_scale)` times the cosines, `[texts, pictures]`.
    pub logits_per_text: Tensor<2>,
}

impl ClipModel {
    /// `ln(1 / 0.07)`, where the temperature starts.
    const LOGIT_SCALE: f32 = 2.6592;

    /// Builds the network with fresh values.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for sizes that do not fit together.
    pub fn new(config: &ClipModelConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        let ClipModelConfig {
            text_config,
            vision_config,
            projection_dim,
        } = config;
        text_config.validate()?;
        vision_config.validate()?;
        let text = ClipConfig {
            text: text_config.clone(),
            with_projection: false,
        };
        let projection =
            |name: &str, from| Linear::without_bias(&init.at(name), from, *projection_dim);
        Ok(Self {
            text_model: ClipTextTransformer::new(&text, &init.at("text_model")),
            vision_model: ClipVisionTransformer::new(vision_config, &init.at("vision_model")),
            visual_projection: projection("visual_projection", vision_config.hidden_size),
            text_projection: projection("text_projection", text_config.hidden_size),
            logit_scale: Scalar::new(&init.at("logit_scale"), Self::LOGIT_SCALE),
        })
    }

    /// Projected features of texts, not of unit length.
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, tokens]`; result: `[batch, projection_dim]`
    pub fn text_features(&self, token_ids: Tensor<2, Int>) -> Tensor<2> {
        let (_, last) = self.text_model.forward(token_ids.clone(), None, None);
        self.text_projection
            .forward(self.text_model.pool(&last, token_ids))
    }

    /// Projected features of pictures, not of unit length.
    ///
    /// # Shapes
    /// - `pixels`: `[batch, channels, image_size, image_size]`, normalised; result: `[batch, projection_dim]`
    pub fn image_features(&self, pixels: Tensor<4>) -> Tensor<2> {
        let pooled = self.vision_model.forward(pixels).pooled;
        self.visual_projection.forward(pooled)
    }

    /// Compares every text with every picture.
    ///
    /// # Shapes
    /// - `token_ids`: `[texts, tokens]`; `pixels`: `[pictures, channels, image_size, image_size]`, normalised
    pub fn forward(&self, token_ids: Tensor<2, Int>, pixels: Tensor<4>) -> ClipScores {
        let text_embeds = unit(self.text_features(token_ids));
        let image_embeds = unit(self.image_features(pixels));
        let cosines = text_embeds.clone().matmul(image_embeds.clone().transpose());
        let scale = self.logit_scale.val().exp().unsqueeze::<2>();
        ClipScores {
            text_embeds,
            image_embeds,
            logits_per_text: cosines * scale,
        }
    }
}

/// Each row divided by its length.
fn unit(x: Tensor<2>) -> Tensor<2> {
    let length = x.clone().powi_scalar(2).sum_dim(1).sqrt();
    x / length
}
