//! A small UNet over three axes, whose skip connections are sums.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use dsl_kernels as kernels;

use super::{Condition, NORM_EPS, RowEmbedding, RowEmbeddingShape, groups};
use crate::layers::GroupNorm;
use crate::lora::impl_for_each_linear;
use crate::parameter_init::ParameterInit;

/// Shape of a [`UNet3D`].
pub(super) struct UNet3DShape<'a> {
    pub channels_in: usize,
    /// Features by level, finest first.
    pub channels: &'a [usize],
    pub embedding: RowEmbeddingShape,
    /// Blocks of the first level.
    pub first_blocks: usize,
    /// Blocks of each other level, after the one that halves.
    pub further_blocks: usize,
}

/// Halves all axes from level to level, and doubles them again.
#[derive(Module, Debug)]
pub struct UNet3D {
    /// 3×3×3.
    pub conv_in: Conv3d,
    /// Down path, full size first.
    pub levels: Vec<Level3D>,
    /// Up path: entry i goes from level i + 1 to level i.
    pub upsamplers: Vec<Upsample3D>,
}

impl_for_each_linear!(UNet3D { levels, upsamplers });

impl UNet3D {
    pub(super) fn new(init: &ParameterInit, shape: &UNet3DShape<'_>) -> Self {
        let (channels, embedding) = (shape.channels, shape.embedding);
        let (levels, upsamplers) = (init.at("levels"), init.at("upsamplers"));
        let level = |i: usize| {
            let init = levels.at(i);
            let blocks = init.at("blocks");
            let count = if i == 0 {
                shape.first_blocks
            } else {
                shape.further_blocks
            };
            Level3D {
                downsampler: (i > 0).then(|| {
                    let from_to = [channels[i - 1], channels[i]];
                    Block3D::new(&init.at("downsampler"), from_to, 2, embedding)
                }),
                blocks: (0..count)
                    .map(|k| Block3D::new(&blocks.at(k), [channels[i]; 2], 1, embedding))
                    .collect(),
            }
        };
        Self {
            conv_in: Conv3d::new(&init.at("conv_in"), [shape.channels_in, channels[0]], 1),
            levels: (0..channels.len()).map(level).collect(),
            upsamplers: channels
                .windows(2)
                .enumerate()
                .map(|(i, pair)| Upsample3D::new(&upsamplers.at(i), [pair[1], pair[0]], embedding))
                .collect(),
        }
    }

    /// The features of all levels, finest first.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels_in, depth, height, width]`; result: level i is `[batch, channels[i], depth / 2^i, ..]`, each
    ///   size rounded up
    pub(super) fn forward(&self, x: Tensor<5>, condition: &Condition) -> Vec<Tensor<5>> {
        let mut x = self.conv_in.forward(x);
        let mut features = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            for block in level.downsampler.iter().chain(&level.blocks) {
                x = block.forward(x, condition);
            }
            features.push(x.clone());
        }
        for (i, upsampler) in self.upsamplers.iter().enumerate().rev() {
            let finer = features[i].clone();
            x = upsampler.forward(x, condition, finer.dims()) + finer;
            features[i] = x.clone();
        }
        features
    }
}

/// The blocks of one size.
#[derive(Module, Debug)]
pub struct Level3D {
    /// Halves what comes from the level above; the first level has none.
    pub downsampler: Option<Block3D>,
    /// At this size.
    pub blocks: Vec<Block3D>,
}

impl_for_each_linear!(Level3D {
    downsampler,
    blocks
});

/// `conv(silu(norm(x + embedding)))`.
#[derive(Module, Debug)]
pub struct Block3D {
    /// Of timestep and camera.
    pub embedding: RowEmbedding,
    /// Before `conv`.
    pub norm: GroupNorm,
    /// 3×3×3.
    pub conv: Conv3d,
}

impl_for_each_linear!(Block3D { embedding });

impl Block3D {
    fn new(
        init: &ParameterInit,
        [from, to]: [usize; 2],
        stride: usize,
        embedding: RowEmbeddingShape,
    ) -> Self {
        Self {
            embedding: RowEmbedding::new(&init.at("embedding"), embedding, from),
            norm: GroupNorm::new(&init.at("norm"), groups(from), from, NORM_EPS),
            conv: Conv3d::new(&init.at("conv"), [from, to], stride),
        }
    }

    fn forward(&self, x: Tensor<5>, condition: &Condition) -> Tensor<5> {
        self.conv
            .forward(activated(x, &self.embedding, &self.norm, condition))
    }
}

/// Twice each size by a transposed convolution of 2×2×2 elements (as in Çiçek et al. 2016, 3D U-Net), behind norm and SiLU.
#[derive(Module, Debug)]
pub struct Upsample3D {
    /// Of timestep and camera.
    pub embedding: RowEmbedding,
    /// Before the convolution.
    pub norm: GroupNorm,
    /// `[channels_in, channels_out, 2, 2, 2]`.
    pub weight: Param<Tensor<5>>,
    /// `[channels_out]`.
    pub bias: Param<Tensor<1>>,
}

impl_for_each_linear!(Upsample3D { embedding });

impl Upsample3D {
    fn new(init: &ParameterInit, [from, to]: [usize; 2], embedding: RowEmbeddingShape) -> Self {
        // Each element of the output is a sum over the channels of one element of the input.
        let bound = (from as f64).powf(-0.5);
        Self {
            embedding: RowEmbedding::new(&init.at("embedding"), embedding, from),
            norm: GroupNorm::new(&init.at("norm"), groups(from), from, NORM_EPS),
            weight: init.uniform("weight", [from, to, 2, 2, 2], bound),
            bias: init.uniform("bias", [to], bound),
        }
    }

    /// # Shapes
    /// - `x`: `[batch, channels_in, depth, height, width]`; result: `[batch, channels_out, ..]` of `size`'s last three, which
    ///   are twice those of `x` or one less
    fn forward(&self, x: Tensor<5>, condition: &Condition, size: [usize; 5]) -> Tensor<5> {
        let [batch, from, depth, height, width] = x.dims();
        let x = activated(x, &self.embedding, &self.norm, condition);
        let [_, to, ..] = self.weight.dims();
        // The eight elements of the output that one element of the input makes are so many channels of a 1×1 convolution.
        let weight = self.weight.val().reshape([from, 8 * to]).transpose();
        let bias = self.bias.val().reshape([to, 1]).expand([to, 8]);
        let y = kernels::conv2d(
            x.reshape([batch, from, depth * height, width]),
            weight.reshape([8 * to, from, 1, 1]),
            Some(bias.reshape([8 * to])),
            1,
            0,
        );
        let y = y
            .reshape([batch, to, 2, 2, 2, depth, height, width])
            .permute([0, 1, 5, 2, 6, 3, 7, 4])
            .reshape([batch, to, 2 * depth, 2 * height, 2 * width]);
        let [_, _, depth, height, width] = size;
        y.slice([0..batch, 0..to, 0..depth, 0..height, 0..width])
    }
}

/// `silu(norm(x + embedding))`.
fn activated(
    x: Tensor<5>,
    embedding: &RowEmbedding,
    norm: &GroupNorm,
    condition: &Condition,
) -> Tensor<5> {
    let dims = x.dims();
    let [batch, channels, depth, height, width] = dims;
    let embedding = embedding
        .forward(condition)
        .reshape([batch, channels, 1, 1]);
    let x = x.reshape([batch, channels, depth * height, width]) + embedding;
    norm.forward_silu(x).reshape(dims)
}

/// A convolution with a cubic kernel of three elements a side, and zero padding of one.
#[derive(Module, Debug)]
pub struct Conv3d {
    /// `[channels_out, channels_in, 3, 3, 3]`.
    pub weight: Param<Tensor<5>>,
    /// `[channels_out]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
}

impl Conv3d {
    pub(super) fn new(init: &ParameterInit, [from, to]: [usize; 2], stride: usize) -> Self {
        let bound = ((from * 27) as f64).powf(-0.5);
        Self {
            weight: init.uniform("weight", [to, from, 3, 3, 3], bound),
            bias: init.uniform("bias", [to], bound),
            stride,
        }
    }

    /// The sum of three convolutions over height and width, one for each depth of the kernel: several times as fast as
    /// burn's own on the CPU, gradients included.
    ///
    /// # Shapes
    /// - `x`: `[batch, channels_in, depth, height, width]`; result: `[batch, channels_out, ..]`, each size divided by the
    ///   stride, rounded up
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let [batch, from, depth, height, width] = x.dims();
        let [to, ..] = self.weight.dims();
        let depth_out = depth.div_ceil(self.stride);
        // Depth outermost: then the slices that the kernel reads lie next to each other.
        let like = (&x.device(), x.dtype());
        let border = Tensor::<5>::zeros([1, batch, from, height, width], like);
        let slices = vec![border.clone(), x.permute([2, 0, 1, 3, 4]), border];
        let slices = Tensor::cat(slices, 0);
        let weight = self.weight.val();
        let taps = (0..3).map(|tap| {
            let read = if self.stride == 1 {
                slices.clone().narrow(0, tap, depth)
            } else {
                let last = tap + self.stride * (depth_out - 1);
                let step = self.stride as isize;
                slices.clone().slice(burn::tensor::s![tap..=last;step])
            };
            kernels::conv2d(
                read.reshape([depth_out * batch, from, height, width]),
                weight.clone().narrow(2, tap, 1).reshape([to, from, 3, 3]),
                // Once is enough.
                (tap == 1).then(|| self.bias.val()),
                self.stride,
                1,
            )
        });
        let y = taps.reduce(|sum, tap| sum + tap).expect("there are three");
        let [_, _, height, width] = y.dims();
        y.reshape([depth_out, batch, to, height, width])
            .permute([1, 2, 0, 3, 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
    use burn::tensor::{Device, TensorData, module};

    fn wave<const D: usize>(dims: [usize; D], device: &Device) -> Tensor<D> {
        let count = dims.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7391).sin()).collect();
        Tensor::from_data(TensorData::new(values, dims), device)
    }

    #[track_caller]
    fn assert_near<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
        assert_eq!(found.dims(), expected.dims());
        let difference: f32 = (found - expected).abs().max().into_scalar();
        assert!(difference < 1e-4, "{difference}");
    }

    #[test]
    fn convolutions_are_those_of_burn() {
        let device = Device::flex().autodiff();
        for (stride, dims) in [
            (1, [2, 3, 4, 5, 6]),
            (2, [2, 3, 8, 6, 4]),
            (2, [1, 3, 5, 7, 3]),
        ] {
            let conv = Conv3d::new(&ParameterInit::new(1, &device), [3, 4], stride);
            let x = wave(dims, &device).require_grad();
            let found = conv.forward(x.clone());
            let options = ConvOptions::new([stride; 3], [1; 3], [1; 3], 1);
            let (weight, bias) = (conv.weight.val(), conv.bias.val());
            let expected = module::conv3d(x.clone(), weight.clone(), Some(bias.clone()), options);
            assert_near(found.clone(), expected.clone());
            let of_output = wave(found.dims(), &device);
            let [found, expected] =
                [found, expected].map(|y| (y * of_output.clone()).sum().backward());
            assert_near(x.grad(&found).unwrap(), x.grad(&expected).unwrap());
            assert_near(
                weight.grad(&found).unwrap(),
                weight.grad(&expected).unwrap(),
            );
            assert_near(bias.grad(&found).unwrap(), bias.grad(&expected).unwrap());
        }
    }

    #[test]
    fn upsampling_is_a_transposed_convolution() {
        let device = Device::flex();
        let shape = RowEmbeddingShape {
            time_embed_dim: 6,
            camera_numbers: Some(2),
        };
        let upsample = Upsample3D::new(&ParameterInit::new(1, &device), [8, 4], shape);
        let condition = Condition::new(&wave([2, 6], &device), Some(wave([2, 2], &device)));
        let x = wave([2, 8, 2, 3, 2], &device);
        let found = upsample.forward(x.clone(), &condition, [2, 4, 4, 5, 3]);
        let x = activated(x, &upsample.embedding, &upsample.norm, &condition);
        let options = ConvTransposeOptions::new([2; 3], [0; 3], [0; 3], [1; 3], 1);
        let (weight, bias) = (upsample.weight.val(), upsample.bias.val());
        let whole = module::conv_transpose3d(x, weight, Some(bias), options);
        assert_near(found, whole.slice([0..2, 0..4, 0..4, 0..5, 0..3]));
    }

    #[test]
    fn levels_have_half_the_size_and_come_back() {
        let device = Device::flex();
        let shape = UNet3DShape {
            channels_in: 5,
            channels: &[4, 8, 6],
            embedding: RowEmbeddingShape {
                time_embed_dim: 6,
                camera_numbers: None,
            },
            first_blocks: 1,
            further_blocks: 2,
        };
        let unet = UNet3D::new(&ParameterInit::new(1, &device), &shape);
        let condition = |step: f32| Condition::new(&(wave([1, 6], &device) * step), None);
        let x = wave([1, 5, 7, 6, 9], &device);
        let features = unet.forward(x.clone(), &condition(1.0));
        let dims: Vec<_> = features.iter().map(Tensor::dims).collect();
        assert_eq!(dims, [[1, 4, 7, 6, 9], [1, 8, 4, 3, 5], [1, 6, 2, 2, 3]]);
        // Every level knows the timestep.
        for (a, b) in features.into_iter().zip(unet.forward(x, &condition(2.0))) {
            let difference: f32 = (a - b).abs().max().into_scalar();
            assert!(difference > 1e-3);
        }
    }
}
