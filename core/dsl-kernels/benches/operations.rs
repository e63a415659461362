//! Each operation, forward and with its backward pass, at the sizes of a small UNet on 8 pictures.
//!
//! `cargo bench -p dsl-kernels`; `benches/pytorch/operations.py` times the same list in PyTorch.

use burn::tensor::{Device, Tensor, TensorData};
use divan::{Bencher, black_box};
use dsl_kernels as kernels;

fn main() {
    divan::main();
}

/// A leaf of the graph with reproducible values.
fn leaf<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    let values: Vec<f32> = (0..dims.iter().product::<usize>())
        .map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0)
        .collect();
    let device = Device::flex().autodiff();
    Tensor::<D>::from_data(TensorData::new(values, dims), &device).require_grad()
}

/// Times `f`, and `f` with the backward pass of its sum's stead: a gradient of ones would be made by an expansion, which
/// no network does, so the gradient comes from a product.
fn both<const D: usize, const E: usize>(
    bencher: Bencher,
    backward: bool,
    x: [usize; D],
    f: impl Fn(Tensor<D>) -> Tensor<E> + Sync,
) {
    let x = leaf(x);
    if backward {
        let weights = leaf(f(x.clone()).dims());
        bencher.bench_local(|| black_box((f(x.clone()) * weights.clone()).sum().backward()));
    } else {
        let x = x.inner();
        bencher.bench_local(|| black_box(f(x.clone())));
    }
}

macro_rules! operation {
    ($name:ident, $x:expr, |$input:ident, $backward:ident| $body:expr) => {
        #[divan::bench(args = [false, true], sample_count = 30, min_time = 0.3)]
        fn $name(bencher: Bencher, $backward: bool) {
            both(bencher, $backward, $x, |$input| $body);
        }
    };
}

/// Parameters on the graph of the input, or off it.
fn parameter<const D: usize>(dims: [usize; D], backward: bool) -> Tensor<D> {
    if backward {
        leaf(dims)
    } else {
        leaf(dims).inner()
    }
}

operation!(silu_64x32x32, [8, 64, 32, 32], |x, backward| {
    let _ = backward;
    kernels::silu(x)
});
operation!(group_norm_64x32x32, [8, 64, 32, 32], |x, backward| {
    kernels::group_norm(
        x,
        32,
        parameter([64], backward),
        parameter([64], backward),
        1e-5,
    )
});
operation!(group_norm_silu_64x32x32, [8, 64, 32, 32], |x, backward| {
    kernels::group_norm_silu(
        x,
        32,
        parameter([64], backward),
        parameter([64], backward),
        1e-5,
    )
});
operation!(layer_norm_256x128, [8, 256, 128], |x, backward| {
    kernels::layer_norm(
        x,
        parameter([128], backward),
        parameter([128], backward),
        1e-5,
    )
});
operation!(geglu_256x1024, [8, 256, 1024], |x, backward| {
    let _ = backward;
    kernels::geglu(x)
});
operation!(linear_256x128x1024, [8, 256, 128], |x, backward| {
    kernels::linear(
        x,
        parameter([128, 1024], backward),
        Some(parameter([1024], backward)),
    )
});
operation!(self_attention_4x256x32, [8, 4, 256, 32], |x, backward| {
    let _ = backward;
    kernels::attention(x.clone(), x.clone(), x, None)
});
operation!(
    cross_attention_4x256x77x32,
    [8, 4, 256, 32],
    |x, backward| {
        let (key, value) = (
            parameter([8, 4, 77, 32], backward),
            parameter([8, 4, 77, 32], backward),
        );
        kernels::attention(x, key, value, None)
    }
);
operation!(conv3x3_64x64_32x32, [8, 64, 32, 32], |x, backward| {
    kernels::conv2d(
        x,
        parameter([64, 64, 3, 3], backward),
        Some(parameter([64], backward)),
        1,
        1,
    )
});
operation!(conv3x3_128x128_16x16, [8, 128, 16, 16], |x, backward| {
    kernels::conv2d(
        x,
        parameter([128, 128, 3, 3], backward),
        Some(parameter([128], backward)),
        1,
        1,
    )
});
operation!(conv3x3_128x128_8x8, [8, 128, 8, 8], |x, backward| {
    kernels::conv2d(
        x,
        parameter([128, 128, 3, 3], backward),
        Some(parameter([128], backward)),
        1,
        1,
    )
});
operation!(conv3x3_16x16_32x32, [8, 16, 32, 32], |x, backward| {
    kernels::conv2d(
        x,
        parameter([16, 16, 3, 3], backward),
        Some(parameter([16], backward)),
        1,
        1,
    )
});
operation!(
    conv3x3_stride2_64x64_32x32,
    [8, 64, 32, 32],
    |x, backward| {
        kernels::conv2d(
            x,
            parameter([64, 64, 3, 3], backward),
            Some(parameter([64], backward)),
            2,
            1,
        )
    }
);
operation!(conv1x1_128x64_32x32, [8, 128, 32, 32], |x, backward| {
    kernels::conv2d(
        x,
        parameter([64, 128, 1, 1], backward),
        Some(parameter([64], backward)),
        1,
        0,
    )
});
operation!(upsample_64x16x16, [8, 64, 16, 16], |x, backward| {
    let _ = backward;
    kernels::interpolate_nearest(x, [32, 32])
});
