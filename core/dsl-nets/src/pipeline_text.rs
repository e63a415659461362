//! The text encoders of a Stable Diffusion pipeline as a part of a [`Model`](crate::Model), for runs in which they learn: new
//! words, adapters.

use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clip::{ClipConfig, ClipTextModel};
use crate::error::NetsError;
use crate::learned_tokens::{LearnedTokens, append_rows};
use crate::lora::{self, LoraComponent, LoraConfig};
use crate::parameter_init::ParameterInit;
use crate::pretrained::{Pretrained as _, fill};
use crate::weights::{WeightDType, WeightSet};

/// Layers that are adapted when a configuration names none, as diffusers' scripts have it: all of attention.
const DEFAULT_TARGETS: &str = r"\.self_attn\.(q_proj|k_proj|v_proj|out_proj)$";

/// Shape of a [`PipelineText`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PipelineTextConfig {
    /// The only text encoder, or the first of two.
    pub text_encoder: ClipConfig,
    /// SDXL's second text encoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_encoder_2: Option<ClipConfig>,
}

impl PipelineTextConfig {
    /// The same encoders with `count` tokens more.
    pub fn with_tokens(mut self, count: usize) -> Self {
        for encoder in [&mut self.text_encoder]
            .into_iter()
            .chain(&mut self.text_encoder_2)
        {
            encoder.text.vocab_size += count;
        }
        self
    }
}

/// One CLIP text encoder (Stable Diffusion 1 and 2), or SDXL's two.
#[derive(Module, Debug)]
pub struct PipelineText {
    /// The only text encoder, or the first of two.
    pub text_encoder: ClipTextModel,
    /// SDXL's second text encoder.
    pub text_encoder_2: Option<ClipTextModel>,
}

/// What a pipeline's text encoders make of a batch of texts.
#[derive(Debug, Clone)]
pub struct PipelineTextOutput {
    /// What the UNet attends to, `[batch, tokens, cross_attention_dim]`.
    pub encoder_hidden_states: Tensor<3>,
    /// SDXL's pooled features, `[batch, projection_dim]`.
    pub text_embeds: Option<Tensor<2>>,
}

impl PipelineText {
    /// Builds the encoders with fresh values.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for sizes that do not fit together, and for a second encoder without a projection.
    pub fn new(config: &PipelineTextConfig, init: &ParameterInit) -> Result<Self, NetsError> {
        if let Some(second) = &config.text_encoder_2
            && !second.with_projection
        {
            let reason = "a pipeline's second text encoder has a projection, whose features the UNet is told";
            return Err(NetsError::config(
                "text_encoder_2.with_projection",
                false,
                reason,
            ));
        }
        // Paths, and ids with them, tell the two encoders apart: their layers have the same names.
        let encoder = |config: &ClipConfig, component: LoraComponent| {
            ClipTextModel::new(config, &init.at(component.name()))
        };
        Ok(Self {
            text_encoder: encoder(&config.text_encoder, LoraComponent::TextEncoder)?,
            text_encoder_2: (config.text_encoder_2.as_ref())
                .map(|config| encoder(config, LoraComponent::TextEncoder2))
                .transpose()?,
        })
    }

    /// The encoders in a pipeline's folder.
    ///
    /// # Errors
    /// As [`load_folder`](crate::load_folder).
    pub fn load(
        folder: &Path,
        config: &PipelineTextConfig,
        device: &Device,
    ) -> Result<Self, NetsError> {
        let init = ParameterInit::deferred(0, device).at(Self::PLACE);
        let fresh = Self::new(config, &init)?;
        let filled = |encoder: ClipTextModel, component: LoraComponent| {
            let set =
                WeightSet::open_folder(&folder.join(component.name()), ClipTextModel::STEM, None)?;
            Ok(fill(encoder, set, WeightDType::F32)?.0)
        };
        Ok(Self {
            text_encoder: filled(fresh.text_encoder, LoraComponent::TextEncoder)?,
            text_encoder_2: (fresh.text_encoder_2)
                .map(|encoder| filled(encoder, LoraComponent::TextEncoder2))
                .transpose()?,
        })
    }

    /// One encoder gives its last state, normed (Stable Diffusion 1 and 2); two give the last state but one of each, side by
    /// side, and the second's pooled features (Podell et al. 2023, SDXL, section 2.1).
    ///
    /// # Shapes
    /// - `token_ids`: `[batch, tokens]`, one for each encoder; ids from an encoder's `vocab_size` on are those of `learned`
    ///
    /// # Panics
    /// When there are fewer `token_ids` than encoders: a mistake of the caller.
    pub fn forward(
        &self,
        token_ids: &[Tensor<2, Int>],
        learned: [Option<&LearnedTokens>; 2],
    ) -> PipelineTextOutput {
        let first = self.text_encoder.encode(token_ids[0].clone(), learned[0]);
        let Some(second) = &self.text_encoder_2 else {
            return PipelineTextOutput {
                encoder_hidden_states: first.last_hidden_state,
                text_embeds: None,
            };
        };
        let second = second.encode(token_ids[1].clone(), learned[1]);
        let states = vec![first.penultimate(), second.penultimate()];
        PipelineTextOutput {
            encoder_hidden_states: Tensor::cat(states, 2),
            text_embeds: second.text_embeds,
        }
    }

    /// The encoders in order.
    pub fn encoders(&self) -> impl Iterator<Item = (LoraComponent, &ClipTextModel)> {
        let second = self.text_encoder_2.iter();
        [(LoraComponent::TextEncoder, &self.text_encoder)]
            .into_iter()
            .chain(second.map(|encoder| (LoraComponent::TextEncoder2, encoder)))
    }

    /// The path of a parameter below the text encoder that it is a part of, given its path in a model.
    pub fn path_below_encoder(path: &str) -> Option<&str> {
        let in_text = path.strip_prefix(Self::PLACE)?.strip_prefix('.')?;
        in_text.split_once('.').map(|(_, below)| below)
    }

    /// The same encoders, frozen, with fresh low-rank adapters, which alone train. Values and ids of these follow from `seed`,
    /// `name`, and each layer's path.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`], [`NetsError::TargetPattern`], [`NetsError::NoTargets`].
    pub fn with_named_lora(
        &self,
        config: &LoraConfig,
        seed: u64,
        name: &str,
    ) -> Result<Self, NetsError> {
        let mut adapted = self.clone().no_grad();
        let targets = match config.targets.is_empty() {
            true => vec![DEFAULT_TARGETS.to_owned()],
            false => config.targets.clone(),
        };
        adapted.for_each_encoder(|component, encoder| {
            lora::detach(encoder);
            let name = format!("{name}.{}", component.name());
            lora::attach(encoder, config, &targets, seed, &name).map(drop)
        })?;
        Ok(adapted)
    }

    /// The same encoders without adapters: what they compute is added to the weights.
    pub fn merge_lora(&self) -> Self {
        let mut merged = self.clone();
        lora::merge(&mut merged.text_encoder);
        merged.text_encoder_2.iter_mut().for_each(lora::merge);
        merged
    }

    /// The encoders with the rows of `learned` at the end of their token tables: the same ids now stand in these.
    pub(crate) fn with_words(mut self, learned: [Option<&LearnedTokens>; 2]) -> Self {
        let encoders = [Some(&mut self.text_encoder), self.text_encoder_2.as_mut()];
        for (encoder, learned) in encoders.into_iter().zip(learned) {
            if let (Some(encoder), Some(learned)) = (encoder, learned) {
                let table = &mut encoder.text_model.embeddings.token_embedding;
                append_rows(table, learned.weight.val());
            }
        }
        self
    }

    fn for_each_encoder(
        &mut self,
        mut change: impl FnMut(LoraComponent, &mut ClipTextModel) -> Result<(), NetsError>,
    ) -> Result<(), NetsError> {
        change(LoraComponent::TextEncoder, &mut self.text_encoder)?;
        match &mut self.text_encoder_2 {
            Some(encoder) => change(LoraComponent::TextEncoder2, encoder),
            None => Ok(()),
        }
    }

    /// Where the encoders are in a model.
    pub(crate) const PLACE: &str = "pipeline_text";
}
