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

    /// The bucket of a sample: those of one bucket have one shape, and only they may be asked for together.
    fn bucket_of(&self, index: u64) -> u32 {
        let _ = index;
        0
    }

    /// Steps that see every sample once, in batches of one bucket.
    fn batches_per_epoch(&self, batch_size: usize) -> u64 {
        self.len().div_ceil(batch_size.max(1) as u64)
    }

    /// The samples at `indices`, in this order; all are of one bucket.
    ///
    /// # Errors
    /// Whatever the source of the data reports, as [`EngineError::Data`].
    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError>;
}

/// `indices` in the order of their buckets, each bucket's as they came, and cut into parts of at most `batch_size` that are
/// of one bucket. Where there is one bucket, they are `indices` as they came.
pub(crate) fn in_buckets(
    set: &dyn SampleSource,
    indices: Vec<u64>,
    batch_size: usize,
) -> Vec<Vec<u64>> {
    let mut indices = indices;
    indices.sort_by_key(|&index| set.bucket_of(index));
    indices
        .chunk_by(|&a, &b| set.bucket_of(a) == set.bucket_of(b))
        .flat_map(|bucket| bucket.chunks(batch_size.max(1)))
        .map(<[u64]>::to_vec)
        .collect()
}
