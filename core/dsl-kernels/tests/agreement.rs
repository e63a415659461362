//! Values and gradients against burn's own operations in float64, over shapes that proptest chooses; and the same bits on
//! any number of threads.
//!
//! In float64 the functions of this crate are burn's operations, so each is compared with itself in the other type.

use burn::tensor::{DType, Device, Tensor, TensorData};
use dsl_kernels as kernels;
use proptest::prelude::*;

/// What one float32 pass may be off, relative to the greatest value: rounding of sums of a few thousand terms.
const TOLERANCE: f64 = 2e-5;

/// Output, then the gradient of every input.
type Outcome = Vec<Vec<f64>>;

/// Runs `f` on flat inputs and differentiates a weighted sum of its outputs.
fn outcome(inputs: &[Vec<f64>], dtype: DType, f: &dyn Fn(&[Tensor<1>]) -> Tensor<1>) -> Outcome {
    let device = Device::flex().autodiff();
    let tensors: Vec<Tensor<1>> = inputs
        .iter()
        .map(|values| {
            let data = TensorData::new(values.clone(), [values.len()]);
            Tensor::from_data(data, (&device, dtype)).require_grad()
        })
        .collect();
    let y = f(&tensors);
    let weights = numbers(y.dims()[0], 99);
    let weights = Tensor::<1>::from_data(TensorData::new(weights, y.dims()), (&device, dtype));
    let gradients = (y.clone() * weights).sum().backward();
    let values = |tensor: Tensor<1>| {
        tensor
            .into_data()
            .convert::<f64>()
            .try_to_vec::<f64>()
            .unwrap()
    };
    let mut outcome = vec![values(y.inner())];
    for tensor in &tensors {
        outcome.push(values(tensor.grad(&gradients).expect("every input counts")));
    }
    outcome
}

/// Numbers about -1..1, the same for the same seed; single precision so that both types start from the same.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from(((state >> 40) as f32 / (1u64 << 23) as f32) - 1.0)
        })
        .collect()
}

fn inputs(sizes: &[usize]) -> Vec<Vec<f64>> {
    sizes
        .iter()
        .enumerate()
        .map(|(i, size)| numbers(*size, 7 + i as u64))
        .collect()
}

fn check(sizes: &[usize], f: impl Fn(&[Tensor<1>]) -> Tensor<1> + Sync) {
    let inputs = inputs(sizes);
    let ours = outcome(&inputs, DType::F32, &f);
    let reference = outcome(&inputs, DType::F64, &f);
    for (i, (ours, reference)) in ours.iter().zip(&reference).enumerate() {
        assert_eq!(ours.len(), reference.len());
        // Where terms of size 1 cancel to nothing, as gradients through the softmax of one key, their rounding is left.
        let greatest = reference.iter().fold(0.1f64, |a, b| a.max(b.abs()));
        for (at, (a, b)) in ours.iter().zip(reference).enumerate() {
            let off = (a - b).abs() / greatest;
            let what = if i == 0 {
                "output".into()
            } else {
                format!("gradient of input {}", i - 1)
            };
            assert!(off < TOLERANCE, "{what} [{at}]: {a} instead of {b}");
        }
    }
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        assert!(
            pool.install(|| outcome(&inputs, DType::F32, &f)) == ours,
            "{threads} threads change bits"
        );
        assert!(
            pool.install(|| kernels::together(|| outcome(&inputs, DType::F32, &f))) == ours,
            "{threads} threads that stay awake change bits"
        );
    }
    assert!(
        kernels::sequential(|| outcome(&inputs, DType::F32, &f)) == ours,
        "sequential changes bits"
    );
}

fn shaped<const D: usize>(tensor: &Tensor<1>, dims: [usize; D]) -> Tensor<D> {
    tensor.clone().reshape(dims)
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    tensor.flatten(0, D - 1)
}

fn check_conv(
    [batch, from, to]: [usize; 3],
    size: [usize; 2],
    [kernel, stride, padding]: [usize; 3],
) {
    let x = [batch, from, size[0], size[1]];
    let w = [to, from, kernel, kernel];
    let sizes = [x.iter().product(), w.iter().product(), to];
    check(&sizes, move |t| {
        flat(kernels::conv2d(
            shaped(&t[0], x),
            shaped(&t[1], w),
            Some(t[2].clone()),
            stride,
            padding,
        ))
    });
    check(&sizes[..2], move |t| {
        flat(kernels::conv2d(
            shaped(&t[0], x),
            shaped(&t[1], w),
            None,
            stride,
            padding,
        ))
    });
}

fn check_attention([batch, heads, queries, keys, head]: [usize; 5], bias: Option<[usize; 2]>) {
    // As networks make them: heads split off the last axis, so that rows are strided.
    let split =
        move |t: &Tensor<1>, tokens: usize| shaped(t, [batch, tokens, heads, head]).swap_dims(1, 2);
    let (q, k) = (batch * queries * heads * head, batch * keys * heads * head);
    check(&[q, k, k], move |t| {
        let bias = bias.map(|[batch, heads]| {
            let dims = [batch, heads, queries, keys];
            let values: Vec<f64> = numbers(dims.iter().product(), 5)
                .into_iter()
                .enumerate()
                // The first key of each row stays visible.
                .map(|(i, x)| {
                    if x > 0.6 && i % keys != 0 {
                        f64::NEG_INFINITY
                    } else {
                        x
                    }
                })
                .collect();
            let options = (&t[0].device(), t[0].dtype());
            Tensor::<4>::from_data(TensorData::new(values, dims), options)
        });
        let y = kernels::attention(
            split(&t[0], queries),
            split(&t[1], keys),
            split(&t[2], keys),
            bias,
        );
        flat(y.swap_dims(1, 2))
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn activations(rows in 1usize..70, features in 1usize..300) {
        check(&[rows * features], |t| kernels::silu(t[0].clone() * 6.0));
        check(&[rows * features], |t| kernels::gelu(t[0].clone() * 6.0));
        check(&[rows * features * 2], |t| flat(kernels::geglu(shaped(&t[0], [rows, 2 * features]) * 4.0)));
        // Not one after the other in memory.
        check(&[rows * features * 2], |t| flat(kernels::geglu(shaped(&t[0], [2 * features, rows]).swap_dims(0, 1))));
    }

    // Groups of a few values that happen to be alike are as ill-conditioned in any arithmetic: at least nine.
    #[test]
    fn norms(batch in 1usize..4, groups in 1usize..5, per_group in 1usize..6, height in 3usize..12, width in 3usize..12) {
        let channels = groups * per_group;
        let dims = [batch, channels, height, width];
        let sizes = [dims.iter().product(), channels, channels];
        check(&sizes, |t| flat(kernels::group_norm(shaped(&t[0], dims), groups, t[1].clone(), t[2].clone(), 1e-5)));
        check(&sizes, |t| flat(kernels::group_norm_silu(shaped(&t[0], dims), groups, t[1].clone(), t[2].clone(), 1e-6)));
        let rows = batch * height * 40;
        let features = 3 * width + 1;
        check(&[rows * features, features, features], |t| {
            flat(kernels::layer_norm(shaped(&t[0], [batch, height * 40, features]), t[1].clone(), t[2].clone(), 1e-5))
        });
    }

    #[test]
    fn linears(batch in 1usize..4, rows in 1usize..90, from in 1usize..70, to in 1usize..70) {
        check(&[batch * rows * from, from * to, to], |t| {
            flat(kernels::linear(shaped(&t[0], [batch, rows, from]), shaped(&t[1], [from, to]), Some(t[2].clone())))
        });
        // Both factors as transposed views, as pointwise convolutions have them.
        check(&[batch * rows * from, from * to], |t| {
            let x = shaped(&t[0], [batch, from, rows]).swap_dims(1, 2);
            flat(kernels::linear(x, shaped(&t[1], [to, from]).transpose(), None))
        });
    }

    #[test]
    fn linears_between_pictures_and_tokens(batch in 1usize..4, size in [1usize..12, 1usize..12], from in 1usize..40, to in 1usize..40) {
        let [height, width] = size;
        let sizes = [batch * height * width * from, from * to, to];
        check(&sizes, |t| {
            let x = shaped(&t[0], [batch, from, height, width]);
            flat(kernels::linear_from_pixels(x, shaped(&t[1], [from, to]), Some(t[2].clone())))
        });
        check(&sizes, |t| {
            let tokens = shaped(&t[0], [batch, height * width, from]);
            flat(kernels::linear_to_pixels(tokens, shaped(&t[1], [from, to]), Some(t[2].clone()), size))
        });
        // The weight as a transposed view, no bias.
        check(&sizes[..2], |t| {
            let weight = shaped(&t[1], [to, from]).transpose();
            let x = shaped(&t[0], [batch, from, height, width]);
            flat(kernels::linear_from_pixels(x, weight, None))
        });
    }

    #[test]
    fn additions(dims in [1usize..4, 1usize..9, 1usize..20, 1usize..20]) {
        let size = dims.iter().product();
        check(&[size, size], |t| kernels::add(t[0].clone() * 2.0, t[1].clone()));
        // Twice the same tensor, whose memory is then not free.
        check(&[size], |t| kernels::add(t[0].clone(), t[0].clone()));
        check(&[size, dims[0] * dims[1]], |t| {
            flat(kernels::add_per_channel(shaped(&t[0], dims), shaped(&t[1], [dims[0], dims[1]])))
        });
    }

    #[test]
    fn convolutions(
        sizes in [1usize..4, 1usize..20, 1usize..20],
        height in 3usize..20,
        width in 3usize..20,
        kernel in 1usize..6,
        stride in 1usize..5,
        padding in 0usize..5,
    ) {
        prop_assume!(padding < kernel && height.min(width) + 2 * padding >= kernel);
        check_conv(sizes, [height, width], [kernel, stride, padding]);
    }

    #[test]
    fn attentions(
        batch in 1usize..3,
        heads in 1usize..4,
        queries in 1usize..150,
        keys in 1usize..150,
        head in 1usize..40,
        bias in proptest::option::of([any::<bool>(), any::<bool>()]),
    ) {
        let bias = bias.map(|[b, h]| [if b { batch } else { 1 }, if h { heads } else { 1 }]);
        check_attention([batch, heads, queries, keys, head], bias);
    }

    #[test]
    fn doubled_pictures(dims in [1usize..4, 1usize..9, 1usize..9, 1usize..9]) {
        let [_, _, height, width] = dims;
        check(&[dims.iter().product()], |t| flat(kernels::interpolate_nearest(shaped(&t[0], dims), [2 * height, 2 * width])));
    }

    #[test]
    fn convolutions_of_doubled_pictures(batch in 1usize..4, from in 1usize..20, to in 1usize..20, size in [1usize..12, 1usize..12]) {
        let [height, width] = size;
        let (x, w) = ([batch, from, height, width], [to, from, 3, 3]);
        let sizes = [x.iter().product(), w.iter().product(), to];
        check(&sizes, |t| flat(kernels::upsample_conv2d(shaped(&t[0], x), shaped(&t[1], w), Some(t[2].clone()))));
        check(&sizes[..2], |t| flat(kernels::upsample_conv2d(shaped(&t[0], x), shaped(&t[1], w), None)));
    }
}

/// Sizes of real networks, at which every path over threads and tiles is taken.
#[test]
fn sizes_of_a_unet() {
    check_conv([8, 64, 64], [32, 32], [3, 1, 1]);
    check_conv([2, 128, 96], [8, 8], [3, 1, 1]);
    check_conv([3, 64, 3], [32, 32], [3, 1, 1]);
    check_conv([3, 64, 64], [32, 32], [3, 2, 1]);
    check_conv([3, 64, 128], [16, 16], [1, 1, 0]);
    check_conv([1, 16, 16], [70, 70], [3, 1, 1]);
    check_attention([2, 4, 256, 256, 32], None);
    check(&[8 * 64 * 256, 64 * 128, 128], |t| {
        let (x, w) = (shaped(&t[0], [8, 64, 16, 16]), shaped(&t[1], [64, 128]));
        flat(kernels::linear_from_pixels(x, w, Some(t[2].clone())))
    });
    check(&[8 * 64 * 256, 64 * 128, 128], |t| {
        let (x, w) = (shaped(&t[0], [8, 256, 64]), shaped(&t[1], [64, 128]));
        flat(kernels::linear_to_pixels(
            x,
            w,
            Some(t[2].clone()),
            [16, 16],
        ))
    });
    check_attention([2, 4, 256, 77, 24], Some([1, 1]));
}

/// A layer whose weights are frozen: only the input's gradient, and the same one.
#[test]
fn frozen_weights_get_no_gradient() {
    let device = Device::flex().autodiff();
    let tensor = |dims: [usize; 4], seed| {
        let values = numbers(dims.iter().product(), seed);
        Tensor::<4>::from_data(TensorData::new(values, dims), (&device, DType::F32))
    };
    let (x, w) = (tensor([2, 5, 8, 8], 1), tensor([6, 5, 3, 3], 2));
    let run = |x: Tensor<4>, w: Tensor<4>| {
        let gradients = kernels::conv2d(x.clone(), w.clone(), None, 1, 1)
            .sum()
            .backward();
        [x.grad(&gradients), w.grad(&gradients)].map(|g| g.map(|g| g.into_data()))
    };
    let [dx, dw] = run(x.clone().require_grad(), w.clone().require_grad());
    assert!(dw.is_some());
    let [dx_alone, none] = run(x.clone().require_grad(), w.clone());
    assert_eq!(dx, dx_alone);
    assert!(none.is_none());
    let [none, dw_alone] = run(x, w.require_grad());
    assert_eq!(dw, dw_alone);
    assert!(none.is_none());
}

/// Inputs that lie in memory as views do: repeated without a copy, backwards, a part of something larger.
#[test]
fn views_are_read_as_what_they_show() {
    type View = fn(&Tensor<1>) -> Tensor<4>;
    let views: [(usize, View); 3] = [
        (4 * 36, |t| shaped(t, [1, 4, 6, 6]).expand([3, 4, 6, 6])),
        (3 * 4 * 36, |t| shaped(t, [3, 4, 6, 6]).flip([0, 3])),
        (4 * 5 * 80, |t| {
            let whole = shaped(t, [4, 5, 8, 10]);
            whole
                .narrow(0, 1, 3)
                .narrow(1, 1, 4)
                .narrow(2, 2, 6)
                .narrow(3, 3, 6)
        }),
    ];
    for (size, view) in views {
        check(&[size], |t| flat(kernels::silu(view(&t[0]))));
        check(&[size], |t| flat(kernels::geglu(view(&t[0]))));
        check(&[size, 4, 4], |t| {
            flat(kernels::group_norm_silu(
                view(&t[0]),
                2,
                t[1].clone(),
                t[2].clone(),
                1e-5,
            ))
        });
        check(&[size, 6, 6], |t| {
            flat(kernels::layer_norm(
                view(&t[0]),
                t[1].clone(),
                t[2].clone(),
                1e-5,
            ))
        });
        check(&[size, 6 * 5], |t| {
            flat(kernels::linear(view(&t[0]), shaped(&t[1], [6, 5]), None))
        });
        check(&[size, 5 * 4 * 9], |t| {
            let weight = shaped(&t[1], [5, 4, 3, 3]).flip([2]);
            flat(kernels::conv2d(view(&t[0]), weight, None, 1, 1))
        });
        check(&[size], |t| {
            let x = view(&t[0]);
            flat(kernels::attention(x.clone(), x.clone().flip([2]), x, None))
        });
        check(&[size], |t| {
            flat(kernels::interpolate_nearest(view(&t[0]), [12, 12]))
        });
    }
}

/// What arrives from outputs that were used twice belongs to both: nobody may change it in place.
#[test]
fn gradients_that_are_shared_stay_as_they_are() {
    let dims = [2, 4, 6, 6];
    check(&[288, 4, 4], |t| {
        let x = shaped(&t[0], dims);
        let norm = |x| kernels::group_norm_silu(x, 2, t[1].clone(), t[2].clone(), 1e-5);
        flat(kernels::silu(x.clone()) + norm(x.clone()) + kernels::gelu(x.clone()) + x)
    });
    check(&[288, 6, 6], |t| {
        let x = shaped(&t[0], dims);
        let norm = kernels::layer_norm(x.clone(), t[1].clone(), t[2].clone(), 1e-5);
        flat(norm + kernels::silu(x))
    });
}

/// Nothing in, nothing out.
#[test]
fn empty_batches_give_empty_results() {
    let device = Device::flex().autodiff();
    let x = || Tensor::<4>::zeros([0, 4, 6, 6], &device).require_grad();
    let vector = |len| Tensor::<1>::ones([len], &device).require_grad();
    for (y, dims) in [
        (kernels::silu(x()), [0, 4, 6, 6]),
        (kernels::geglu(x()), [0, 4, 6, 3]),
        (
            kernels::group_norm_silu(x(), 2, vector(4), vector(4), 1e-5),
            [0, 4, 6, 6],
        ),
        (
            kernels::layer_norm(x(), vector(6), vector(6), 1e-5),
            [0, 4, 6, 6],
        ),
        (
            kernels::linear(x(), Tensor::ones([6, 5], &device), Some(vector(5))),
            [0, 4, 6, 5],
        ),
        (kernels::attention(x(), x(), x(), None), [0, 4, 6, 6]),
        (kernels::interpolate_nearest(x(), [12, 12]), [0, 4, 12, 12]),
    ] {
        assert_eq!(y.dims(), dims);
        y.sum().backward();
    }
}

/// Numbers that are not finite come through: a run has to notice them.
#[test]
fn nan_stays_nan() {
    let device = Device::flex();
    let x = Tensor::<1>::from_data(TensorData::new(vec![f32::NAN; 40], [40]), &device);
    let ones = |dims: [usize; 4]| Tensor::<4>::ones(dims, &device);
    let picture = shaped(&x, [1, 2, 4, 5]);
    for y in [
        kernels::silu(x.clone()),
        kernels::gelu(x.clone()),
        kernels::geglu(x.clone()),
        flat(kernels::group_norm_silu(
            picture.clone(),
            2,
            Tensor::ones([2], &device),
            Tensor::zeros([2], &device),
            1e-5,
        )),
        flat(kernels::layer_norm(
            shaped(&x, [2, 20]),
            Tensor::ones([20], &device),
            Tensor::zeros([20], &device),
            1e-5,
        )),
        flat(kernels::linear(
            shaped(&x, [2, 20]),
            Tensor::ones([20, 3], &device),
            None,
        )),
        flat(kernels::conv2d(
            picture.clone(),
            ones([3, 2, 3, 3]),
            None,
            1,
            1,
        )),
        flat(kernels::interpolate_nearest(picture, [8, 10])),
        flat(kernels::attention(
            shaped(&x, [1, 1, 10, 4]),
            ones([1, 1, 3, 4]),
            ones([1, 1, 3, 4]),
            None,
        )),
    ] {
        assert!(y.into_data().iter::<f32>().all(f32::is_nan));
    }
}

/// AdamW as the formulas say it, element by element in float64.
#[test]
fn adamw_agrees_with_its_formulas() {
    let device = Device::flex();
    let count = 20_011;
    let mut weight = numbers(count, 1);
    let (mut m, mut v) = (vec![0.0; count], vec![0.0; count]);
    let tensor = |values: &[f64]| {
        Tensor::<1>::from_data(
            TensorData::new(values.to_vec(), [count]),
            (&device, DType::F32),
        )
    };
    let mut ours = kernels::Moved {
        weight: tensor(&weight),
        moment_1: tensor(&m),
        moment_2: tensor(&v),
    };
    for step in 1..=4usize {
        let grad = numbers(count, 10 + step as u64);
        let adamw = kernels::AdamW {
            learning_rate: 0.01,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.02,
            step,
        };
        let moments = (step > 1).then(|| [ours.moment_1.clone(), ours.moment_2.clone()]);
        // Whoever holds a weight keeps it as it was.
        let (held, before) = (ours.weight.clone(), ours.weight.to_data());
        ours = adamw.apply(ours.weight, tensor(&grad), moments);
        assert_eq!(held.into_data(), before);
        let (b1, b2) = (0.9f64, 0.999f64);
        for i in 0..count {
            m[i] = b1 * m[i] + (1.0 - b1) * grad[i];
            v[i] = b2 * v[i] + (1.0 - b2) * grad[i] * grad[i];
            let direction = (m[i] / (1.0 - b1.powi(step as i32)))
                / ((v[i] / (1.0 - b2.powi(step as i32))).sqrt() + 1e-8);
            weight[i] = weight[i] * (1.0 - 0.01 * 0.02) - 0.01 * direction;
        }
    }
    let ours = ours
        .weight
        .into_data()
        .convert::<f64>()
        .try_to_vec::<f64>()
        .unwrap();
    for (i, (a, b)) in ours.iter().zip(&weight).enumerate() {
        assert!((a - b).abs() < 1e-5, "[{i}] {a} instead of {b}");
    }
}

/// The averages and norms of other devices' path, which float64 takes, and of ours.
#[test]
fn averages_and_norms_agree_in_both_types() {
    let device = Device::flex();
    let values = |dtype, seed| {
        Tensor::<2>::from_data(
            TensorData::new(numbers(30_030, seed), [30, 1001]),
            (&device, dtype),
        )
    };
    let averages = [DType::F32, DType::F64].map(|dtype| {
        let average = kernels::moving_average(values(dtype, 1), values(dtype, 2), 0.9);
        average
            .into_data()
            .convert::<f64>()
            .try_to_vec::<f64>()
            .unwrap()
    });
    assert!(
        averages[0]
            .iter()
            .zip(&averages[1])
            .all(|(a, b)| (a - b).abs() < 1e-6)
    );
    let truth: f64 = numbers(30_030, 3).iter().map(|x| x * x).sum();
    for dtype in [DType::F32, DType::F64] {
        let sum = f64::from(kernels::sum_of_squares(values(dtype, 3)).into_scalar::<f32>());
        assert!(
            (sum - truth).abs() < 1e-6 * truth,
            "{sum} instead of {truth}"
        );
    }
}
