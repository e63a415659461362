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

/// Frequencies of a box's coordinates: `100^(k / 8)`.
const FREQUENCIES: usize = 8;
/// Sine and cosine of each of four coordinates at each frequency.
const POSITION_FEATURES: usize = FREQUENCIES * 2 * 4;
/// Whatever the network, the reference has this many.
const HIDDEN_SIZE: usize = 512;

/// Makes tokens of boxes and what they hold: diffusers' `GLIGENTextBoundingboxProjection`.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a network has one of these, and a box would show in every use"
)]
pub enum PositionNet {
    /// `attention_type: gated`.
    Text(TextPositionNet),
    /// `attention_type: gated-text-image`.
    TextImage(TextImagePositionNet),
}

/// Makes one token of each box and its phrase.
#[derive(Module, Debug)]
pub struct TextPositionNet {
    /// Of phrase and box.
    pub linears: BoxLayers,
    /// Stands for the phrase of an empty slot, `[positive_len]`.
    pub null_positive_feature: Param<Tensor<1>>,
    /// Stands for the box of an empty slot, `[64]`.
    pub null_position_feature: Param<Tensor<1>>,
}

/// Makes two tokens of each box: of its phrase, and of a picture of what it holds.
#[derive(Module, Debug)]
pub struct TextImagePositionNet {
    /// Of phrase and box.
    pub linears_text: BoxLayers,
    /// Of picture and box.
    pub linears_image: BoxLayers,
    /// Stands for the phrase of a box that has none, `[positive_len]`.
    pub null_text_feature: Param<Tensor<1>>,
    /// Stands for the picture of a box that has none, `[positive_len]`.
    pub null_image_feature: Param<Tensor<1>>,
    /// Stands for the box of an empty slot, `[64]`.
    pub null_position_feature: Param<Tensor<1>>,
}

/// Linear, SiLU, linear, SiLU, linear; activations are here for their places in the list, which files count.
pub type BoxLayers = (Linear, Identity, Linear, Identity, Linear);

impl PositionNet {
    /// `reads_images`: for `attention_type: gated-text-image`.
    pub(crate) fn new(
        init: &ParameterInit,
        positive_len: usize,
        out_dim: usize,
        reads_images: bool,
    ) -> Self {
        let layers = |name: &str| {
            let init = init.at(name);
            let from = positive_len + POSITION_FEATURES;
            (
                Linear::new(&init.at(0), from, HIDDEN_SIZE),
                Identity::new(),
                Linear::new(&init.at(2), HIDDEN_SIZE, HIDDEN_SIZE),
                Identity::new(),
                Linear::new(&init.at(4), HIDDEN_SIZE, out_dim),
            )
        };
        let null = |name: &str, features| init.constant(name, [features], 0.0);
        let null_position_feature = null("null_position_feature", POSITION_FEATURES);
        match reads_images {
            false => Self::Text(TextPositionNet {
                linears: layers("linears"),
                null_positive_feature: null("null_positive_feature", positive_len),
                null_position_feature,
            }),
            true => Self::TextImage(TextImagePositionNet {
                linears_text: layers("linears_text"),
                linears_image: layers("linears_image"),
                null_text_feature: null("null_text_feature", positive_len),
                null_image_feature: null("null_image_feature", positive_len),
                null_position_feature,
            }),
        }
    }

    /// The tokens of all phrases, and behind them, where the network reads pictures, those of all pictures.
    ///
    /// # Shapes
    /// - result: `[batch, boxes, cross_attention_dim]`, or `[batch, 2 * boxes, cross_attention_dim]`
    pub fn forward(&self, gligen: &GligenConditioning) -> Tensor<3> {
        match self {
            Self::Text(net) => net.forward(gligen),
            Self::TextImage(net) => net.forward(gligen),
        }
    }
}

impl TextPositionNet {
    fn forward(&self, gligen: &GligenConditioning) -> Tensor<3> {
        let masks = &gligen.masks;
        let positions = positions(gligen, &self.null_position_feature);
        let phrases = gligen.positive_embeddings.clone();
        let phrases = or_null(phrases, masks, &self.null_positive_feature);
        tokens(&self.linears, phrases, positions)
    }
}

impl TextImagePositionNet {
    fn forward(&self, gligen: &GligenConditioning) -> Tensor<3> {
        let positions = positions(gligen, &self.null_position_feature);
        let phrases_masks = match &gligen.images {
            Some(images) => &images.phrases_masks,
            None => &gligen.masks,
        };
        let phrases = gligen.positive_embeddings.clone();
        let phrases = or_null(phrases, phrases_masks, &self.null_text_feature);
        let images = match &gligen.images {
            Some(images) => or_null(
                images.image_embeddings.clone(),
                &images.image_masks,
                &self.null_image_feature,
            ),
            None => {
                let null = self.null_image_feature.val().unsqueeze::<3>();
                null.expand(phrases.dims())
            }
        };
        let of_phrases = tokens(&self.linears_text, phrases, positions.clone());
        let of_images = tokens(&self.linears_image, images, positions);
        Tensor::cat(vec![of_phrases, of_images], 1)
    }
}

/// `values` where the mask is 1, `null` where it is 0.
///
/// # Shapes
/// - `values`, result: `[batch, boxes, features]`; `masks`: `[batch, boxes]`; `null`: `[features]`
fn or_null(values: Tensor<3>, masks: &Tensor<2>, null: &Param<Tensor<1>>) -> Tensor<3> {
    let masks = masks.clone().unsqueeze_dim::<3>(2);
    let empty = masks.clone().neg() + 1.0;
    values * masks + empty * null.val().unsqueeze::<3>()
}

fn positions(gligen: &GligenConditioning, null: &Param<Tensor<1>>) -> Tensor<3> {
    or_null(fourier(gligen.boxes.clone()), &gligen.masks, null)
}

fn tokens(layers: &BoxLayers, features: Tensor<3>, positions: Tensor<3>) -> Tensor<3> {
    let (first, _, second, _, third) = layers;
    let hidden = kernels::silu(first.forward(Tensor::cat(vec![features, positions], 2)));
    third.forward(kernels::silu(second.forward(hidden)))
}

/// Sines and cosines of the coordinates, ordered by frequency, then sine and cosine, then coordinate.
fn fourier(boxes: Tensor<3>) -> Tensor<3> {
    let [batch, count, _] = boxes.dims();
    let frequencies: Vec<f32> = (0..FREQUENCIES)
        .map(|k| 100f32.powf(k as f32 / FREQUENCIES as f32))
        .collect();
    let frequencies = TensorData::new(frequencies, [1, 1, FREQUENCIES, 1, 1]);
    let frequencies = Tensor::<5>::from_data(frequencies, &boxes.device()).cast(boxes.dtype());
    let angles = boxes.reshape([batch, count, 1, 1, 4]) * frequencies;
    Tensor::cat(vec![angles.clone().sin(), angles.cos()], 3).reshape([
        batch,
        count,
        POSITION_FEATURES,
    ])
}

impl ForEachLinear for PositionNet {
    fn for_each_linear(&mut self, path: &str, visit: LinearVisitor<'_>) {
        let lists = match self {
            Self::Text(net) => vec![("linears", &mut net.linears)],
            Self::TextImage(net) => vec![
                ("linears_text", &mut net.linears_text),
                ("linears_image", &mut net.linears_image),
            ],
        };
        for (name, (first, _, second, _, third)) in lists {
            for (place, linear) in [(0, first), (2, second), (4, third)] {
                linear.for_each_linear(&format!("{path}.{name}.{place}"), &mut *visit);
            }
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
