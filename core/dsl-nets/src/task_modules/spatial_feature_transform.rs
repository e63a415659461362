//! Spatial feature transforms: a picture scales and shifts the features of a residual block, pixel by pixel (Wang et al. 2018,
//! SFT-GAN; in diffusion models Wang et al. 2023, StableSR, equation 3).

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use super::SftNorm;
use crate::layers::{Conv2d, GroupNorm};
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// `norm(h) (1 + gamma) + beta`, where `gamma` and `beta` are 3×3 convolutions of `relu(conv3x3(features))`.
#[derive(Module, Debug)]
pub struct SpatialFeatureTransform {
    /// With [`SftNorm::Group`].
    pub norm: Option<GroupNorm>,
    /// From the picture's features to half as many.
    pub conv_shared: Conv2d,
    /// Scale.
    pub conv_gamma: Conv2d,
    /// Shift.
    pub conv_beta: Conv2d,
}

impl_for_each_linear!(SpatialFeatureTransform {
    conv_shared,
    conv_gamma,
    conv_beta
});

/// What the transforms of one network have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SftShape {
    /// Features of the picture.
    pub features: usize,
    pub norm: SftNorm,
    pub groups: usize,
    pub norm_eps: f64,
}

impl SpatialFeatureTransform {
    /// For `channels` features of a residual block. With [`SftNorm::None`], scale and shift start at zero.
    pub(crate) fn new(init: &ParameterInit, shape: SftShape, channels: usize) -> Self {
        // The reference has 128 for 256 features.
        let inner = shape.features / 2;
        let conv = |name: &str| {
            let init = init.at(name);
            match shape.norm {
                SftNorm::Group => Conv2d::new(&init, [inner, channels], 3, 1, 1),
                SftNorm::None => Conv2d::zeros(&init, [inner, channels], 3, 1, 1),
            }
        };
        Self {
            norm: (shape.norm == SftNorm::Group)
                .then(|| GroupNorm::new(&init.at("norm"), shape.groups, channels, shape.norm_eps)),
            conv_shared: Conv2d::new(&init.at("conv_shared"), [shape.features, inner], 3, 1, 1),
            conv_gamma: conv("conv_gamma"),
            conv_beta: conv("conv_beta"),
        }
    }

    /// # Shapes
    /// - `hidden`, result: `[batch, channels, height, width]`; `features`: `[batch, features, height, width]`
    pub fn forward(&self, hidden: Tensor<4>, features: Tensor<4>) -> Tensor<4> {
        let shared = activation::relu(self.conv_shared.forward(features));
        let gamma = self.conv_gamma.forward(shared.clone());
        let beta = self.conv_beta.forward(shared);
        let hidden = match &self.norm {
            Some(norm) => norm.forward(hidden),
            None => hidden,
        };
        hidden * (gamma + 1.0) + beta
    }
}
