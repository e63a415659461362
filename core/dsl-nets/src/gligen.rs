//! GLIGEN's layers (Li et al. 2023, arXiv 2301.07093): tokens of boxes, and the gated attention that reads them.

use burn::module::{Module, Param};
use burn::nn::Identity;
use burn::tensor::{Tensor, TensorData};
use dsl_kernels as kernels;

use crate::attention::{Attention, FeedForward};
use crate::conditioning::GligenConditioning;
use crate::layers::{LayerNorm, Linear, Scalar};
use crate::lora::{ForEachLinear, LinearVisitor, impl_for_each_linear};
use crate::parameter_init::ParameterInit;

/// Makes one token of each box and its phrase.
#[derive(Module, Debug)]
pub struct PositionNet {
    /// Linear, SiLU, linear, SiLU, linear; activations are here for their places in the list, which files count.
    pub linears: (Linear, Identity, Linear, Identity, Linear),
    /// Stands for the phrase of an empty slot, `[positive_len]`.
    pub null_positive_feature: Param<Tensor<1>>,
    /// Stands for the box of an empty slot, `[64]`.
    pub null_position_feature: Param<Tensor<1>>,
}

impl PositionNet {
    /// Frequencies of a box's coordinates: `100^(k / 8)`.
    const FREQUENCIES: usize = 8;
    /// Sine and cosine of each of four coordinates at each frequency.
    const POSITION_FEATURES: usize = Self::FREQUENCIES * 2 * 4;
    /// Whatever the network, the reference has this many.
    const HIDDEN_SIZE: usize = 512;

    pub(crate) fn new(init: &ParameterInit, positive_len: usize, out_dim: usize) -> Self {
        let linears = init.at("linears");
        let (from, hidden) = (positive_len + Self::POSITION_FEATURES, Self::HIDDEN_SIZE);
        Self {
            linears: (
                Linear::new(&linears.at(0), from, hidden),
                Identity::new(),
                Linear::new(&linears.at(2), hidden, hidden),
                Identity::new(),
                Linear::new(&linears.at(4), hidden, out_dim),
            ),
            null_positive_feature: init.constant("null_positive_feature", [positive_len], 0.0),
            null_position_feature: init.constant(
                "null_position_feature",
                [Self::POSITION_FEATURES],
                0.0,
            ),
        }
    }

    /// # Shapes
    /// - result: `[batch, boxes, cross_attention_dim]`
    pub fn forward(&self, gligen: &GligenConditioning) -> Tensor<3> {
        let masks = gligen.masks.clone().unsqueeze_dim::<3>(2);
        let empty = masks.clone().neg() + 1.0;
        let or_null = |values: Tensor<3>, null: &Param<Tensor<1>>| {
            values * masks.clone() + empty.clone() * null.val().unsqueeze::<3>()
        };
        let positions = or_null(
            Self::fourier(gligen.boxes.clone()),
            &self.null_position_feature,
        );
        let phrases = or_null(
            gligen.positive_embeddings.clone(),
            &self.null_positive_feature,
        );
        let (first, _, second, _, third) = &self.linears;
        let hidden = kernels::silu(first.forward(Tensor::cat(vec![phrases, positions], 2)));
        third.forward(kernels::silu(second.forward(hidden)))
    }

    /// Sines and cosines of the coordinates, ordered by frequency, then sine and cosine, then coordinate.
    fn fourier(boxes: Tensor<3>) -> Tensor<3> {
        let [batch, count, _] = boxes.dims();
        let frequencies: Vec<f32> = (0..Self::FREQUENCIES)
            .map(|k| 100f32.powf(k as f32 / Self::FREQUENCIES as f32))
            .collect();
        let frequencies = TensorData::new(frequencies, [1, 1, Self::FREQUENCIES, 1, 1]);
        let frequencies = Tensor::<5>::from_data(frequencies, &boxes.device()).cast(boxes.dtype());
        let angles = boxes.reshape([batch, count, 1, 1, 4]) * frequencies;
        Tensor::cat(vec![angles.clone().sin(), angles.cos()], 3).reshape([
            batch,
            count,
            Self::POSITION_FEATURES,
        ])
    }
}

impl ForEachLinear for PositionNet {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        let (first, _, second, _, third) = &mut self.linears;
        for (place, linear) in [(0, first), (2, second), (4, third)] {
            linear.for_each_linear(&format!("{path}.linears.{place}"), &mut *visit);
        }
    }
}

/// Self attention of a picture's tokens over themselves and the boxes' tokens, weighted by gates that start closed.
#[derive(Module, Debug)]
pub struct GatedSelfAttentionDense {
    /// `[cross_attention_dim] -> [channels]`.
    pub linear: Linear,
    /// Over both kinds of tokens.
    pub attn: Attention,
    /// Feed-forward.
    pub ff: FeedForward,
    /// Before `attn`.
    pub norm1: LayerNorm,
    /// Before `ff`.
    pub norm2: LayerNorm,
    /// The attention counts `tanh(alpha_attn)`.
    pub alpha_attn: Scalar,
    /// The feed-forward layer counts `tanh(alpha_dense)`.
    pub alpha_dense: Scalar,
}

impl_for_each_linear!(GatedSelfAttentionDense { linear, attn, ff });

impl GatedSelfAttentionDense {
    pub(crate) fn new(
        init: &ParameterInit,
        channels: usize,
        cross_attention_dim: usize,
        heads: usize,
    ) -> Self {
        Self {
            linear: Linear::new(&init.at("linear"), cross_attention_dim, channels),
            attn: Attention::new(&init.at("attn"), channels, channels, heads),
            ff: FeedForward::new(&init.at("ff"), channels),
            norm1: LayerNorm::new(&init.at("norm1"), channels),
            norm2: LayerNorm::new(&init.at("norm2"), channels),
            alpha_attn: Scalar::new(&init.at("alpha_attn"), 0.0),
            alpha_dense: Scalar::new(&init.at("alpha_dense"), 0.0),
        }
    }

    /// # Shapes
    /// - `x`, result: `[batch, tokens, channels]`; `objects`: `[batch, boxes, cross_attention_dim]`
    pub fn forward(&self, x: Tensor<3>, objects: &Tensor<3>) -> Tensor<3> {
        let tokens = x.dims()[1];
        let gate = |alpha: &Scalar| alpha.val().tanh().unsqueeze::<3>();
        let objects = self.linear.forward(objects.clone());
        let all = self.norm1.forward(Tensor::cat(vec![x.clone(), objects], 1));
        let seen = self.attn.forward(all.clone(), all).narrow(1, 0, tokens);
        let x = x + seen * gate(&self.alpha_attn);
        let dense = self.ff.forward(self.norm2.forward(x.clone()));
        x + dense * gate(&self.alpha_dense)
    }
}
