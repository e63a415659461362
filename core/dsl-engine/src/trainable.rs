//! Which parameters of the generator are trained.
//!
//! Whatever is not trained is frozen: no gradient of it is computed, and optimiser, gradient norm, moving average and
//! checkpoints do not know it. A checkpoint then needs the frozen parameters from elsewhere, and holds their SHA-256.

use std::collections::HashSet;
use std::fmt::Write as _;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;
use dsl_nets::parameters::{parameter_infos, train_only};
use dsl_nets::{LoraConfig, LoraInit, Model, NetsError, PipelineText, TaskModule};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::EngineError;
use crate::objective::ConfigProblem;

/// Adapters of the generator are kept apart from those of the discriminator by this name.
const GENERATOR_LORA: &str = "generator";

/// Which parameters of the generator are trained; all others keep the base's values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TrainableConfig {
    /// Every parameter, of denoiser and text encoder. Of a pipeline's text encoders, which stay frozen, the new words alone.
    #[default]
    All,
    /// Fresh low-rank adapters on the denoiser (Hu et al. 2021) and, where they are asked for, on a pipeline's text encoders;
    /// nothing else.
    Lora(LoraTrainableConfig),
    /// Biases, and weights of group and layer norms, of the denoiser (BitFit, Ben Zaken et al. 2022; DiffFit, Xie et al.
    /// 2023, without its scale factors).
    BiasNorm(BiasNormConfig),
    /// Parameters by name.
    Named(NamedConfig),
    /// The layers that the task adds to the denoiser, and the embeddings of its new words: what GLIGEN, StableSR, SyncDreamer
    /// and Textual Inversion train.
    TaskModules(TaskModulesOnlyConfig),
}

/// Settings of `kind: lora`: those of the denoiser's adapters, and perhaps text encoders with adapters of their own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoraTrainableConfig {
    /// Rank of the product B A.
    pub rank: usize,
    /// The adapter's output is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Share of the adapter's inputs set to zero while training, 0..1.
    pub dropout: f64,
    /// Regular expressions; a linear layer or convolution is adapted when one is found in its path
    /// (`down_blocks.0.….attn1.to_q`, `….conv1`). Empty: the attention projections of a UNet, every linear layer of an MLP.
    pub targets: Vec<String>,
    /// How A starts.
    pub init: LoraInit,
    /// Adapters on the text encoders of a pipeline, trained along with the denoiser's; null leaves these frozen. Without
    /// `targets` all attention projections are adapted; paths are like `text_model.encoder.layers.0.self_attn.q_proj` and
    /// `….mlp.fc1`, in both encoders of SDXL.
    pub text_encoder: Option<LoraConfig>,
}

impl Default for LoraTrainableConfig {
    fn default() -> Self {
        LoraConfig::default().into()
    }
}

impl From<LoraConfig> for LoraTrainableConfig {
    fn from(denoiser: LoraConfig) -> Self {
        let LoraConfig {
            rank,
            alpha,
            dropout,
            targets,
            init,
        } = denoiser;
        Self {
            rank,
            alpha,
            dropout,
            targets,
            init,
            text_encoder: None,
        }
    }
}

impl LoraTrainableConfig {
    /// Of the denoiser's adapters.
    pub fn denoiser(&self) -> LoraConfig {
        LoraConfig {
            rank: self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            targets: self.targets.clone(),
            init: self.init,
        }
    }
}

/// Settings of `kind: task_modules`: there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TaskModulesOnlyConfig {}

/// Settings of `kind: bias_norm`: there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BiasNormConfig {}

/// Settings of `kind: named`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NamedConfig {
    /// Regular expressions; a parameter is trained when one is found in its path, such as
    /// `denoiser.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight` or `text_encoder.…`.
    pub parameters: Vec<String>,
    /// The same for the text encoders of a pipeline, which stay frozen where there are none: paths are like
    /// `text_model.encoder.layers.0.mlp.fc1.weight` and `text_model.final_layer_norm.bias`, in both encoders of SDXL.
    pub text_encoder: Vec<String>,
}

impl NamedConfig {
    fn patterns(patterns: &[String]) -> Vec<Regex> {
        let patterns = patterns.iter();
        patterns
            .filter_map(|pattern| Regex::new(pattern).ok())
            .collect()
    }
}

impl TrainableConfig {
    /// Whether nothing is frozen.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// The adapters, where those are what is trained.
    pub fn lora(&self) -> Option<&LoraTrainableConfig> {
        match self {
            Self::Lora(lora) => Some(lora),
            _ => None,
        }
    }

    /// Whether something of a pipeline's text encoders is trained, new words aside.
    pub fn trains_pipeline_text(&self) -> bool {
        match self {
            Self::Lora(lora) => lora.text_encoder.is_some(),
            Self::Named(named) => !named.text_encoder.is_empty(),
            Self::All | Self::BiasNorm(_) | Self::TaskModules(_) => false,
        }
    }

    /// Values that the schema cannot rule out; keys are below the section's own.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        match self {
            Self::All | Self::BiasNorm(_) | Self::TaskModules(_) => Vec::new(),
            Self::Lora(lora) => {
                let mut problems = lora_problems("", &lora.denoiser());
                if let Some(of_text) = &lora.text_encoder {
                    problems.extend(lora_problems("text_encoder.", of_text));
                }
                problems
            }
            Self::Named(named) if named.parameters.is_empty() && named.text_encoder.is_empty() => {
                let message = "no parameter is named, so that there is nothing to train";
                let help = "name some, for example `attn2`, or `conv_out`";
                vec![ConfigProblem::new("parameters", message, help)]
            }
            Self::Named(named) => bad_patterns("parameters", &named.parameters)
                .chain(bad_patterns("text_encoder", &named.text_encoder))
                .collect(),
        }
    }

    /// `model` with exactly these parameters in training; fresh adapters follow from `seed`.
    ///
    /// # Errors
    /// [`EngineError::Config`] where nothing is left to train; [`EngineError::Nets`] for adapters that cannot be made.
    pub(crate) fn apply(&self, model: Model, seed: u64) -> Result<Model, EngineError> {
        let is_denoiser = |path: &str| path.starts_with("denoiser.");
        let model = match self {
            Self::All => {
                let mut model = model;
                model.pipeline_text = model.pipeline_text.map(PipelineText::no_grad);
                return Ok(model.train());
            }
            Self::Lora(lora) => {
                let mut model = model.no_grad();
                let of_denoiser = lora.denoiser();
                model.denoiser =
                    (model.denoiser).with_named_lora(&of_denoiser, seed, GENERATOR_LORA)?;
                if let Some(of_text) = &lora.text_encoder {
                    let text = model.pipeline_text.as_ref().ok_or_else(no_text_encoders)?;
                    let text = text.with_named_lora(of_text, seed, GENERATOR_LORA)?;
                    model.pipeline_text = Some(text);
                }
                model
            }
            Self::BiasNorm(_) => train_only(model, |parameter| {
                is_denoiser(parameter.path) && (parameter.is_norm || parameter.is_bias())
            }),
            Self::Named(named) => {
                if self.trains_pipeline_text() && model.pipeline_text.is_none() {
                    return Err(no_text_encoders());
                }
                let patterns = NamedConfig::patterns(&named.parameters);
                let of_text = NamedConfig::patterns(&named.text_encoder);
                let is_in = |patterns: &[Regex], path: &str| {
                    patterns.iter().any(|found| found.is_match(path))
                };
                let mut found_in_text = false;
                let model = train_only(model, |parameter| {
                    let below = PipelineText::path_below_encoder(parameter.path);
                    let in_text = below.is_some_and(|below| is_in(&of_text, below));
                    found_in_text |= in_text;
                    in_text || is_in(&patterns, parameter.path)
                });
                if self.trains_pipeline_text() && !found_in_text {
                    return Err(EngineError::Config {
                        key: "model.trainable.text_encoder".to_owned(),
                        message: "it names no parameter of the text encoders".to_owned(),
                        help:
                            "parameters are named like `text_model.encoder.layers.0.mlp.fc1.weight`"
                                .to_owned(),
                    });
                }
                model
            }
            Self::TaskModules(_) => {
                let added: HashSet<String> = (model.task_modules().into_iter())
                    .flat_map(|module| module.parameters)
                    .collect();
                train_only(model, |parameter| added.contains(parameter.path))
            }
        };
        let model = model.train();
        if trained_ids(&model).is_empty() {
            return Err(EngineError::Config {
                key: "model.trainable".to_owned(),
                message:
                    "it names no parameter of these networks, so that there is nothing to train"
                        .to_owned(),
                help: "parameters are named like `denoiser.conv_in.weight`".to_owned(),
            });
        }
        check_task_modules(&model)?;
        Ok(model)
    }
}

/// Something to train of text encoders that the model does not have.
fn no_text_encoders() -> EngineError {
    EngineError::Config {
        key: "model.trainable.text_encoder".to_owned(),
        message:
            "the text encoders that it is about are those of a pipeline, and this base is none"
                .to_owned(),
        help:
            "leave `model.trainable.text_encoder` out, or set `model.base` to a pipeline's folder"
                .to_owned(),
    }
}

/// What is wrong with the settings of adapters, whose keys begin with `prefix`.
fn lora_problems(prefix: &str, lora: &LoraConfig) -> Vec<ConfigProblem> {
    let invalid = lora.validate().err().map(|error| match error {
        NetsError::InvalidConfig {
            field,
            found,
            reason,
        } => {
            let key = format!("{prefix}{field}");
            let message = format!("`{field}` cannot be {found}");
            ConfigProblem::new(&key, message, reason)
        }
        other => ConfigProblem::new(prefix, other.to_string(), "change this section"),
    });
    let targets = format!("{prefix}targets");
    let mut problems: Vec<_> = invalid.into_iter().collect();
    problems.extend(bad_patterns(&targets, &lora.targets));
    problems
}

/// Refuses layers of the task that compute nothing and would stay so, since nothing of them trains: the generator would
/// never be told what the task conditions it on, and nothing else would show it.
fn check_task_modules(model: &Model) -> Result<(), EngineError> {
    let closed = kept_closed(&model.task_modules(), model);
    if closed.is_empty() {
        return Ok(());
    }
    Err(EngineError::Config {
        key: "model.trainable".to_owned(),
        message: format!(
            "the base has no {} that compute anything, and nothing of them is trained: what the task conditions on \
             would never count",
            closed.join(", ")
        ),
        help: "set `model.trainable: {kind: task_modules}` or `{kind: all}`, or start from a model that was trained for \
               the task"
            .to_owned(),
    })
}

/// Names of those of `modules` that compute nothing and would stay so, since nothing that trains in `network`, which they are a
/// part of, can open them.
pub(crate) fn kept_closed<M: Module>(modules: &[TaskModule], network: &M) -> Vec<&'static str> {
    let trained: HashSet<String> = (parameter_infos(network).into_iter())
        .filter(|parameter| parameter.require_grad)
        .map(|parameter| parameter.path)
        .collect();
    // A bias alone adds the same to everything. An adapter opens the layer that it is on: B trains while B A is zero.
    let opens = |path: &String| {
        let adapter = path
            .strip_suffix(".weight")
            .map(|layer| format!("{layer}.lora.lora_b"));
        trained.contains(path) && !path.ends_with(".bias")
            || adapter.is_some_and(|adapter| trained.contains(&adapter))
    };
    (modules.iter())
        .filter(|module| module.has_identity() && module.at_identity)
        .filter(|module| !module.outputs.iter().any(opens))
        .map(|module| module.kind.name())
        .collect()
}

fn bad_patterns<'a>(
    key: &'a str,
    patterns: &'a [String],
) -> impl Iterator<Item = ConfigProblem> + use<'a> {
    patterns.iter().enumerate().filter_map(move |(i, pattern)| {
        let error = Regex::new(pattern).err()?.to_string();
        // The lines before show the pattern.
        let reason = error.lines().last().unwrap_or_default();
        let reason = reason.trim_start_matches("error: ");
        Some(ConfigProblem::new(
            &format!("{key}.{i}"),
            format!("`{pattern}` is not a regular expression: {reason}"),
            "a plain part of a name, such as `attn2`, is one",
        ))
    })
}

/// Ids of the parameters that train, in the order of the module. `module` must be on an autodiff device.
pub(crate) fn trained_ids<M: Module>(module: &M) -> Vec<ParamId> {
    ids(module, |trains| trains)
}

/// Ids of the parameters that do not train. `module` must be on an autodiff device.
pub(crate) fn frozen_ids<M: Module>(module: &M) -> Vec<ParamId> {
    ids(module, |trains| !trains)
}

fn ids<M: Module>(module: &M, wanted: fn(bool) -> bool) -> Vec<ParamId> {
    struct Ids {
        wanted: fn(bool) -> bool,
        found: Vec<ParamId>,
    }
    impl ModuleVisitor for Ids {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if (self.wanted)(param.is_require_grad()) {
                self.found.push(param.id);
            }
        }
    }
    let mut ids = Ids {
        wanted,
        found: Vec::new(),
    };
    module.visit(&mut ids);
    ids.found
}

/// Number of elements of the parameters that train, and of those that do not.
pub(crate) fn count<M: Module>(module: &M) -> [usize; 2] {
    struct Count([usize; 2]);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let frozen = usize::from(!param.is_require_grad());
            self.0[frozen] += param.dims().iter().product::<usize>();
        }
    }
    let mut count = Count([0; 2]);
    module.visit(&mut count);
    count.0
}

/// SHA-256 over names, shapes and values of the frozen parameters; `None` where every parameter trains.
///
/// Reads all of them from the device. `module` must be on an autodiff device.
pub(crate) fn frozen_sha256<M: Module>(module: &M) -> Option<String> {
    struct Frozen {
        path: Vec<String>,
        hasher: Sha256,
        any: bool,
    }
    impl ModuleVisitor for Frozen {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.is_require_grad() {
                return;
            }
            self.any = true;
            let name = format!("{} {:?}\n", self.path.join("."), param.dims());
            self.hasher.update(name.as_bytes());
            self.hasher
                .update(param.val().inner().into_data().as_bytes());
        }
    }
    let mut frozen = Frozen {
        path: Vec::new(),
        hasher: Sha256::new(),
        any: false,
    };
    module.visit(&mut frozen);
    frozen.any.then(|| {
        frozen
            .hasher
            .finalize()
            .iter()
            .fold(String::new(), |mut hex, byte| {
                // Writing to a string cannot fail.
                let _ = write!(hex, "{byte:02x}");
                hex
            })
    })
}
