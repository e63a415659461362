//! The configuration of [`UNet2DCondition`](super::UNet2DCondition), with the field names of diffusers' `config.json`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config_format::{ConfigFormat, NeutralOption};
use crate::error::NetsError;
use crate::task_modules::TaskModulesConfig;

/// One value for all blocks, or one per block, down blocks first to last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// The same everywhere.
    One(usize),
    /// One value per block.
    Many(Vec<usize>),
}

impl OneOrMany {
    /// The value of block `index`, counted along the down path.
    pub(crate) fn at(&self, index: usize) -> usize {
        match self {
            Self::One(value) => *value,
            Self::Many(values) => values[index],
        }
    }

    fn values(&self) -> &[usize] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// A block of the down path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DownBlockType {
    /// Residual blocks, each followed by a transformer.
    CrossAttnDownBlock2D,
    /// Residual blocks alone.
    DownBlock2D,
}

/// The block in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MidBlockType {
    /// Residual block, transformer, residual block.
    UNetMidBlock2DCrossAttn,
}

/// A block of the up path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpBlockType {
    /// Residual blocks, each followed by a transformer.
    CrossAttnUpBlock2D,
    /// Residual blocks alone.
    UpBlock2D,
}

/// What is added to the timestep embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AdditionEmbedType {
    /// SDXL: pooled text features and sizes.
    TextTime,
}

/// How class labels are added to the timestep embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassEmbedType {
    /// unCLIP: features of a picture through two linear layers.
    Projection,
}

/// What transformer blocks are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttentionType {
    /// Self attention and cross attention.
    #[default]
    Default,
    /// GLIGEN: gated layers for boxes between them.
    Gated,
    /// The same, and boxes may hold pictures beside phrases: one token for each.
    #[serde(rename = "gated-text-image")]
    GatedTextImage,
}

impl AttentionType {
    /// Whether there are gated layers for boxes.
    pub fn is_gated(self) -> bool {
        self != Self::Default
    }
}

/// Shape of a [`UNet2DCondition`](super::UNet2DCondition).
///
/// Names, meanings and defaults are those of diffusers' `UNet2DConditionModel`, so that a `config.json` written there can be
/// read by [`from_diffusers_json`](Self::from_diffusers_json). Options for which there is no layer here are refused with a reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UNet2DConditionConfig {
    /// Height and width that the network was made for; any size works, this is for information.
    pub sample_size: Option<usize>,
    /// Channels of x_t.
    pub in_channels: usize,
    /// Channels of the prediction.
    pub out_channels: usize,
    /// Maps the input from 0..1 to -1..1 first.
    pub center_input_sample: bool,
    /// Puts the cosines before the sines in the timestep embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies: `exp(-ln(10000) k / (half - freq_shift))`.
    pub freq_shift: f64,
    /// The down path.
    pub down_block_types: Vec<DownBlockType>,
    /// The middle.
    pub mid_block_type: MidBlockType,
    /// The up path.
    pub up_block_types: Vec<UpBlockType>,
    /// Channels of each down block.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks per down block; up blocks have one more.
    pub layers_per_block: OneOrMany,
    /// Zero padding of the strided convolutions between blocks.
    pub downsample_padding: usize,
    /// Groups of every group norm; divides every number of channels.
    pub norm_num_groups: usize,
    /// Added to the variance in residual blocks and before the last convolution. Transformers always use 1e-6.
    pub norm_eps: f64,
    /// Features of `encoder_hidden_states`.
    pub cross_attention_dim: OneOrMany,
    /// Transformer blocks in each transformer.
    pub transformer_layers_per_block: OneOrMany,
    /// **Number** of attention heads, in spite of its name, unless `num_attention_heads` is given.
    pub attention_head_dim: OneOrMany,
    /// Number of attention heads.
    pub num_attention_heads: Option<OneOrMany>,
    /// Stores the projections around transformers as linear layers instead of 1×1 convolutions.
    pub use_linear_projection: bool,
    /// Asks for attention scores in 32 bits; here they always are.
    pub upcast_attention: bool,
    /// Features of the timestep embedding; four times the first block's channels when absent.
    pub time_embedding_dim: Option<usize>,
    /// Kernel of the first convolution.
    pub conv_in_kernel: usize,
    /// Kernel of the last convolution.
    pub conv_out_kernel: usize,
    /// What is added to the timestep embedding: `text_time` in SDXL.
    pub addition_embed_type: Option<AdditionEmbedType>,
    /// Sinusoids of each of SDXL's six sizes; an even number.
    pub addition_time_embed_dim: Option<usize>,
    /// How class labels are added to the timestep embedding: `projection` in unCLIP.
    pub class_embed_type: Option<ClassEmbedType>,
    /// Features that `addition_embed_type` or `class_embed_type` brings.
    pub projection_class_embeddings_input_dim: Option<usize>,
    /// What transformer blocks are made of: `gated` in GLIGEN, `gated-text-image` in the one that also takes pictures.
    pub attention_type: AttentionType,
    /// Layers that a task adds. Not an option of diffusers; left out of files where there are none.
    #[serde(skip_serializing_if = "TaskModulesConfig::is_empty")]
    pub task_modules: TaskModulesConfig,
}

impl Default for UNet2DConditionConfig {
    fn default() -> Self {
        use {DownBlockType as Down, UpBlockType as Up};
        Self {
            sample_size: None,
            in_channels: 4,
            out_channels: 4,
            center_input_sample: false,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: vec![
                Down::CrossAttnDownBlock2D,
                Down::CrossAttnDownBlock2D,
                Down::CrossAttnDownBlock2D,
                Down::DownBlock2D,
            ],
            mid_block_type: MidBlockType::UNetMidBlock2DCrossAttn,
            up_block_types: vec![
                Up::UpBlock2D,
                Up::CrossAttnUpBlock2D,
                Up::CrossAttnUpBlock2D,
                Up::CrossAttnUpBlock2D,
            ],
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: OneOrMany::One(2),
            downsample_padding: 1,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: OneOrMany::One(1280),
            transformer_layers_per_block: OneOrMany::One(1),
            attention_head_dim: OneOrMany::One(8),
            num_attention_heads: None,
            use_linear_projection: false,
            upcast_attention: false,
            time_embedding_dim: None,
            conv_in_kernel: 3,
            conv_out_kernel: 3,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            class_embed_type: None,
            projection_class_embeddings_input_dim: None,
            attention_type: AttentionType::Default,
            task_modules: TaskModulesConfig::default(),
        }
    }
}

/// Options of diffusers that must have this neutral value, and what is missing otherwise.
fn neutral_options() -> Vec<NeutralOption> {
    let adds = "its extra embedding layers are not built";
    vec![
        (
            "act_fn",
            vec![json!("silu"), json!("swish")],
            "the activation is always silu",
        ),
        ("class_embeddings_concat", vec![json!(false)], adds),
        (
            "cross_attention_norm",
            vec![Value::Null],
            "keys and values are not normalised",
        ),
        (
            "dropout",
            vec![json!(0), json!(0.0)],
            "residual blocks have no dropout",
        ),
        (
            "dual_cross_attention",
            vec![json!(false)],
            "only single cross attention is built",
        ),
        (
            "encoder_hid_dim",
            vec![Value::Null],
            "text features are used as they are",
        ),
        (
            "encoder_hid_dim_type",
            vec![Value::Null],
            "text features are used as they are",
        ),
        (
            "mid_block_only_cross_attention",
            vec![Value::Null, json!(false)],
            "transformers always have self attention",
        ),
        (
            "mid_block_scale_factor",
            vec![json!(1), json!(1.0)],
            "residual sums are not scaled",
        ),
        ("num_class_embeds", vec![Value::Null], adds),
        (
            "only_cross_attention",
            vec![json!(false)],
            "transformers always have self attention",
        ),
        (
            "resnet_out_scale_factor",
            vec![json!(1), json!(1.0)],
            "residual sums are not scaled",
        ),
        (
            "resnet_skip_time_act",
            vec![json!(false)],
            "the timestep embedding is always activated",
        ),
        (
            "resnet_time_scale_shift",
            vec![json!("default")],
            "the timestep embedding is only added",
        ),
        (
            "reverse_transformer_layers_per_block",
            vec![Value::Null],
            "the up path mirrors the down path",
        ),
        ("time_cond_proj_dim", vec![Value::Null], adds),
        (
            "time_embedding_act_fn",
            vec![Value::Null],
            "the timestep embedding ends in a linear layer",
        ),
        (
            "time_embedding_type",
            vec![json!("positional")],
            "only the sinusoidal timestep embedding is built",
        ),
        (
            "timestep_post_act",
            vec![Value::Null],
            "the timestep embedding ends in a linear layer",
        ),
    ]
}

impl UNet2DConditionConfig {
    /// How a UNet's `config.json` is read.
    pub(crate) fn file_format() -> ConfigFormat {
        ConfigFormat {
            what: "the UNet's config.json",
            classes: &["UNet2DConditionModel"],
            neutral: neutral_options(),
            without_effect: &["addition_embed_type_num_heads"],
        }
    }

    /// Reads a `config.json` as diffusers writes it.
    ///
    /// # Errors
    /// [`NetsError::UnsupportedOption`] for an option that changes the architecture in a way that is not implemented, and for
    /// one that is not known at all; [`NetsError::InvalidConfig`] for values that contradict each other.
    pub fn from_diffusers_json(text: &str) -> Result<Self, NetsError> {
        let config: Self = Self::file_format().read(text)?;
        config.validate()?;
        Ok(config)
    }

    /// A `config.json` that diffusers reads.
    pub fn to_diffusers_json(&self) -> String {
        Self::file_format().write(self, &Map::new())
    }

    /// Checks that the fields fit together.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] naming the first field that does not fit, and why.
    pub fn validate(&self) -> Result<(), NetsError> {
        let blocks = self.block_out_channels.len();
        if blocks == 0 {
            return Err(NetsError::config(
                "block_out_channels",
                &self.block_out_channels,
                "at least one block is needed",
            ));
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
            ("layers_per_block", &self.layers_per_block),
            ("cross_attention_dim", &self.cross_attention_dim),
            (
                "transformer_layers_per_block",
                &self.transformer_layers_per_block,
            ),
            (self.heads_field(), self.heads()),
        ] {
            if matches!(value, OneOrMany::Many(values) if values.len() != blocks) {
                let reason = format!("give one number, or one for each of the {blocks} blocks");
                return Err(NetsError::config(field, value, reason));
            }
            if value.values().contains(&0) {
                return Err(NetsError::config(field, value, "it must be at least 1"));
            }
        }
        for (field, value) in [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
            ("norm_num_groups", self.norm_num_groups),
            ("time_embedding_dim", self.time_embedding_dim.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(NetsError::config(field, value, "it must be at least 1"));
            }
        }
        for (index, &channels) in self.block_out_channels.iter().enumerate() {
            if channels == 0 || channels % self.norm_num_groups != 0 {
                let reason = format!(
                    "every entry must be a multiple of norm_num_groups = {}",
                    self.norm_num_groups
                );
                return Err(NetsError::config("block_out_channels", channels, reason));
            }
            let heads = self.heads().at(index);
            if self.attends(index) && channels % heads != 0 {
                let reason = format!(
                    "it is the number of heads and must divide the block's {channels} channels"
                );
                return Err(NetsError::config(self.heads_field(), heads, reason));
            }
        }
        if !self.block_out_channels[0].is_multiple_of(2) {
            return Err(NetsError::config(
                "block_out_channels",
                self.block_out_channels[0],
                "the first entry must be even",
            ));
        }
        for (field, kernel) in [
            ("conv_in_kernel", self.conv_in_kernel),
            ("conv_out_kernel", self.conv_out_kernel),
        ] {
            if kernel % 2 == 0 {
                return Err(NetsError::config(field, kernel, "it must be odd"));
            }
        }
        if self.downsample_padding != 1 {
            return Err(NetsError::config(
                "downsample_padding",
                self.downsample_padding,
                "only 1 is supported",
            ));
        }
        if self.norm_eps <= 0.0 || !self.norm_eps.is_finite() {
            return Err(NetsError::config(
                "norm_eps",
                self.norm_eps,
                "it must be positive",
            ));
        }
        let half = self.block_out_channels[0] as f64 / 2.0;
        if self.freq_shift >= half || !self.freq_shift.is_finite() {
            return Err(NetsError::config(
                "freq_shift",
                self.freq_shift,
                "it must be less than half the first block's channels",
            ));
        }
        self.validate_added()?;
        self.task_modules.validate(self)
    }

    /// Whether some block at the size of down block `index` has transformers.
    fn attends(&self, index: usize) -> bool {
        let last = self.block_out_channels.len() - 1;
        index == last
            || self.down_block_types[index] == DownBlockType::CrossAttnDownBlock2D
            || self.up_block_types[last - index] == UpBlockType::CrossAttnUpBlock2D
    }

    /// Checks the features that are added to the timestep embedding.
    fn validate_added(&self) -> Result<(), NetsError> {
        let added = self.addition_embed_type.is_some();
        let features = self.projection_class_embeddings_input_dim;
        if (added || self.class_embed_type.is_some()) && features.unwrap_or(0) == 0 {
            return Err(NetsError::config(
                "projection_class_embeddings_input_dim",
                features,
                "addition_embed_type and class_embed_type need the number of features that they bring",
            ));
        }
        let sinusoids = self.addition_time_embed_dim;
        if added && !sinusoids.is_some_and(|n| n > 0 && n.is_multiple_of(2)) {
            return Err(NetsError::config(
                "addition_time_embed_dim",
                sinusoids,
                "addition_embed_type needs an even number of sinusoids",
            ));
        }
        if added && self.class_embed_type.is_some() {
            return Err(NetsError::config(
                "class_embed_type",
                self.class_embed_type,
                "only one of it and addition_embed_type can be used: they share their number of features",
            ));
        }
        Ok(())
    }

    /// Number of heads per block, in diffusers' misleading field or in the later one.
    pub(crate) fn heads(&self) -> &OneOrMany {
        self.num_attention_heads
            .as_ref()
            .unwrap_or(&self.attention_head_dim)
    }

    fn heads_field(&self) -> &'static str {
        if self.num_attention_heads.is_some() {
            "num_attention_heads"
        } else {
            "attention_head_dim"
        }
    }

    /// Features of the timestep embedding.
    pub(crate) fn time_embed_dim(&self) -> usize {
        self.time_embedding_dim
            .unwrap_or(self.block_out_channels[0] * 4)
    }
}
