//! What the engine trains on: plain tensors, whoever made them.

use burn::tensor::{Device, Tensor, TensorData};

use crate::conditions::Conditions;
use crate::error::EngineError;

/// Samples of one micro-batch, as plain data: made on any thread, moved to the device by the trainer.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Clean samples, `[rows, channels, height, width]`, float32; pixels in −1..1. Vectors have height and width 1.
    pub x_0: TensorData,
    /// What the networks are told of each row.
    pub conditions: Conditions,
    /// Rows of `x_0` that belong to one object (views of a scene), 1 elsewhere. Losses are per object.
    pub views: usize,
    /// Parts of an object's rows that have a timestep each, such as 2 for colour and normals; 1 elsewhere.
    pub domains: usize,
}

impl Samples {
    /// Samples of one row each.
    pub fn new(x_0: TensorData, conditions: Conditions) -> Self {
        Self {
            x_0,
            conditions,
            views: 1,
            domains: 1,
        }
    }

    /// Number of rows of `x_0`.
    pub fn len(&self) -> usize {
        self.x_0.shape().first().copied().unwrap_or(0)
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows that share a timestep.
    pub(crate) fn rows_per_timestep(&self) -> usize {
        (self.views / self.domains.max(1)).max(1)
    }

    pub(crate) fn x_0(&self, device: &Device) -> Tensor<4> {
        Tensor::from_data(self.x_0.clone(), device)
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
