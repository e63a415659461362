//! Timestep embeddings: sinusoids, and the two linear layers after them.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use dsl_kernels as kernels;

use crate::layers::Linear;
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// Sinusoids of the timestep: angles `timestep * exp(-ln(10000) k / (half - freq_shift))`, Ho et al. 2020, as diffusers has them.
#[derive(Debug, Clone)]
pub struct Timesteps {
    frequencies: Vec<f32>,
    flip_sin_to_cos: bool,
}

impl Timesteps {
    /// `channels` features, an even number: half sines, half cosines.
    pub fn new(channels: usize, flip_sin_to_cos: bool, freq_shift: f64) -> Self {
        let half = channels / 2;
        // In f32 and in this order, because at timestep 999 the last bit of a frequency shows.
        let scale = -(10_000f64.ln()) as f32;
        let divisor = (half as f64 - freq_shift) as f32;
        let frequencies = (0..half)
            .map(|k| (scale * k as f32 / divisor).exp())
            .collect();
        Self {
            frequencies,
            flip_sin_to_cos,
        }
    }

    /// # Shapes
    /// - `timestep`: `[batch]`; result: `[batch, channels]`
    pub fn forward(&self, timestep: Tensor<1>) -> Tensor<2> {
        let [batch] = timestep.dims();
        let half = self.frequencies.len();
        let frequencies = TensorData::new(self.frequencies.clone(), [1, half]);
        let frequencies = Tensor::<2>::from_data(frequencies, &timestep.device());
        let angles = timestep.reshape([batch, 1]) * frequencies;
        let (sin, cos) = (angles.clone().sin(), angles.cos());
        if self.flip_sin_to_cos {
            Tensor::cat(vec![cos, sin], 1)
        } else {
            Tensor::cat(vec![sin, cos], 1)
        }
    }
}

/// Linear, SiLU, linear.
#[derive(Module, Debug)]
pub struct TimestepEmbedding {
    /// `[channels] -> [time_embed_dim]`.
    pub linear_1: Linear,
    /// `[time_embed_dim] -> [time_embed_dim]`.
    pub linear_2: Linear,
}

impl_for_each_linear!(TimestepEmbedding { linear_1, linear_2 });

impl TimestepEmbedding {
    pub(crate) fn new(init: &ParameterInit, channels: usize, time_embed_dim: usize) -> Self {
        Self {
            linear_1: Linear::new(&init.at("linear_1"), channels, time_embed_dim),
            linear_2: Linear::new(&init.at("linear_2"), time_embed_dim, time_embed_dim),
        }
    }

    /// # Shapes
    /// - `sinusoids`: `[batch, channels]`; result: `[batch, time_embed_dim]`
    pub fn forward(&self, sinusoids: Tensor<2>) -> Tensor<2> {
        self.linear_2
            .forward(kernels::silu(self.linear_1.forward(sinusoids)))
    }
}
