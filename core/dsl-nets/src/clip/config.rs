//! Shapes of the text and vision towers, with the field names of transformers' `config.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use super::encoder::ClipActivation;
use super::encoder::EncoderConfig;
use crate::config_format::{ConfigFormat, NeutralOption};
use crate::error::NetsError;

/// Shape of a [`ClipTextModel`](super::ClipTextModel).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClipTextConfig {
    /// Number of tokens.
    pub vocab_size: usize,
    /// Features of each token.
    pub hidden_size: usize,
    /// Inner features of each feed-forward layer.
    pub intermediate_size: usize,
    /// Features after the projection, in models that have one.
    pub projection_dim: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of each attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Between the layers of each feed-forward layer.
    pub hidden_act: ClipActivation,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f64,
    /// Id of the padding token, for information.
    pub pad_token_id: Option<i64>,
    /// Id of the first token, for information.
    pub bos_token_id: Option<i64>,
    /// Id of the last token; 2, in old files, stands for the largest id of each text.
    pub eos_token_id: i64,
}

impl ClipTextConfig {
    /// Id of the token that ends a text; none in old files, whose 2 is wrong: transformers then takes the largest id of each
    /// text for its end.
    pub fn end_token_id(&self) -> Option<i64> {
        const LEGACY: i64 = 2;
        (self.eos_token_id != LEGACY).then_some(self.eos_token_id)
    }
}

impl Default for ClipTextConfig {
    fn default() -> Self {
        Self {
            vocab_size: 49408,
            hidden_size: 512,
            intermediate_size: 2048,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            max_position_embeddings: 77,
            hidden_act: ClipActivation::QuickGelu,
            layer_norm_eps: 1e-5,
            pad_token_id: Some(1),
            bos_token_id: Some(49406),
            eos_token_id: 49407,
        }
    }
}

/// Shape of the vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClipVisionConfig {
    /// Features of each patch.
    pub hidden_size: usize,
    /// Inner features of each feed-forward layer.
    pub intermediate_size: usize,
    /// Features after the projection, in models that have one.
    pub projection_dim: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of each attention; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Channels of the pictures.
    pub num_channels: usize,
    /// Height and width of the pictures, in pixels.
    pub image_size: usize,
    /// Height and width of a patch, in pixels.
    pub patch_size: usize,
    /// Between the layers of each feed-forward layer.
    pub hidden_act: ClipActivation,
    /// Added to the variance in every norm.
    pub layer_norm_eps: f64,
}

impl Default for ClipVisionConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            num_channels: 3,
            image_size: 224,
            patch_size: 32,
            hidden_act: ClipActivation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }
}

/// A text model, with or without a projection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// Shape of the transformer.
    pub text: ClipTextConfig,
    /// `CLIPTextModelWithProjection` rather than `CLIPTextModel`.
    pub with_projection: bool,
}

/// A vision model, with or without a projection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipVisionModelConfig {
    /// Shape of the transformer.
    pub vision: ClipVisionConfig,
    /// `CLIPVisionModelWithProjection` rather than `CLIPVisionModel`.
    pub with_projection: bool,
}

/// Both towers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipModelConfig {
    /// The text tower.
    pub text_config: ClipTextConfig,
    /// The vision tower.
    pub vision_config: ClipVisionConfig,
    /// Features that both are projected to.
    pub projection_dim: usize,
}

/// Options of transformers that say nothing about the numbers of these networks: where a file comes from, how fresh values
/// are drawn, and the defaults of its base class (generation, labels, outputs), which old files spell out.
const WITHOUT_EFFECT: &[&str] = &[
    "add_cross_attention",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_factor",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "logit_scale_init_value",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "text_config_dict",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tie_word_embeddings",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "vision_config_dict",
];

fn neutral_options() -> Vec<NeutralOption> {
    let zero = vec![json!(0.0), json!(0)];
    vec![
        (
            "attention_dropout",
            zero.clone(),
            "attention has no dropout",
        ),
        ("dropout", zero, "there is no dropout"),
    ]
}

fn format(what: &'static str, classes: &'static [&'static str]) -> ConfigFormat {
    ConfigFormat {
        what,
        classes,
        neutral: neutral_options(),
        without_effect: WITHOUT_EFFECT,
    }
}

fn parse(what: &str, text: &str) -> Result<Map<String, Value>, NetsError> {
    serde_json::from_str(text).map_err(|source| NetsError::Json {
        what: what.to_owned(),
        source,
    })
}

fn has_class(all: &Map<String, Value>, class: &str) -> bool {
    all.get("architectures")
        .and_then(Value::as_array)
        .is_some_and(|classes| classes.iter().any(|found| found == class))
}

impl ClipConfig {
    /// How a text encoder's `config.json` is read.
    pub(crate) fn file_format(with_projection: bool) -> ConfigFormat {
        let classes: &[&str] = match with_projection {
            true => &["CLIPTextModelWithProjection", "CLIPTextModel"],
            false => &["CLIPTextModel", "CLIPTextModelWithProjection"],
        };
        format("the text encoder's config.json", classes)
    }

    /// Reads a `config.json` as transformers writes it; `architectures` says whether there is a projection.
    ///
    /// # Errors
    /// [`NetsError::UnsupportedOption`] for an option that is not implemented or not known; [`NetsError::InvalidConfig`] for
    /// values that contradict each other.
    pub fn from_transformers_json(text: &str) -> Result<Self, NetsError> {
        let format = Self::file_format(false);
        let all = parse(format.what, text)?;
        let with_projection = has_class(&all, "CLIPTextModelWithProjection");
        let text: ClipTextConfig = format.read_map(all)?;
        text.validate()?;
        Ok(Self {
            text,
            with_projection,
        })
    }

    /// A `config.json` that transformers reads.
    pub fn to_transformers_json(&self) -> String {
        let class = Self::file_format(self.with_projection).classes[0];
        transformers_json(class, "clip_text_model", &self.text)
    }
}

impl ClipVisionModelConfig {
    /// Reads a `config.json` as transformers writes it; `architectures` says whether there is a projection.
    ///
    /// # Errors
    /// As [`ClipConfig::from_transformers_json`].
    pub fn from_transformers_json(text: &str) -> Result<Self, NetsError> {
        let format = format(
            "the image encoder's config.json",
            &["CLIPVisionModelWithProjection", "CLIPVisionModel"],
        );
        let all = parse(format.what, text)?;
        let with_projection = has_class(&all, "CLIPVisionModelWithProjection");
        let vision: ClipVisionConfig = format.read_map(all)?;
        vision.validate()?;
        Ok(Self {
            vision,
            with_projection,
        })
    }

    /// A `config.json` that transformers reads.
    pub fn to_transformers_json(&self) -> String {
        let class = match self.with_projection {
            true => "CLIPVisionModelWithProjection",
            false => "CLIPVisionModel",
        };
        transformers_json(class, "clip_vision_model", &self.vision)
    }
}

impl ClipModelConfig {
    /// Reads a `config.json` as transformers writes it for `CLIPModel`.
    ///
    /// # Errors
    /// As [`ClipConfig::from_transformers_json`].
    pub fn from_transformers_json(text: &str) -> Result<Self, NetsError> {
        /// The fields beside the towers.
        #[derive(Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Shared {
            projection_dim: usize,
        }
        impl Default for Shared {
            fn default() -> Self {
                Self {
                    projection_dim: 512,
                }
            }
        }
        let whole = format("CLIP's config.json", &["CLIPModel"]);
        let mut all = parse(whole.what, text)?;
        let mut tower = |name: &str| match all.remove(name) {
            Some(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let (text, vision) = (tower("text_config"), tower("vision_config"));
        let config = Self {
            text_config: format("CLIP's text_config", &["CLIPTextModel"]).read_map(text)?,
            vision_config: format("CLIP's vision_config", &["CLIPVisionModel"]).read_map(vision)?,
            projection_dim: whole.read_map::<Shared>(all)?.projection_dim,
        };
        config.text_config.validate()?;
        config.vision_config.validate()?;
        positive("projection_dim", config.projection_dim)?;
        Ok(config)
    }

    /// A `config.json` that transformers reads.
    pub fn to_transformers_json(&self) -> String {
        transformers_json("CLIPModel", "clip", self)
    }
}

fn transformers_json(class: &str, model_type: &str, config: &impl Serialize) -> String {
    let mut all = Map::from_iter([
        ("architectures".to_owned(), json!([class])),
        ("model_type".to_owned(), json!(model_type)),
        ("torch_dtype".to_owned(), json!("float32")),
    ]);
    if let Ok(Value::Object(own)) = serde_json::to_value(config) {
        all.extend(own);
    }
    format!("{:#}\n", Value::Object(all))
}

fn positive(field: &str, value: usize) -> Result<(), NetsError> {
    match value {
        0 => Err(NetsError::config(field, value, "it must be at least 1")),
        _ => Ok(()),
    }
}

fn heads_divide(features: usize, heads: usize) -> Result<(), NetsError> {
    if heads == 0 || !features.is_multiple_of(heads) {
        let reason = format!("it must divide hidden_size = {features}");
        return Err(NetsError::config("num_attention_heads", heads, reason));
    }
    Ok(())
}

impl ClipTextConfig {
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a size of 0, or heads that do not divide the features.
    pub fn validate(&self) -> Result<(), NetsError> {
        positive("vocab_size", self.vocab_size)?;
        positive("hidden_size", self.hidden_size)?;
        positive("intermediate_size", self.intermediate_size)?;
        positive("projection_dim", self.projection_dim)?;
        positive("max_position_embeddings", self.max_position_embeddings)?;
        heads_divide(self.hidden_size, self.num_attention_heads)
    }

    pub(super) fn encoder(&self) -> EncoderConfig {
        EncoderConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            activation: self.hidden_act,
            layer_norm_eps: self.layer_norm_eps,
        }
    }
}

impl ClipVisionConfig {
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a size of 0, heads that do not divide the features, or patches larger than the picture.
    pub fn validate(&self) -> Result<(), NetsError> {
        positive("hidden_size", self.hidden_size)?;
        positive("intermediate_size", self.intermediate_size)?;
        positive("projection_dim", self.projection_dim)?;
        positive("num_channels", self.num_channels)?;
        if self.patch_size == 0 || self.patch_size > self.image_size {
            let reason = format!("it must be in 1..={}, the image_size", self.image_size);
            return Err(NetsError::config("patch_size", self.patch_size, reason));
        }
        heads_divide(self.hidden_size, self.num_attention_heads)
    }

    pub(super) fn encoder(&self) -> EncoderConfig {
        EncoderConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            activation: self.hidden_act,
            layer_norm_eps: self.layer_norm_eps,
        }
    }
}
