//! Settings of the DSL objective. Each names what the paper says and what is taken where it says nothing.

use dsl_nets::LoraConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::objective::ConfigProblem;

/// Discrepancy-aware score learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DslConfig {
    /// Weight of the hinge in Eq. 2. The paper uses 0.05 throughout. At 1 or more Eq. 2 has no interior optimum.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub lambda: f64,
    /// Steps over which lambda rises linearly from 0 after the discriminator is made. 0 (the paper): constant.
    pub lambda_warmup_steps: u64,
    /// Steps of plain DSM before the discriminator is made as a copy of the generator. The paper fine-tunes
    /// pre-trained models (0); from scratch a warm-up gives the discriminator something to start from.
    pub warmup_dsm_steps: u64,
    /// The margin `m` of Eq. 2.
    pub margin: MarginConfig,
    /// How the hinge of Eq. 2 is taken over a batch.
    pub hinge: HingeConfig,
    /// The generator's loss, Eq. 3.
    pub generator: GeneratorConfig,
    /// The discriminator network and its optimiser.
    pub discriminator: DiscriminatorConfig,
    /// Who moves when.
    pub update: UpdateConfig,
}

impl Default for DslConfig {
    fn default() -> Self {
        Self {
            lambda: 0.05,
            lambda_warmup_steps: 0,
            warmup_dsm_steps: 0,
            margin: MarginConfig::default(),
            hinge: HingeConfig::default(),
            generator: GeneratorConfig::default(),
            discriminator: DiscriminatorConfig::default(),
            update: UpdateConfig::default(),
        }
    }
}

/// The margin `m`: "the mean error", found by "inference on the training dataset every five epochs".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MarginConfig {
    /// Which mean error. The paper does not say; `gen_error` is the generator's own.
    pub source: MarginSource,
    /// The margin itself when `source` is `constant`, in units of the reduced squared error.
    #[schemars(range(min = 0.0))]
    pub value: Option<f64>,
    /// Epochs between two margin passes. The paper: 5.
    #[schemars(range(min = 1))]
    pub every_epochs: u64,
    /// Steps between two margin passes; takes the place of `every_epochs` where set.
    #[schemars(range(min = 1))]
    pub every_steps: Option<u64>,
    /// Whether a margin pass runs before the first DSL step. Without one the margin is 0 until the first is due.
    pub at_start: bool,
    /// Most samples of a margin pass; a larger set is represented by a fixed random choice of this many.
    #[schemars(range(min = 1))]
    pub max_samples: u64,
    /// Draws of (timestep, noise) per sample.
    #[schemars(range(min = 1, max = 1000))]
    pub draws: u64,
    /// How the timesteps of the draws are chosen.
    pub timesteps: TimestepStrategy,
    /// Number of equal timestep ranges with a margin each. The paper has one scalar; the error varies a hundredfold
    /// over timesteps.
    #[schemars(range(min = 1, max = 100))]
    pub bins: usize,
    /// Share of the old margin that is kept at an update, 0 (the paper) to below 1.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub ema: f64,
    /// Factor on the measured error. The paper finds 0.9 to 1.1 indistinguishable.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub scale: f64,
}

impl Default for MarginConfig {
    fn default() -> Self {
        Self {
            source: MarginSource::GenError,
            value: None,
            every_epochs: 5,
            every_steps: None,
            at_start: true,
            max_samples: 5_000,
            draws: 1,
            timesteps: TimestepStrategy::Stratified,
            bins: 1,
            ema: 0.0,
            scale: 1.0,
        }
    }
}

/// Which error the margin is the mean of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MarginSource {
    /// `||eps_G - eps||^2`
    #[default]
    GenError,
    /// `||eps_phi - eps||^2`
    DiscError,
    /// `||eps_phi - eps_G||^2`: the scale on which the hinge can switch off.
    Gap,
    /// `margin.value`
    Constant,
}

/// How the timesteps of a margin pass are drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimestepStrategy {
    /// Independently, as in training.
    Uniform,
    /// One in each of as many equal ranges as there are draws: the same expectation, less variance.
    #[default]
    Stratified,
}

/// The hinge `max(0, m - ||eps_phi - eps_G||^2)`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HingeConfig {
    /// What is compared with the margin. In Eq. 2 the maximum stands inside the expectation: per sample.
    pub granularity: HingeGranularity,
    /// What a sample is in multi-view tasks.
    pub group: HingeGroup,
}

/// What is compared with the margin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HingeGranularity {
    /// Each sample's squared distance, then the mean over samples.
    #[default]
    Sample,
    /// The batch's mean squared distance.
    Batch,
    /// Each element's squared difference, then the mean.
    Element,
}

/// What counts as one sample for the hinge and the margin where a sample has several views.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HingeGroup {
    /// An object: the mean over its views.
    #[default]
    Object,
    /// Each view by itself.
    View,
}

/// The generator's loss.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorConfig {
    /// Weight of an added DSM term `||eps_G - eps||^2`. Eq. 3 has none (0).
    #[schemars(range(min = 0.0))]
    pub dsm_weight: f64,
    /// Whether the generator feels the hinge. Eq. 3 has none; Eq. 9 differentiates one.
    pub hinge: GeneratorHinge,
}

/// Readings of Eq. 9, which gives the generator a hinge gradient that Eq. 3 does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeneratorHinge {
    /// Eq. 3 as it is printed.
    #[default]
    Off,
    /// The sign of Eq. 9 as printed: `1 + lambda` times the pull towards the discriminator where the hinge is active.
    Toward,
    /// The derivative as it follows from Eq. 2: `1 - lambda` times the pull where the hinge is active.
    Literal,
}

/// The discriminator `eps_phi`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DiscriminatorConfig {
    /// What is trained: adapters on a frozen copy of the generator (the paper), or a full copy (from scratch).
    pub trainable: DiscriminatorTrainable,
    /// The adapters, where `trainable` is `lora`.
    pub lora: LoraConfig,
    /// Whether layers that the task adds are trained in the discriminator's copy too, beside the adapters.
    pub train_task_modules: bool,
    /// Which weights the copy has.
    pub base: DiscriminatorBase,
    /// Epochs between two refreshes of the base, where `base` is `refresh`.
    #[schemars(range(min = 1))]
    pub refresh_every_epochs: u64,
    /// Whether the copy keeps what the generator does not train in the generator's memory.
    pub share_base: ShareBase,
    /// Peak learning rate. Absent: 1e-4 for adapters, the generator's for a full copy. Follows the generator's
    /// schedule.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: Option<f64>,
    /// Decoupled weight decay of AdamW.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Largest global gradient norm; null switches clipping off.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub max_grad_norm: Option<f64>,
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        Self {
            trainable: DiscriminatorTrainable::Lora,
            lora: LoraConfig::default(),
            train_task_modules: false,
            base: DiscriminatorBase::Initial,
            refresh_every_epochs: 5,
            share_base: ShareBase::Auto,
            learning_rate: None,
            weight_decay: 0.0,
            max_grad_norm: Some(1.0),
        }
    }
}

impl DiscriminatorConfig {
    /// The peak learning rate in force, given the generator's.
    pub fn peak_learning_rate(&self, generator: f64) -> f64 {
        self.learning_rate.unwrap_or(match self.trainable {
            DiscriminatorTrainable::Lora => 1e-4,
            DiscriminatorTrainable::Full => generator,
        })
    }
}

/// What of the discriminator is trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiscriminatorTrainable {
    /// Low-rank adapters on a frozen copy of the generator (Sec. 3.1).
    #[default]
    Lora,
    /// All weights of the copy.
    Full,
}

/// Which weights the discriminator's copy of the generator has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiscriminatorBase {
    /// The generator's when DSL starts, for good ("a frozen copy").
    #[default]
    Initial,
    /// The generator's moving average when DSL starts (needs `train.ema.decay`).
    Ema,
    /// The generator's, taken anew every `refresh_every_epochs`; adapters and own task modules are kept, and a full copy
    /// starts anew.
    Refresh,
}

/// Where the discriminator's frozen weights are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShareBase {
    /// Parameters that neither network trains are in memory once. A generator of adapters alone so has one base and two
    /// sets of adapters.
    #[default]
    Auto,
    /// In memory of their own. The numbers are the same; for measurements.
    Never,
}

/// Who moves when, in one training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateConfig {
    /// Order of the two updates.
    pub order: UpdateOrder,
    /// Discriminator updates per step, all on the step's batch.
    #[schemars(range(min = 1, max = 100))]
    pub d_steps: u32,
    /// Generator updates per step, all on the step's batch.
    #[schemars(range(min = 1, max = 100))]
    pub g_steps: u32,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            order: UpdateOrder::DThenG,
            d_steps: 1,
            g_steps: 1,
        }
    }
}

/// Order of the two updates of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateOrder {
    /// The discriminator moves, then the generator learns from its new output: one discriminator forward more.
    #[default]
    DThenG,
    /// Both gradients are taken at the old weights: one forward of each network.
    Simultaneous,
}

impl DslConfig {
    /// Combinations that the schema cannot rule out.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut found = Vec::new();
        match (self.margin.source, self.margin.value) {
            (MarginSource::Constant, None) => found.push(ConfigProblem::new(
                "margin.value",
                "`margin.source: constant` needs a margin",
                "set `objective.margin.value`, for example 1.0",
            )),
            (source, Some(_)) if source != MarginSource::Constant => {
                found.push(ConfigProblem::new(
                    "margin.value",
                    "`margin.value` is read only with `margin.source: constant`",
                    "remove it, or set `objective.margin.source: constant`",
                ))
            }
            _ => {}
        }
        if self.update.order == UpdateOrder::Simultaneous
            && (self.update.d_steps > 1 || self.update.g_steps > 1)
        {
            found.push(ConfigProblem::new(
                "update.order",
                "simultaneous updates take one step each",
                "set `d_steps` and `g_steps` to 1, or `order: d_then_g`",
            ));
        }
        found
    }
}
