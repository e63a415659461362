//! What the engine trains on: plain tensors, whoever made them.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::error::EngineError;

/// Samples of one micro-batch, as plain data: made on any thread, moved to the device by the trainer.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Clean samples, `[batch, channels, height, width]`, float32; pixels in −1..1. Vectors have height and width 1.
    pub x_0: TensorData,
    /// Token ids of the captions, `[batch, tokens]`, int64; dropped captions are already the empty caption's. `None`
    /// for networks without text.
    pub token_ids: Option<TensorData>,
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
