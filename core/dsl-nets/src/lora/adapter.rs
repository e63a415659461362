//! One adapter, its configuration, and attaching it to the layers that a pattern names.

use burn::module::{Module, Param};
use burn::tensor::{Distribution, Tensor};
use dsl_kernels as kernels;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ForEachLinear;
use crate::error::NetsError;
use crate::parameter_init::ParameterInit;

/// How the down projection A starts; B always starts at zero, so that a fresh adapter changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoraInit {
    /// Kaiming-uniform with a = √5: U(-1/√d_input, 1/√d_input).
    #[default]
    KaimingUniform,
    /// N(0, 1/rank²).
    Gaussian,
}

/// Which layers get an adapter, and of what size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the product B A.
    pub rank: usize,
    /// The adapter's output is multiplied by `alpha / rank`.
    pub alpha: f64,
    /// Share of the adapter's inputs set to zero while training, 0..1.
    ///
    /// The mask comes from the device's own generator: seed the device in each step where runs must be repeatable.
    pub dropout: f64,
    /// Regular expressions; a linear layer or convolution is adapted when one is found in its path
    /// (`down_blocks.0.….attn1.to_q`, `….conv1`). Empty: the attention projections of a UNet, every linear layer of an MLP.
    pub targets: Vec<String>,
    /// How A starts.
    pub init: LoraInit,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 8.0,
            dropout: 0.0,
            targets: Vec::new(),
            init: LoraInit::default(),
        }
    }
}

impl LoraConfig {
    /// # Errors
    /// [`NetsError::InvalidConfig`] for a rank of 0, a dropout outside 0..1, or an alpha that is not finite.
    pub fn validate(&self) -> Result<(), NetsError> {
        if self.rank == 0 {
            return Err(NetsError::config(
                "rank",
                self.rank,
                "it must be at least 1",
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(NetsError::config(
                "dropout",
                self.dropout,
                "it must be at least 0 and less than 1",
            ));
        }
        if !self.alpha.is_finite() {
            return Err(NetsError::config(
                "alpha",
                self.alpha,
                "it must be a finite number",
            ));
        }
        Ok(())
    }
}

/// The two thin matrices of one adapted layer.
#[derive(Module, Debug)]
pub struct LoraAdapter {
    /// A, `[d_input, rank]`; weight files hold the transpose under `lora_A.weight`.
    pub lora_a: Param<Tensor<2>>,
    /// B, `[rank, d_output]`; weight files hold the transpose under `lora_B.weight`.
    pub lora_b: Param<Tensor<2>>,
    #[module(skip)]
    pub(crate) scale: f64,
    #[module(skip)]
    pub(crate) dropout: f64,
}

impl LoraAdapter {
    pub(super) fn new(
        init: &ParameterInit,
        config: &LoraConfig,
        [d_input, d_output]: [usize; 2],
    ) -> Self {
        let shape = [d_input, config.rank];
        let lora_a = match config.init {
            LoraInit::KaimingUniform => init.uniform("lora_a", shape, (d_input as f64).powf(-0.5)),
            LoraInit::Gaussian => init.normal("lora_a", shape, 1.0 / config.rank as f64),
        };
        Self {
            lora_a,
            lora_b: init.constant("lora_b", [config.rank, d_output], 0.0),
            scale: config.alpha / config.rank as f64,
            dropout: config.dropout,
        }
    }

    /// `alpha / rank`.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// # Shapes
    /// - `x`: `[.., d_input]`; result: `[.., d_output]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let x = drop_inputs(x, self.dropout);
        let down = kernels::linear(x, self.lora_a.val(), None);
        let up = kernels::linear(down, self.lora_b.val(), None);
        self.scaled(up)
    }

    /// From a picture to tokens.
    ///
    /// # Shapes
    /// - `x`: `[batch, d_input, height, width]`; result: `[batch, height * width, d_output]`
    pub fn forward_from_pixels(&self, x: Tensor<4>) -> Tensor<3> {
        let x = drop_inputs(x, self.dropout);
        let down = kernels::linear_from_pixels(x, self.lora_a.val(), None);
        let up = kernels::linear(down, self.lora_b.val(), None);
        self.scaled(up)
    }

    /// From tokens to a picture.
    ///
    /// # Shapes
    /// - `tokens`: `[batch, size[0] * size[1], d_input]`; result: `[batch, d_output, size[0], size[1]]`
    pub fn forward_to_pixels(&self, tokens: Tensor<3>, size: [usize; 2]) -> Tensor<4> {
        let tokens = drop_inputs(tokens, self.dropout);
        let down = kernels::linear(tokens, self.lora_a.val(), None);
        let up = kernels::linear_to_pixels(down, self.lora_b.val(), None, size);
        self.scaled(up)
    }

    /// The same over the channels of a picture.
    ///
    /// # Shapes
    /// - `x`: `[batch, d_input, height, width]`; result: `[batch, d_output, height, width]`
    pub fn forward_pixels(&self, x: Tensor<4>) -> Tensor<4> {
        let x = drop_inputs(x, self.dropout);
        let kernel = |matrix: Tensor<2>| {
            let [d_input, d_output] = matrix.dims();
            matrix.transpose().reshape([d_output, d_input, 1, 1])
        };
        let down = kernels::conv2d(x, kernel(self.lora_a.val()), None, 1, 0);
        let up = kernels::conv2d(down, kernel(self.lora_b.val()), None, 1, 0);
        self.scaled(up)
    }

    /// What the adapter adds to the layer's weight, `[d_input, d_output]`.
    pub fn delta(&self) -> Tensor<2> {
        let product = self.lora_a.val().matmul(self.lora_b.val());
        product.mul_scalar(self.scale)
    }

    fn scaled<const D: usize>(&self, up: Tensor<D>) -> Tensor<D> {
        if self.scale == 1.0 {
            up
        } else {
            up * self.scale
        }
    }
}

/// Sets a share of the inputs to zero while training, and scales the others up.
pub(super) fn drop_inputs<const D: usize>(x: Tensor<D>, dropout: f64) -> Tensor<D> {
    if dropout == 0.0 || !x.device().is_autodiff() {
        return x;
    }
    let keep = 1.0 - dropout;
    let mask = Tensor::random(x.dims(), Distribution::Bernoulli(keep), &x.device());
    x * mask / keep
}

/// Attaches a fresh adapter to every layer that `targets` names; values and ids follow from `seed`, `name` and the layer's
/// path.
pub(crate) fn attach(
    network: &mut impl ForEachLinear,
    config: &LoraConfig,
    targets: &[String],
    seed: u64,
    name: &str,
) -> Result<usize, NetsError> {
    config.validate()?;
    let patterns = targets
        .iter()
        .map(|pattern| {
            Regex::new(pattern).map_err(|source| NetsError::TargetPattern {
                pattern: pattern.clone(),
                source,
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut adapted = 0;
    let mut example = String::new();
    network.for_each_linear("", &mut |path, mut layer| {
        if example.is_empty() || path.ends_with("to_q") {
            example = path.to_owned();
        }
        if patterns.iter().any(|pattern| pattern.is_match(path)) {
            layer.attach(config, seed, name, path);
            adapted += 1;
        }
    });
    if adapted == 0 {
        return Err(NetsError::NoTargets {
            targets: targets.to_vec(),
            example,
        });
    }
    Ok(adapted)
}

/// Takes the adapters away, those in the base excepted.
pub(crate) fn detach(network: &mut impl ForEachLinear) {
    network.for_each_linear("", &mut |_, mut layer| layer.detach());
}

/// Adds what the adapters compute to the weights, and takes them away.
pub(crate) fn merge(network: &mut impl ForEachLinear) {
    network.for_each_linear("", &mut |_, mut layer| layer.merge());
}

/// Whether every adapter still adds exactly zero (every B is 0).
pub(crate) fn is_at_identity(network: &mut impl ForEachLinear) -> bool {
    let mut identity = true;
    network.for_each_linear("", &mut |_, layer| {
        identity &= layer.largest_b().is_none_or(|largest| largest == 0.0);
    });
    identity
}
