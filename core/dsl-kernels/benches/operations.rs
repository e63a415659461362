//! Each operation, forward and with its backward pass, at the sizes of a small UNet on 8 pictures.
//!
//! `cargo bench -p dsl-kernels`; `benches/pytorch/operations.py` times the same list in PyTorch.

use burn::tensor::{Device, Tensor, TensorData};
use divan::{Bencher, black_box};
use dsl_kernels as kernels;

fn main() {
    kernels::keep_freed_memory();
    // As in a training step, which runs on one of the threads that work is shared out among.
    kernels::together(divan::main);
}

/// A leaf of the graph with reproducible values.
fn leaf<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = (0..dims.iter().product::<usize>())
        .map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0)
        .collect();
    let device = Device::flex().autodiff();
    Tensor::<D>::from_data(TensorData::new(values, dims), &device).require_grad()
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pass {
    /// The operation, off any graph.
    Forward,
    /// The operation and the backward pass of a weighted sum of its outputs: the gradient of a plain sum is all ones.
    Backward,
    /// That weighted sum and its backward pass alone, which are burn's: to be subtracted from the line above.
    WeightedSum,
}

const PASSES: [Pass; 3] = [Pass::Forward, Pass::Backward, Pass::WeightedSum];

/// Parameters of a layer that trains, or of one that only runs.
fn parameter<const D: usize>(dims: [usize; D], pass: Pass) -> Tensor<D> {
    match pass {
        Pass::Forward => leaf(dims).inner(),
        Pass::Backward | Pass::WeightedSum => leaf(dims),
    }
}

fn time<const D: usize, const E: usize>(
    bencher: Bencher,
    pass: Pass,
    x: [usize; D],
    f: impl Fn(Tensor<D>) -> Tensor<E>,
) {
    let x = parameter(x, pass);
    let weighted_sum = |y: Tensor<E>, weights: &Tensor<E>| (y * weights.clone()).sum().backward();
    match pass {
        Pass::Forward => bencher.bench_local(|| black_box(f(x.clone()))),
        Pass::Backward => {
            let weights = leaf(f(x.clone()).dims()).detach();
            bencher.bench_local(|| black_box(weighted_sum(f(x.clone()), &weights)));
        }
        Pass::WeightedSum => {
            let y = leaf(f(x).dims());
            let weights = y.clone().detach();
            bencher.bench_local(|| black_box(weighted_sum(y.clone(), &weights)));
        }
    }
}

/// One bench for each pass; the body makes the parameters and gives the operation.
macro_rules! operation {
    ($name:ident, $x:expr, |$pass:ident| $operation:expr) => {
        #[divan::bench(args = PASSES, sample_count = 50, min_time = 0.3)]
        fn $name(bencher: Bencher, $pass: Pass) {
            time(bencher, $pass, $x, $operation);
        }
    };
}

operation!(silu_64x32x32, [8, 64, 32, 32], |_pass| kernels::silu);
operation!(group_norm_64x32x32, [8, 64, 32, 32], |pass| {
    let [w, b] = [(); 2].map(|()| parameter([64], pass));
    move |x| kernels::group_norm(x, 32, w.clone(), b.clone(), 1e-5)
});
operation!(group_norm_silu_64x32x32, [8, 64, 32, 32], |pass| {
    let [w, b] = [(); 2].map(|()| parameter([64], pass));
    move |x| kernels::group_norm_silu(x, 32, w.clone(), b.clone(), 1e-5)
});
operation!(layer_norm_256x128, [8, 256, 128], |pass| {
    let [w, b] = [(); 2].map(|()| parameter([128], pass));
    move |x: Tensor<3>| kernels::layer_norm(x, w.clone(), b.clone(), 1e-5)
});
operation!(geglu_256x1024, [8, 256, 1024], |_pass| {
    kernels::geglu::<3>
});
operation!(linear_256x128x1024, [8, 256, 128], |pass| {
    let (w, b) = (parameter([128, 1024], pass), parameter([1024], pass));
    move |x: Tensor<3>| kernels::linear(x, w.clone(), Some(b.clone()))
});
operation!(self_attention_4x256x32, [8, 4, 256, 32], |_pass| {
    |x: Tensor<4>| kernels::attention(x.clone(), x.clone(), x, None)
});
operation!(cross_attention_4x256x77x32, [8, 4, 256, 32], |pass| {
    let [k, v] = [(); 2].map(|()| parameter([8, 4, 77, 32], pass));
    move |x| kernels::attention(x, k.clone(), v.clone(), None)
});

/// A convolution with as much padding as keeps the size at stride 1.
fn conv(
    bencher: Bencher,
    pass: Pass,
    x: [usize; 4],
    channels_out: usize,
    kernel: usize,
    stride: usize,
) {
    let w = parameter([channels_out, x[1], kernel, kernel], pass);
    let b = parameter([channels_out], pass);
    time(bencher, pass, x, |x| {
        kernels::conv2d(x, w.clone(), Some(b.clone()), stride, kernel / 2)
    });
}

macro_rules! convolution {
    ($name:ident, $x:expr, $channels_out:expr, $kernel:expr, $stride:expr) => {
        #[divan::bench(args = PASSES, sample_count = 50, min_time = 0.3)]
        fn $name(bencher: Bencher, pass: Pass) {
            conv(bencher, pass, $x, $channels_out, $kernel, $stride);
        }
    };
}

convolution!(conv3x3_64x64_32x32, [8, 64, 32, 32], 64, 3, 1);
convolution!(conv3x3_128x128_16x16, [8, 128, 16, 16], 128, 3, 1);
convolution!(conv3x3_128x128_8x8, [8, 128, 8, 8], 128, 3, 1);
convolution!(conv3x3_16x16_32x32, [8, 16, 32, 32], 16, 3, 1);
convolution!(conv3x3_stride2_64x64_32x32, [8, 64, 32, 32], 64, 3, 2);
convolution!(conv1x1_128x64_32x32, [8, 128, 32, 32], 64, 1, 1);

operation!(upsample_64x16x16, [8, 64, 16, 16], |_pass| {
    |x| kernels::interpolate_nearest(x, [32, 32])
});

operation!(upsample_conv3x3_128x128_16x16, [8, 128, 16, 16], |pass| {
    let (w, b) = (parameter([128, 128, 3, 3], pass), parameter([128], pass));
    move |x| kernels::upsample_conv2d(x, w.clone(), Some(b.clone()))
});
