//! An estimate of the conditioning picture's camera, made in the middle of a network and used by its second half (Li et al.
//! 2024, Era3D, arXiv 2405.11616, section 3.4).

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use super::MultiViewConfig;
use crate::conditioning::CameraEstimate;
use crate::embeddings::TimestepEmbedding;
use crate::layers::Linear;
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// Two small networks over the middle block's features, and the embedding of what they say.
#[derive(Module, Debug)]
pub struct CameraRegression {
    /// Estimates the elevation in radians.
    pub elevation_regressor: CameraRegressor,
    /// Estimates 24 mm over the focal length.
    pub focal_regressor: CameraRegressor,
    /// From sines and cosines of both estimates to the timestep embedding's features.
    pub camera_embedding: TimestepEmbedding,
    #[module(skip)]
    multi_view: MultiViewConfig,
}

impl_for_each_linear!(CameraRegression {
    elevation_regressor,
    focal_regressor,
    camera_embedding
});

impl CameraRegression {
    /// Sine and cosine of each estimate.
    const NUMBERS: usize = 4;

    /// For a middle block of `channels` features.
    pub(crate) fn new(
        init: &ParameterInit,
        multi_view: &MultiViewConfig,
        channels: usize,
        time_embed_dim: usize,
    ) -> Self {
        let regressor =
            |name: &str| CameraRegressor::new(&init.at(name), multi_view.domains, channels);
        let embedding = init.at("camera_embedding");
        let mut camera_embedding =
            TimestepEmbedding::new(&embedding, Self::NUMBERS, time_embed_dim);
        camera_embedding.linear_2.bias = Some(embedding.at("linear_2").constant(
            "bias",
            [time_embed_dim],
            0.0,
        ));
        Self {
            elevation_regressor: regressor("elevation_regressor"),
            focal_regressor: regressor("focal_regressor"),
            camera_embedding,
            multi_view: multi_view.clone(),
        }
    }

    /// The estimate of each object, and its embedding, the same for all rows of an object. No gradient reaches `features`.
    ///
    /// # Shapes
    /// - `features`, the middle block's output: `[batch, channels, height, width]`; embedding: `[batch, time_embed_dim]`
    pub(crate) fn forward(&self, features: &Tensor<4>) -> (CameraEstimate, Tensor<2>) {
        let [batch, channels, _, _] = features.dims();
        let MultiViewConfig { views, domains, .. } = self.multi_view;
        let objects = self.multi_view.objects(batch);
        let pooled = features
            .clone()
            .detach()
            .flatten::<3>(2, 3)
            .mean_dim(2)
            .reshape([objects, domains, views, channels])
            .swap_dims(1, 2)
            .reshape([objects * views, domains * channels]);
        let over_views = |regressor: &CameraRegressor| {
            let of_views = regressor.forward(pooled.clone());
            of_views.reshape([objects, views]).mean_dim(1)
        };
        let elevation = over_views(&self.elevation_regressor);
        let inverse_focal = over_views(&self.focal_regressor);
        let angles = Tensor::cat(vec![elevation.clone(), inverse_focal.clone()], 1);
        let numbers = Tensor::cat(vec![angles.clone().sin(), angles.cos()], 1);
        let embedding = self.camera_embedding.forward(numbers);
        let embedded = embedding.dims()[1];
        let rows = self.multi_view.rows();
        let embedding = embedding
            .reshape([objects, 1, embedded])
            .expand([objects, rows, embedded])
            .reshape([batch, embedded]);
        let estimate = CameraEstimate {
            elevation: elevation.reshape([objects]),
            inverse_focal: inverse_focal.reshape([objects]),
        };
        (estimate, embedding)
    }
}

/// Linear, SiLU, three residual blocks, linear to one number.
#[derive(Module, Debug)]
pub struct CameraRegressor {
    /// `[domains * channels] -> [channels]`.
    pub linear_in: Linear,
    /// Three.
    pub blocks: Vec<ResidualMlp>,
    /// `[channels] -> [1]`.
    pub linear_out: Linear,
}

impl_for_each_linear!(CameraRegressor {
    linear_in,
    blocks,
    linear_out
});

impl CameraRegressor {
    const BLOCKS: usize = 3;

    fn new(init: &ParameterInit, domains: usize, channels: usize) -> Self {
        let blocks = init.at("blocks");
        Self {
            linear_in: Linear::new(&init.at("linear_in"), domains * channels, channels),
            blocks: (0..Self::BLOCKS)
                .map(|i| ResidualMlp::new(&blocks.at(i), channels))
                .collect(),
            linear_out: Linear::new(&init.at("linear_out"), channels, 1),
        }
    }

    /// # Shapes
    /// - `pooled`: `[views, domains * channels]`; result: `[views, 1]`
    pub fn forward(&self, pooled: Tensor<2>) -> Tensor<2> {
        let mut hidden = kernels::silu(self.linear_in.forward(pooled));
        for block in &self.blocks {
            hidden = block.forward(hidden);
        }
        self.linear_out.forward(hidden)
    }
}

/// `silu(x + linear_2(silu(linear_1(x))))`.
#[derive(Module, Debug)]
pub struct ResidualMlp {
    /// `[channels] -> [channels]`.
    pub linear_1: Linear,
    /// `[channels] -> [channels]`.
    pub linear_2: Linear,
}

impl_for_each_linear!(ResidualMlp { linear_1, linear_2 });

impl ResidualMlp {
    fn new(init: &ParameterInit, channels: usize) -> Self {
        Self {
            linear_1: Linear::new(&init.at("linear_1"), channels, channels),
            linear_2: Linear::new(&init.at("linear_2"), channels, channels),
        }
    }

    /// # Shapes
    /// - `x`, result: `[.., channels]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = kernels::silu(self.linear_1.forward(x.clone()));
        kernels::silu(x + self.linear_2.forward(hidden))
    }
}
