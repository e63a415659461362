//! Any denoising network behind one type.

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::conditioning::{CameraEstimate, Conditioning};
use crate::error::NetsError;
use crate::lora::{self, ForEachLinear, LinearVisitor, LoraConfig};
use crate::mlp_denoiser::{MlpConfig, MlpDenoiser};
use crate::parameter_init::ParameterInit;
use crate::parameters;
use crate::task_modules::TaskModulesConfig;
use crate::unet_2d_condition::{AttentionType, UNet2DCondition, UNet2DConditionConfig};

/// Which network, and its shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(
    clippy::large_enum_variant,
    reason = "there are a few of these in a process, and a box would show in every use"
)]
pub enum DenoiserConfig {
    /// Pictures with text.
    Unet(UNet2DConditionConfig),
    /// Vectors.
    Mlp(MlpConfig),
}

impl DenoiserConfig {
    /// Builds the network with fresh values, which follow from `init`'s seed and the parameters' paths alone.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] when the fields do not fit together.
    pub fn init(&self, init: &ParameterInit) -> Result<Denoiser, NetsError> {
        Ok(match self {
            Self::Unet(config) => Denoiser::Unet(UNet2DCondition::new(config, init)?),
            Self::Mlp(config) => Denoiser::Mlp(MlpDenoiser::new(config, init)?),
        })
    }

    /// The same network with the layers that a task adds, in the place of those that it has. `in_channels` grows by
    /// `concat_channels`.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for layers that do not fit the network, and for a network that is no UNet.
    pub fn with_task_modules(&self, modules: TaskModulesConfig) -> Result<Self, NetsError> {
        match self {
            Self::Unet(base) => {
                let mut config = base.clone();
                let own =
                    base.in_channels - base.task_modules.concat_channels.min(base.in_channels);
                // Of a base that has such channels without calling them so, such as zero123's, the number is already right.
                let is_right = own == base.out_channels + modules.concat_channels;
                config.in_channels = if is_right {
                    own
                } else {
                    own + modules.concat_channels
                };
                config.task_modules = modules;
                config.validate()?;
                Ok(Self::Unet(config))
            }
            Self::Mlp(_) if modules.is_empty() => Ok(self.clone()),
            Self::Mlp(_) => Err(Self::no_unet("task_modules", modules)),
        }
    }

    /// The same network with GLIGEN's layers for boxes.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a network that is no UNet.
    pub fn with_grounding(&self) -> Result<Self, NetsError> {
        match self {
            Self::Unet(base) if base.attention_type.is_gated() => Ok(self.clone()),
            Self::Unet(base) => Ok(Self::Unet(UNet2DConditionConfig {
                attention_type: AttentionType::Gated,
                ..base.clone()
            })),
            Self::Mlp(_) => Err(Self::no_unet("attention_type", AttentionType::Gated)),
        }
    }

    fn no_unet(field: &str, found: impl Serialize) -> NetsError {
        NetsError::config(
            field,
            found,
            "only a network of `kind: unet` has such layers",
        )
    }

    /// Features of the text that the network attends to; `None` for a network without text.
    pub fn cross_attention_dim(&self) -> Option<usize> {
        match self {
            Self::Unet(config) => Some(config.cross_attention_dim.at(0)),
            Self::Mlp(_) => None,
        }
    }
}

/// A network that predicts from x_t, a timestep and conditioning.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are a few of these in a process, and a box would show in every use"
)]
pub enum Denoiser {
    /// Pictures with text.
    Unet(UNet2DCondition),
    /// Vectors.
    Mlp(MlpDenoiser),
}

impl ForEachLinear for Denoiser {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        match self {
            Self::Unet(unet) => unet.for_each_linear(path, visit),
            Self::Mlp(mlp) => mlp.for_each_linear(path, visit),
        }
    }
}

impl Denoiser {
    /// Predicts noise, velocity or x_0, whichever the network was trained for.
    ///
    /// # Shapes
    /// - `x_t`, result: `[batch, channels, height, width]`; vectors travel as `[batch, features, 1, 1]`
    /// - `timestep`: `[batch]`, or `[1]` for the whole batch; integers in `0..num_train_timesteps`, stored as floats
    ///
    /// # Panics
    /// When a UNet is called without what [`Self::check_conditioning`] asks for, or tensors do not have these shapes: both are
    /// mistakes of the caller, not of a user.
    pub fn forward(
        &self,
        x_t: Tensor<4>,
        timestep: Tensor<1>,
        conditioning: &Conditioning,
    ) -> Tensor<4> {
        // For callers who sample; training steps see to their threads themselves.
        kernels::together_on(&x_t.clone(), || match self {
            Self::Unet(unet) => unet.forward(x_t, timestep, conditioning),
            Self::Mlp(mlp) => mlp.forward(x_t, timestep),
        })
    }

    /// As [`Self::forward`], with what a network with `camera_regression` takes the conditioning picture's camera to be.
    ///
    /// # Panics
    /// As [`Self::forward`].
    pub fn forward_with_camera(
        &self,
        x_t: Tensor<4>,
        timestep: Tensor<1>,
        conditioning: &Conditioning,
    ) -> (Tensor<4>, Option<CameraEstimate>) {
        match self {
            Self::Unet(unet) => unet.forward_with_camera(x_t, timestep, conditioning),
            Self::Mlp(mlp) => (mlp.forward(x_t, timestep), None),
        }
    }

    /// Whether `conditioning` has every part that this network reads.
    ///
    /// # Errors
    /// [`NetsError::MissingConditioning`] names the part.
    pub fn check_conditioning(&self, conditioning: &Conditioning) -> Result<(), NetsError> {
        match self {
            Self::Unet(unet) => unet.check_conditioning(conditioning),
            Self::Mlp(_) => Ok(()),
        }
    }

    /// The same network with its own parameters frozen and fresh low-rank adapters, the only parameters that train.
    ///
    /// Until it is trained, the result computes exactly what `self` computes. Adapters that `self` has are dropped, those in
    /// its base ([`Self::with_lora_in_base`]) excepted.
    ///
    /// # Errors
    /// [`NetsError::InvalidConfig`], [`NetsError::TargetPattern`], [`NetsError::NoTargets`].
    pub fn with_lora(&self, config: &LoraConfig, seed: u64) -> Result<Self, NetsError> {
        self.with_named_lora(config, seed, "")
    }

    /// As [`Self::with_lora`]. Two sets of adapters of one network have the same parameter ids and fresh values unless
    /// their names differ.
    ///
    /// # Errors
    /// As [`Self::with_lora`].
    pub fn with_named_lora(
        &self,
        config: &LoraConfig,
        seed: u64,
        name: &str,
    ) -> Result<Self, NetsError> {
        let mut adapted = self.without_lora().no_grad();
        let targets = if config.targets.is_empty() {
            self.default_lora_targets()
        } else {
            config.targets.clone()
        };
        let layers = lora::attach(&mut adapted, config, &targets, seed, name)?;
        tracing::debug!(layers, rank = config.rank, "attached low-rank adapters");
        Ok(adapted)
    }

    /// The network without adapters; its parameters stay as trainable as they are.
    pub fn without_lora(&self) -> Self {
        let mut bare = self.clone();
        lora::detach(&mut bare);
        bare
    }

    /// The same network, its adapters as part of the base: frozen, and below those that [`Self::with_lora`] attaches.
    pub fn with_lora_in_base(&self) -> Self {
        let mut based = self.clone().no_grad();
        based.for_each_linear("", &mut |_, mut layer| layer.move_to_base());
        based
    }

    /// The same network without adapters: what they compute is added to the weights, `W + (alpha / rank) B A`.
    pub fn merge_lora(&self) -> Self {
        let mut merged = self.clone();
        lora::merge(&mut merged);
        merged
    }

    /// The layers that are adapted when a configuration names none: the attention projections of a UNet, those of tasks' modules
    /// among them, or every layer of an MLP.
    pub fn default_lora_targets(&self) -> Vec<String> {
        let pattern = match self {
            Self::Unet(_) => {
                r"\.(attn[12]|fuser\.attn|attn_mv|depth_attentions\.\d+|attentions\.\d+\.attn)\.to_(q|k|v|out|out\.0)$"
            }
            Self::Mlp(_) => r"^layers\.\d+$",
        };
        vec![pattern.to_owned()]
    }

    /// Whether the adapters, if there are any, still add exactly zero. Reads their values from the device.
    pub fn is_at_identity(&self) -> bool {
        lora::is_at_identity(&mut self.clone())
    }

    /// Residual blocks per block of a UNet, by which the original code counts its layers; 0 for other networks.
    pub(crate) fn layers_per_block(&self) -> usize {
        match self {
            Self::Unet(unet) => unet.layers_per_block(),
            Self::Mlp(_) => 0,
        }
    }

    /// Whether the network has adapters.
    pub fn has_lora(&self) -> bool {
        self.lora_parameter_count() > 0
    }

    /// Number of elements in all adapters.
    pub fn lora_parameter_count(&self) -> usize {
        parameters::count_adapter(self)
    }
}
