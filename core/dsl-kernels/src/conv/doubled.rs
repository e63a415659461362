//! A convolution of a picture of twice the size, without that picture.
//!
//! Each element is there four times, so two or four taps of the kernel meet the same one, and their weights can be added up
//! beforehand. What is left is the transpose of a convolution with a kernel of four and stride 2: four products for each
//! output and channel in place of nine.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::{ConvShape, conv2d, direct, strided, weight_gradient};
use crate::add;
use crate::buffer::{self, Dense};
use crate::layer::{self, Layer};
use crate::parallel;
use crate::upsample::interpolate_nearest;

/// Twice the size by repeating each element, then a 3×3 convolution with a padding of 1: as
/// [`interpolate_nearest`] and [`conv2d`] one after the other.
///
/// # Shapes
/// - `x`: `[batch, channels_in, height, width]`, `weight`: `[channels_out, channels_in, 3, 3]`, `bias`: `[channels_out]`
/// - result: `[batch, channels_out, 2 height, 2 width]`
pub fn upsample_conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let [batch, channels_in, height, width] = x.dims();
    let doubled = [2 * height, 2 * width];
    let composed = |x: Tensor<4>, weight, bias| {
        let x = interpolate_nearest(x, doubled);
        conv2d(x, weight, bias, 1, 1)
    };
    let [channels_out, _, _, _] = weight.dims();
    let fits = weight.dims() == [channels_out, channels_in, KERNEL, KERNEL]
        && bias
            .as_ref()
            .is_none_or(|bias| bias.dims() == [channels_out]);
    let transpose_of = ConvShape::new(
        [batch, channels_out, doubled[0], doubled[1]],
        [channels_in, channels_out, SPREAD, SPREAD],
        2,
        1,
    );
    // A mistake is burn's to report.
    let Some(transpose_of) = transpose_of.filter(|_| fits) else {
        return composed(x, weight, bias);
    };
    layer::run(UpsampleConv { transpose_of }, x, weight, bias, composed)
}

const KERNEL: usize = 3;
/// What the kernel becomes.
const SPREAD: usize = 4;

/// The taps of the kernel that meet the element at each tap of the spread kernel.
const MET: [&[usize]; SPREAD] = [&[2], &[1, 2], &[0, 1], &[0]];

/// From `[channels_out, channels_in, 3, 3]` to `[channels_in, channels_out, 4, 4]`.
fn spread(weight: &[f32], [channels_out, channels_in]: [usize; 2]) -> Vec<f32> {
    const TAPS: usize = KERNEL * KERNEL;
    let mut spread = buffer::zeros(channels_in * channels_out * SPREAD * SPREAD);
    let work = spread.len() * 2;
    let pieces = parallel::pieces(&mut spread, channels_out * SPREAD * SPREAD);
    parallel::each(pieces, work, |channel_in, spread| {
        for (channel_out, spread) in spread.chunks_exact_mut(SPREAD * SPREAD).enumerate() {
            let kernel = &weight[(channel_out * channels_in + channel_in) * TAPS..][..TAPS];
            for (i, sum) in spread.iter_mut().enumerate() {
                for row in MET[i / SPREAD] {
                    for col in MET[i % SPREAD] {
                        *sum += kernel[row * KERNEL + col];
                    }
                }
            }
        }
    });
    spread
}

/// The way back for gradients: each tap gets those of the sums that it is part of.
fn gather(spread: &[f32], [channels_out, channels_in]: [usize; 2]) -> Vec<f32> {
    const TAPS: usize = KERNEL * KERNEL;
    let mut weight = buffer::zeros(channels_out * channels_in * TAPS);
    let work = weight.len() * 4;
    let pieces = parallel::pieces(&mut weight, channels_in * TAPS);
    parallel::each(pieces, work, |channel_out, weight| {
        for (channel_in, weight) in weight.chunks_exact_mut(TAPS).enumerate() {
            let at = (channel_in * channels_out + channel_out) * SPREAD * SPREAD;
            let spread = &spread[at..][..SPREAD * SPREAD];
            for (i, sum) in spread.iter().enumerate() {
                for row in MET[i / SPREAD] {
                    for col in MET[i % SPREAD] {
                        weight[row * KERNEL + col] += sum;
                    }
                }
            }
        }
    });
    weight
}

#[derive(Debug, Clone)]
struct UpsampleConv {
    /// From the large picture to the small one.
    transpose_of: ConvShape,
}

impl UpsampleConv {
    /// Output and input channels.
    fn channels(&self) -> [usize; 2] {
        [
            self.transpose_of.channels_in,
            self.transpose_of.channels_out,
        ]
    }
}

impl Layer for UpsampleConv {
    type Weight = Dense;

    fn weight(&self, tensor: FlexTensor) -> Dense {
        Dense::new(tensor)
    }

    fn output(&self, x: &Dense, weight: &Dense, bias: Option<&Dense>) -> FlexTensor {
        let spread = spread(weight.values(), self.channels());
        let bias = bias.map(Dense::values);
        strided::transposed(&self.transpose_of, &spread, x.values(), bias)
    }

    fn input_gradient(&self, weight: &Dense, grad: &Dense) -> FlexTensor {
        let spread = spread(weight.values(), self.channels());
        let packed = direct::Packed::new(&spread, &self.transpose_of);
        direct::convolve(&self.transpose_of, grad.values(), &packed, None)
    }

    fn weight_gradient(&self, x: &Dense, weight: &Dense, grad: &Dense) -> FlexTensor {
        let spread =
            weight_gradient::weight_gradient(&self.transpose_of, grad.values(), x.values());
        let dw = gather(Dense::new(spread).values(), self.channels());
        buffer::tensor(dw, weight.shape().clone())
    }

    fn bias_gradient(&self, grad: &Dense) -> FlexTensor {
        add::sum_per_channel(grad)
    }
}
