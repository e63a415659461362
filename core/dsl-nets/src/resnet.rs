//! Residual blocks and the changes of size between blocks.

use burn::module::Module;
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use crate::gradient_checkpointing::boundary;
use crate::layers::{Conv2d, GroupNorm, Linear, PointwiseConv};
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;
use crate::task_modules::{SftShape, SpatialFeatureTransform};

/// Two convolutions around the timestep embedding, with a skip connection.
#[derive(Module, Debug)]
pub struct ResnetBlock2D {
    /// Norm before the first convolution.
    pub norm1: GroupNorm,
    /// 3×3.
    pub conv1: Conv2d,
    /// `[time_embed_dim] -> [channels_out]`; an autoencoder has none.
    pub time_emb_proj: Option<Linear>,
    /// Norm before the second convolution.
    pub norm2: GroupNorm,
    /// 3×3.
    pub conv2: Conv2d,
    /// On the skip connection, where the number of channels changes.
    pub conv_shortcut: Option<PointwiseConv>,
    /// Behind the second convolution, in networks with a feature pyramid.
    pub sft: Option<SpatialFeatureTransform>,
}

impl_for_each_linear!(ResnetBlock2D {
    conv1,
    time_emb_proj,
    conv2,
    conv_shortcut,
    sft
});

impl ResnetBlock2D {
    pub(crate) fn new(
        init: &ParameterInit,
        [channels_in, channels_out]: [usize; 2],
        time_embed_dim: Option<usize>,
        groups: usize,
        norm_eps: f64,
    ) -> Self {
        Self {
            norm1: GroupNorm::new(&init.at("norm1"), groups, channels_in, norm_eps),
            conv1: Conv2d::new(&init.at("conv1"), [channels_in, channels_out], 3, 1, 1),
            time_emb_proj: time_embed_dim
                .map(|from| Linear::new(&init.at("time_emb_proj"), from, channels_out)),
            norm2: GroupNorm::new(&init.at("norm2"), groups, channels_out, norm_eps),
            conv2: Conv2d::new(&init.at("conv2"), [channels_out, channels_out], 3, 1, 1),
            conv_shortcut: (channels_in != channels_out)
                .then(|| PointwiseConv::new(&init.at("conv_shortcut"), channels_in, channels_out)),
            sft: None,
        }
    }

    /// The same block, whose residual features a picture scales and shifts.
    pub(crate) fn with_sft(mut self, init: &ParameterInit, shape: SftShape) -> Self {
        let channels = self.conv2.bias.lazy_shape().dims::<1>()[0];
        self.sft = Some(SpatialFeatureTransform::new(
            &init.at("sft"),
            shape,
            channels,
        ));
        self
    }

    /// # Shapes
    /// - `x`: `[batch, channels_in, height, width]`
    /// - `temb`: `[batch, time_embed_dim]`, **already activated** by SiLU
    /// - result: `[batch, channels_out, height, width]`
    pub fn forward(&self, x: Tensor<4>, temb: &Tensor<2>) -> Tensor<4> {
        self.run(x, Some(temb), None)
    }

    /// As [`Self::forward`], with features of a picture for a block that has an `sft`.
    ///
    /// # Shapes
    /// - `features`: `[batch, features, height, width]`
    pub fn forward_with(
        &self,
        x: Tensor<4>,
        temb: &Tensor<2>,
        features: Option<Tensor<4>>,
    ) -> Tensor<4> {
        self.run(x, Some(temb), features)
    }

    /// As [`Self::forward`], without a timestep.
    pub fn forward_without_timestep(&self, x: Tensor<4>) -> Tensor<4> {
        self.run(x, None, None)
    }

    fn run(
        &self,
        x: Tensor<4>,
        temb: Option<&Tensor<2>>,
        features: Option<Tensor<4>>,
    ) -> Tensor<4> {
        let x = boundary(x);
        let mut hidden = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        if let (Some(projection), Some(temb)) = (&self.time_emb_proj, temb) {
            hidden = kernels::add_per_channel(hidden, projection.forward(temb.clone()));
        }
        let mut hidden = self.conv2.forward(self.norm2.forward_silu(hidden));
        if let (Some(sft), Some(features)) = (&self.sft, features) {
            hidden = sft.forward(hidden, features);
        }
        let skip = match &self.conv_shortcut {
            Some(conv) => conv.forward(x),
            None => x,
        };
        kernels::add(skip, hidden)
    }
}

/// Halves height and width by a strided convolution.
#[derive(Module, Debug)]
pub struct Downsample2D {
    /// 3×3, stride 2.
    pub conv: Conv2d,
}

impl_for_each_linear!(Downsample2D { conv });

impl Downsample2D {
    pub(crate) fn new(init: &ParameterInit, channels: usize) -> Self {
        Self {
            conv: Conv2d::new(&init.at("conv"), [channels, channels], 3, 2, 1),
        }
    }

    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`; result: half of each size, rounded up
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(x)
    }
}

/// Resizes to the size of the next skip connection, then a convolution.
#[derive(Module, Debug)]
pub struct Upsample2D {
    /// 3×3.
    pub conv: Conv2d,
}

impl_for_each_linear!(Upsample2D { conv });

impl Upsample2D {
    pub(crate) fn new(init: &ParameterInit, channels: usize) -> Self {
        Self {
            conv: Conv2d::new(&init.at("conv"), [channels, channels], 3, 1, 1),
        }
    }

    /// # Shapes
    /// - `x`: `[batch, channels, height, width]`; result: `[batch, channels, size[0], size[1]]`
    pub fn forward(&self, x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        if size == [2 * height, 2 * width] {
            self.conv.forward_doubled(x)
        } else {
            self.conv.forward(kernels::interpolate_nearest(x, size))
        }
    }
}
