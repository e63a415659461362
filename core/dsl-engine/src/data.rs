//! What the engine trains on: plain tensors, whoever made them.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use dsl_nets::{AddedConditioning, Conditioning};

use crate::error::EngineError;

/// Samples of one micro-batch, as plain data: made on any thread, moved to the device by the trainer.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Clean samples, `[batch, channels, height, width]`, float32; pixels in −1..1. Vectors have height and width 1.
    pub x_0: TensorData,
    /// Token ids of the captions, `[batch, tokens]`, int64; dropped captions are already the empty caption's. `None`
    /// for networks without text, or whose text was encoded before.
    pub token_ids: Option<TensorData>,
    /// What was encoded before training, for networks whose text encoders are not trained along.
    pub features: Option<Features>,
    /// Rows of `x_0` that belong to one object (views of a scene), 1 elsewhere.
    pub views: usize,
}

impl Samples {
    /// Number of rows of `x_0`.
    pub fn len(&self) -> usize {
        self.x_0.shape().first().copied().unwrap_or(0)
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn x_0(&self, device: &Device) -> Tensor<4> {
        Tensor::from_data(self.x_0.clone(), device)
    }

    pub(crate) fn token_ids(&self, device: &Device) -> Option<Tensor<2, Int>> {
        self.token_ids
            .clone()
            .map(|ids| Tensor::from_data(ids, device))
    }
}

/// Conditioning made by frozen encoders, as plain data.
#[derive(Debug, Clone)]
pub struct Features {
    /// Text features for cross-attention, `[batch, tokens, cross_attention_dim]`, float32.
    pub encoder_hidden_states: TensorData,
    /// What SDXL adds to the timestep embedding.
    pub added: Option<AddedFeatures>,
}

/// SDXL's part of [`Features`], see [`dsl_nets::AddedConditioning`].
#[derive(Debug, Clone)]
pub struct AddedFeatures {
    /// Pooled text features, `[batch, projection_dim]`, float32.
    pub text_embeds: TensorData,
    /// Original height and width, top and left of the crop, target height and width, in pixels: `[batch, 6]`, float32.
    pub time_ids: TensorData,
}

impl Features {
    /// As networks take it, on `device` (and its graph), the text in the number format `dtype`.
    pub fn conditioning(&self, device: &Device, dtype: DType) -> Conditioning {
        let text = Tensor::<3>::from_data(self.encoder_hidden_states.clone(), device);
        let mut conditioning = Conditioning::text(text.cast(dtype));
        conditioning.added = self.added.as_ref().map(|added| AddedConditioning {
            text_embeds: Tensor::<2>::from_data(added.text_embeds.clone(), device).cast(dtype),
            time_ids: Tensor::from_data(added.time_ids.clone(), device),
        });
        conditioning
    }
}

/// A set that can be read by index, without augmentation and without dropped conditions: for margin passes and
/// validation.
pub trait SampleSource {
    /// Number of samples.
    fn len(&self) -> u64;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples at `indices`, in this order.
    ///
    /// # Errors
    /// Whatever the source of the data reports, as [`EngineError::Data`].
    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError>;
}
