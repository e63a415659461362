//! The trunks as lists of steps.

use burn::tensor::ops::{ConvOptions, MaxPoolOptions, PadMode};
use burn::tensor::{Tensor, activation, module};

use super::LpipsNet;
use crate::features::frozen::{ConvSpec, FrozenConv, LayerReader};

/// One layer with its weights.
#[derive(Debug)]
pub(super) enum Step {
    // Much larger than the others.
    Conv(Box<FrozenConv>),
    Relu,
    MaxPool { kernel: usize, stride: usize },
    Blur,
}

/// One layer as the networks list it: convolutions with their number in the list of the original's layers.
#[derive(Debug, Clone, Copy)]
pub(super) enum StepSpec {
    Conv(usize, ConvSpec),
    Relu,
    MaxPool { kernel: usize, stride: usize },
    Blur,
}

/// Layers up to one that is compared.
pub(super) struct SliceSpec {
    pub(super) channels: usize,
    pub(super) steps: Vec<StepSpec>,
}

/// The trunk of a network.
pub(super) fn slices(net: LpipsNet) -> Vec<SliceSpec> {
    match net {
        LpipsNet::Alex => alex(),
        LpipsNet::Vgg => vgg(),
        LpipsNet::ShiftTolerantAlex => shift_tolerant_alex(),
    }
}

/// A convolution that keeps height and width, with stride 1.
const fn same(channels_in: usize, channels_out: usize, kernel: usize) -> ConvSpec {
    ConvSpec::new(channels_in, channels_out, [kernel; 2]).padding([kernel / 2; 2])
}

/// AlexNet (Krizhevsky 2014) up to its fifth convolution.
fn alex() -> Vec<SliceSpec> {
    use StepSpec::{Conv, MaxPool, Relu};
    let first = ConvSpec::new(3, 64, [11, 11]).stride(4).padding([2, 2]);
    let pool = MaxPool {
        kernel: 3,
        stride: 2,
    };
    let slice = |channels, steps| SliceSpec { channels, steps };
    vec![
        slice(64, vec![Conv(0, first), Relu]),
        slice(192, vec![pool, Conv(3, same(64, 192, 5)), Relu]),
        slice(384, vec![pool, Conv(6, same(192, 384, 3)), Relu]),
        slice(256, vec![Conv(8, same(384, 256, 3)), Relu]),
        slice(256, vec![Conv(10, same(256, 256, 3)), Relu]),
    ]
}

/// The same with stride 1 before each blur, which alone sub-samples.
fn shift_tolerant_alex() -> Vec<SliceSpec> {
    use StepSpec::{Blur, Conv, MaxPool, Relu};
    let first = ConvSpec::new(3, 64, [11, 11]).padding([2, 2]);
    let pool = MaxPool {
        kernel: 3,
        stride: 1,
    };
    let slice = |channels, steps| SliceSpec { channels, steps };
    vec![
        slice(64, vec![Conv(0, first), Blur, Relu]),
        slice(192, vec![pool, Blur, Conv(5, same(64, 192, 5)), Relu]),
        slice(384, vec![pool, Blur, Conv(9, same(192, 384, 3)), Relu]),
        slice(256, vec![Conv(11, same(384, 256, 3)), Relu]),
        slice(256, vec![Conv(13, same(256, 256, 3)), Relu]),
    ]
}

/// VGG-16 (Simonyan and Zisserman 2014), configuration D, up to its last convolution.
fn vgg() -> Vec<SliceSpec> {
    const STAGES: [(usize, usize); 5] = [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)];
    let mut number = 0;
    let mut channels_in = 3;
    let mut slices = Vec::new();
    for (depth, channels) in STAGES {
        let mut steps = Vec::new();
        if !slices.is_empty() {
            steps.push(StepSpec::MaxPool {
                kernel: 2,
                stride: 2,
            });
            number += 1;
        }
        for _ in 0..depth {
            steps.push(StepSpec::Conv(number, same(channels_in, channels, 3)));
            steps.push(StepSpec::Relu);
            channels_in = channels;
            number += 2;
        }
        slices.push(SliceSpec { channels, steps });
    }
    slices
}

impl StepSpec {
    pub(super) fn read(self, reader: &mut LayerReader<'_>, prefix: &str) -> Step {
        match self {
            Self::Conv(number, spec) => {
                Step::Conv(Box::new(reader.conv(&format!("{prefix}.{number}"), spec)))
            }
            Self::Relu => Step::Relu,
            Self::MaxPool { kernel, stride } => Step::MaxPool { kernel, stride },
            Self::Blur => Step::Blur,
        }
    }
}

impl Step {
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::Relu => activation::relu(x),
            &Self::MaxPool { kernel, stride } => {
                let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]);
                module::max_pool2d(x, options)
            }
            Self::Blur => blur(x),
        }
    }
}

/// Every second position of the picture smoothed by (1, 2, 1)/4 in both directions, two mirrored pixels around it.
fn blur(x: Tensor<4>) -> Tensor<4> {
    let channels = x.dims()[1];
    let line = Tensor::<1>::from_floats([0.25, 0.5, 0.25], &x.device());
    let kernel = line.clone().reshape([1, 1, 3, 1]) * line.reshape([1, 1, 1, 3]);
    let padded = x.pad([(2, 2), (2, 2)], PadMode::Reflect);
    let options = ConvOptions::new([2, 2], [0, 0], [1, 1], channels);
    module::conv2d(padded, kernel.repeat_dim(0, channels), None, options)
}
