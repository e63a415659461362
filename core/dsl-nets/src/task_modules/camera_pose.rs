//! Numbers of a camera, added to the timestep embedding (Shi et al. 2023, MVDream).

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use super::CameraPoseConfig;
use crate::layers::Linear;
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// Linear, SiLU, linear; the last layer starts at zero, so that a fresh one changes nothing.
#[derive(Module, Debug)]
pub struct CameraPoseEmbedding {
    /// `[numbers] -> [time_embed_dim]`.
    pub linear_1: Linear,
    /// `[time_embed_dim] -> [time_embed_dim]`.
    pub linear_2: Linear,
}

impl_for_each_linear!(CameraPoseEmbedding { linear_1, linear_2 });

impl CameraPoseEmbedding {
    pub(crate) fn new(
        init: &ParameterInit,
        config: &CameraPoseConfig,
        time_embed_dim: usize,
    ) -> Self {
        Self {
            linear_1: Linear::new(&init.at("linear_1"), config.numbers, time_embed_dim),
            linear_2: Linear::zeros(&init.at("linear_2"), time_embed_dim, time_embed_dim),
        }
    }

    /// # Shapes
    /// - `camera_pose`: `[batch, numbers]`; result: `[batch, time_embed_dim]`
    pub fn forward(&self, camera_pose: Tensor<2>) -> Tensor<2> {
        self.linear_2
            .forward(kernels::silu(self.linear_1.forward(camera_pose)))
    }
}
