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

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Param;
    use burn::tensor::Device;

    fn transform(norm: SftNorm, channels: usize) -> SpatialFeatureTransform {
        let shape = SftShape {
            features: 2,
            norm,
            groups: 1,
            norm_eps: 1e-5,
        };
        SpatialFeatureTransform::new(&ParameterInit::new(0, &Device::flex()), shape, channels)
    }

    fn constant(conv: &mut Conv2d, weight: f32, bias: f32) {
        let fill = |x: f32| move |values: Tensor<4>| values.full_like(x);
        conv.weight = conv.weight.clone().map(fill(weight));
        conv.bias = conv.bias.clone().map(|values| values.full_like(bias));
    }

    fn numbers(x: Tensor<4>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    #[test]
    fn one_pixel_by_hand() {
        let device = Device::flex();
        let mut sft = transform(SftNorm::None, 1);
        // Of a single pixel, a 3×3 convolution reads the middle of its kernel alone.
        let mut shared = vec![9.0; 18];
        (shared[4], shared[13]) = (0.5, -1.0);
        let shared = Tensor::<1>::from_floats(shared.as_slice(), &device).reshape([1, 2, 3, 3]);
        sft.conv_shared.weight = Param::from_tensor(shared);
        sft.conv_shared.bias = Param::from_data([0.25f32], &device);
        constant(&mut sft.conv_gamma, 2.0, 0.1);
        constant(&mut sft.conv_beta, -1.0, 0.0);
        let run = |features: [f32; 2]| {
            let features = Tensor::<1>::from_floats(features, &device).reshape([1, 2, 1, 1]);
            numbers(sft.forward(Tensor::full([1, 1, 1, 1], 3.0, &device), features))[0]
        };
        // relu(0.5 · 2 − 0.5 + 0.25) = 0.75; gamma 1.6, beta −0.75.
        assert!((run([2.0, 0.5]) - (3.0 * 2.6 - 0.75)).abs() < 1e-5);
        // relu of a negative number: gamma 0.1, beta 0.
        assert!((run([-2.0, 0.5]) - 3.3).abs() < 1e-5);
    }

    #[test]
    fn without_scale_and_shift_only_the_norm_is_left() {
        let device = Device::flex();
        let hidden: Vec<f32> = (0..48).map(|i| (i as f32 * 0.7).sin()).collect();
        let hidden = Tensor::<1>::from_floats(hidden.as_slice(), &device).reshape([2, 4, 2, 3]);
        let features = hidden.clone().narrow(1, 1, 2);
        let plain = transform(SftNorm::None, 4).forward(hidden.clone(), features.clone());
        assert_eq!(numbers(plain), numbers(hidden.clone()));

        let mut group = transform(SftNorm::Group, 4);
        constant(&mut group.conv_gamma, 0.0, 0.0);
        constant(&mut group.conv_beta, 0.0, 0.0);
        let normed = group.norm.as_ref().unwrap().forward(hidden.clone());
        assert_ne!(numbers(normed.clone()), numbers(hidden.clone()));
        assert_eq!(numbers(group.forward(hidden, features)), numbers(normed));
    }
}
