//! Group and layer normalisation; group normalisation also followed by SiLU.
//!
//! Kept for the backward pass: the input and one mean and one inverse deviation per group or row.

use std::mem::MaybeUninit;

use burn::backend::flex::FlexTensor;
use burn::tensor::{Tensor, module};

use crate::activation;
use crate::buffer::{self, Dense, Unfilled};
use crate::parallel;
use crate::route::{self, CpuOperation};
use crate::scalar;
use crate::simd;

/// Group normalisation with an affine map per channel.
///
/// `(x - mean) / sqrt(var + norm_eps) * weight + bias`, mean and (biased) variance over the channels of a group and all
/// positions; as PyTorch's `GroupNorm`.
///
/// # Shapes
/// - `x`, result: `[batch, channels, height, width]`; `weight`, `bias`: `[channels]`; `channels` is a multiple of `groups`
pub fn group_norm(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm_eps: f64,
) -> Tensor<4> {
    group_norm_then(x, groups, weight, bias, norm_eps, false)
}

/// [`group_norm`], then SiLU, in one pass.
///
/// # Shapes
/// - as [`group_norm`]
pub fn group_norm_silu(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm_eps: f64,
) -> Tensor<4> {
    group_norm_then(x, groups, weight, bias, norm_eps, true)
}

fn group_norm_then(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm_eps: f64,
    silu: bool,
) -> Tensor<4> {
    let channels = x.dims()[1];
    let fits = groups > 0
        && channels > 0
        && channels.is_multiple_of(groups)
        && [weight.dims(), bias.dims()] == [[channels]; 2];
    let operation = GroupNorm {
        groups,
        norm_eps: norm_eps as f32,
        silu,
    };
    let inputs = [
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ];
    match route::run_if(fits, operation, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, weight, bias]) => {
            let y = composed_group_norm(
                Tensor::from_dispatch(x),
                groups,
                Tensor::from_dispatch(weight),
                Tensor::from_dispatch(bias),
                norm_eps,
            );
            if silu { activation::silu(y) } else { y }
        }
    }
}

fn composed_group_norm(
    x: Tensor<4>,
    groups: usize,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm_eps: f64,
) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let x = x.reshape([batch, groups, channels / groups * height * width]);
    let mean = x.clone().mean_dim(2);
    let centred = x - mean;
    let var = (centred.clone() * centred.clone()).mean_dim(2);
    let normed = centred * (var + norm_eps).sqrt().recip();
    normed.reshape([batch, channels, height, width]) * weight.reshape([1, channels, 1, 1])
        + bias.reshape([1, channels, 1, 1])
}

/// Layer normalisation over the last axis; as PyTorch's `LayerNorm`.
///
/// # Shapes
/// - `x`, result: `[.., features]`; `weight`, `bias`: `[features]`
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    norm_eps: f64,
) -> Tensor<D> {
    let features = x.dims()[D - 1];
    let fits = features > 0 && [weight.dims(), bias.dims()] == [[features]; 2];
    let operation = LayerNorm {
        norm_eps: norm_eps as f32,
    };
    let inputs = [
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ];
    match route::run_if(fits, operation, inputs) {
        Ok(y) => Tensor::from_dispatch(y),
        Err([x, weight, bias]) => module::layer_norm(
            Tensor::<D>::from_dispatch(x),
            Tensor::from_dispatch(weight),
            Some(Tensor::from_dispatch(bias)),
            norm_eps,
        ),
    }
}

/// Mean and inverse standard deviation of `x`.
#[inline(always)]
fn moments(x: &[f32], norm_eps: f32) -> (f32, f32) {
    let count = x.len() as f32;
    let mean = scalar::sum([x], |[x]| x) / count;
    // A second pass over values that are still in the cache: no cancellation.
    let var = scalar::sum([x], |[x]| (x - mean) * (x - mean)) / count;
    (mean, 1.0 / (var + norm_eps).sqrt())
}

#[derive(Debug, Clone)]
struct GroupNorm {
    groups: usize,
    norm_eps: f32,
    silu: bool,
}

#[derive(Debug, Clone)]
struct SavedGroups {
    x: Dense,
    weight: Dense,
    bias: Dense,
    /// Mean and inverse deviation, per sample and group.
    moments: Vec<[f32; 2]>,
}

impl CpuOperation<3> for GroupNorm {
    type Saved = SavedGroups;

    fn forward(&self, inputs: [FlexTensor; 3], _: [bool; 3]) -> (FlexTensor, SavedGroups) {
        let [x, weight, bias] = inputs.map(Dense::new);
        let [batch, channels, height, width] = x.dims::<4>();
        let positions = height * width;
        let group_channels = channels / self.groups;
        let size = group_channels * positions;
        let mut y = Unfilled::new(x.values().len());
        let mut moments_of = vec![[0.0; 2]; batch * self.groups];
        let work = y.len() * if self.silu { 6 } else { 3 };
        let pieces = parallel::pieces(&mut y, size)
            .into_iter()
            .zip(&mut moments_of)
            .collect();
        parallel::each(pieces, work, |i, (y, kept)| {
            let x = &x.values()[i * size..][..size];
            let first = i % self.groups * group_channels;
            let weight = &weight.values()[first..][..group_channels];
            let bias = &bias.values()[first..][..group_channels];
            *kept = simd::wide(
                #[inline(always)]
                || {
                    let (mean, inverse) = moments(x, self.norm_eps);
                    for (c, (y, x)) in y
                        .chunks_exact_mut(positions)
                        .zip(x.chunks_exact(positions))
                        .enumerate()
                    {
                        let scale = inverse * weight[c];
                        let shift = bias[c];
                        if self.silu {
                            for (y, x) in y.iter_mut().zip(x) {
                                y.write(scalar::silu((x - mean) * scale + shift));
                            }
                        } else {
                            for (y, x) in y.iter_mut().zip(x) {
                                y.write((x - mean) * scale + shift);
                            }
                        }
                    }
                    [mean, inverse]
                },
            );
        });
        // SAFETY: the pieces are the groups, each channel of which was written.
        let output = unsafe { y.into_tensor(x.shape().clone()) };
        let saved = SavedGroups {
            x,
            weight,
            bias,
            moments: moments_of,
        };
        (output, saved)
    }

    fn backward(
        &self,
        saved: SavedGroups,
        grad: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let SavedGroups {
            x,
            weight,
            bias,
            moments,
        } = saved;
        let [batch, channels, height, width] = x.dims::<4>();
        let positions = height * width;
        let group_channels = channels / self.groups;
        let size = group_channels * positions;
        // Per sample and channel: the sums over positions of dy and of dy * normed.
        let mut sums = vec![[0.0f32; 2]; batch * channels];
        let work = x.values().len() * if self.silu { 10 } else { 5 };
        let dx = buffer::change(
            grad,
            size,
            sums.chunks_mut(group_channels),
            work,
            |i, dx, sums: &mut [[f32; 2]]| {
                let x = &x.values()[i * size..][..size];
                let first = i % self.groups * group_channels;
                let weight = &weight.values()[first..][..group_channels];
                let bias = &bias.values()[first..][..group_channels];
                let [mean, inverse] = moments[i];
                simd::wide(
                    #[inline(always)]
                    || {
                        let (mut of_dy, mut of_dy_normed) = (0.0, 0.0);
                        for c in 0..group_channels {
                            let range = c * positions..(c + 1) * positions;
                            let (x, dx) = (&x[range.clone()], &mut dx[range]);
                            // The gradient before SiLU waits here for the sums over the group.
                            if self.silu {
                                let (scale, shift) = (inverse * weight[c], bias[c]);
                                for (dx, x) in dx.iter_mut().zip(x) {
                                    *dx *= scalar::silu_derivative((x - mean) * scale + shift);
                                }
                            }
                            let dx = &*dx;
                            let dy = scalar::sum([dx], |[dx]| dx);
                            let dy_normed =
                                scalar::sum([dx, x], |[dx, x]| dx * (x - mean)) * inverse;
                            sums[c] = [dy, dy_normed];
                            of_dy += dy * weight[c];
                            of_dy_normed += dy_normed * weight[c];
                        }
                        let offset = of_dy / size as f32;
                        let slope = of_dy_normed / size as f32 * inverse;
                        for (c, weight) in weight.iter().enumerate() {
                            let range = c * positions..(c + 1) * positions;
                            for (dx, x) in dx[range.clone()].iter_mut().zip(&x[range]) {
                                *dx = (*dx * weight - offset - (x - mean) * slope) * inverse;
                            }
                        }
                    },
                );
            },
        );
        let over_batch = |which: usize| {
            let mut total = vec![0.0f32; channels];
            for sample in sums.chunks_exact(channels) {
                for (total, sum) in total.iter_mut().zip(sample) {
                    *total += sum[which];
                }
            }
            buffer::tensor(total, [channels])
        };
        [
            wanted[0].then_some(dx),
            wanted[1].then(|| over_batch(1)),
            wanted[2].then(|| over_batch(0)),
        ]
    }
}

#[derive(Debug, Clone)]
struct LayerNorm {
    norm_eps: f32,
}

#[derive(Debug, Clone)]
struct SavedRows {
    x: Dense,
    weight: Dense,
    /// Mean and inverse deviation, per row.
    moments: Vec<[f32; 2]>,
}

/// Rows that one piece of work takes; the sums over rows are cut here too, so it must not depend on the threads.
const ROWS: usize = 64;

impl CpuOperation<3> for LayerNorm {
    type Saved = SavedRows;

    fn forward(&self, inputs: [FlexTensor; 3], _: [bool; 3]) -> (FlexTensor, SavedRows) {
        let [x, weight, bias] = inputs.map(Dense::new);
        let features = weight.values().len();
        let values = x.values();
        let mut y = Unfilled::new(values.len());
        let mut kept = vec![[0.0f32; 2]; values.len() / features.max(1)];
        let work = values.len() * 3;
        let pieces = parallel::pieces(&mut y, ROWS * features)
            .into_iter()
            .zip(kept.chunks_mut(ROWS))
            .collect();
        parallel::each(
            pieces,
            work,
            |i, (y, kept): (&mut [MaybeUninit<f32>], &mut [[f32; 2]])| {
                let x = &values[i * ROWS * features..][..y.len()];
                let (weight, bias) = (weight.values(), bias.values());
                simd::wide(
                    #[inline(always)]
                    || {
                        let rows = y
                            .chunks_exact_mut(features)
                            .zip(x.chunks_exact(features))
                            .zip(kept.iter_mut());
                        for ((y, x), kept) in rows {
                            let (mean, inverse) = moments(x, self.norm_eps);
                            *kept = [mean, inverse];
                            for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                                y.write((x - mean) * inverse * w + b);
                            }
                        }
                    },
                );
            },
        );
        // SAFETY: the pieces make up the whole buffer and hold whole rows, each of which was written.
        let output = unsafe { y.into_tensor(x.shape().clone()) };
        (
            output,
            SavedRows {
                x,
                weight,
                moments: kept,
            },
        )
    }

    fn backward(
        &self,
        saved: SavedRows,
        grad: FlexTensor,
        wanted: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let SavedRows { x, weight, moments } = saved;
        let features = weight.values().len();
        let values = x.values();
        let blocks = values.len().div_ceil((ROWS * features).max(1));
        // Per block of rows: the sums of dy * normed, then of dy.
        let mut partial = vec![0.0f32; blocks * 2 * features];
        let work = values.len() * 5;
        let dx = buffer::change(
            grad,
            ROWS * features,
            partial.chunks_mut((2 * features).max(1)),
            work,
            |i, dx, partial: &mut [f32]| {
                let x = &values[i * ROWS * features..][..dx.len()];
                let (d_weight, d_bias) = partial.split_at_mut(features);
                let weight = weight.values();
                simd::wide(
                    #[inline(always)]
                    || {
                        let rows = dx
                            .chunks_exact_mut(features)
                            .zip(x.chunks_exact(features))
                            .zip(&moments[i * ROWS..]);
                        for ((dx, x), [mean, inverse]) in rows {
                            let (mean, inverse) = (*mean, *inverse);
                            let sums = d_weight.iter_mut().zip(&mut *d_bias);
                            for (((d_weight, d_bias), dy), x) in sums.zip(&*dx).zip(x) {
                                *d_weight += dy * ((x - mean) * inverse);
                                *d_bias += dy;
                            }
                            let of_dy = scalar::sum([dx, weight], |[dx, w]| dx * w);
                            let of_dy_normed =
                                scalar::sum([dx, weight, x], |[dx, w, x]| dx * w * (x - mean))
                                    * inverse;
                            let offset = of_dy / features as f32;
                            let slope = of_dy_normed / features as f32 * inverse;
                            for ((dx, x), w) in dx.iter_mut().zip(x).zip(weight) {
                                *dx = (*dx * w - offset - (x - mean) * slope) * inverse;
                            }
                        }
                    },
                );
            },
        );
        let over_blocks = |first: usize| {
            let mut total = vec![0.0f32; features];
            for block in partial.chunks_exact(2 * features) {
                for (total, value) in total.iter_mut().zip(&block[first..]) {
                    *total += value;
                }
            }
            buffer::tensor(total, [features])
        };
        [
            wanted[0].then_some(dx),
            wanted[1].then(|| over_blocks(0)),
            wanted[2].then(|| over_blocks(features)),
        ]
    }
}
