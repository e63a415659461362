//! Gradients of convolutions of any stride and kernel: patches become the columns of a matrix, `[channels_in * kernel *
//! kernel, positions_out]`.

use super::ConvShape;
use crate::buffer;
use crate::matrix::{Destination, Matrix, MatrixMut, product};
use crate::parallel;
use crate::scratch;

impl ConvShape {
    /// Rows of the matrix of patches.
    fn patch(&self) -> usize {
        self.channels_in * self.kernel * self.kernel
    }

    /// Calls `visit` with each row of the matrix of patches and the runs of it that lie inside the picture: the range of
    /// output columns of one output row, the first element of the picture that belongs to it, the next one being
    /// `stride` further.
    fn for_each_run(&self, mut visit: impl FnMut(usize, std::ops::Range<usize>, usize)) {
        let ([height, width], [out_height, out_width]) = (self.size_in, self.size_out);
        for row in 0..self.patch() {
            let (channel, tap) = (
                row / (self.kernel * self.kernel),
                row % (self.kernel * self.kernel),
            );
            let (tap_y, tap_x) = (tap / self.kernel, tap % self.kernel);
            // Output columns whose input column lies inside the picture.
            let first = self.padding.saturating_sub(tap_x).div_ceil(self.stride);
            let end = match (width + self.padding).checked_sub(tap_x + 1) {
                Some(last) => (last / self.stride + 1).min(out_width),
                None => 0,
            };
            for out_y in 0..out_height {
                let y = out_y * self.stride + tap_y;
                if y < self.padding || y >= height + self.padding || first >= end {
                    continue;
                }
                let x = first * self.stride + tap_x - self.padding;
                let input = (channel * height + y - self.padding) * width + x;
                let output = row * out_height * out_width + out_y * out_width;
                visit(row, output + first..output + end, input);
            }
        }
    }

    fn gather(&self, columns: &mut [f32], x: &[f32]) {
        columns.fill(0.0);
        self.for_each_run(|_, outputs, input| {
            let inputs = x[input..].iter().step_by(self.stride);
            for (column, x) in columns[outputs].iter_mut().zip(inputs) {
                *column = *x;
            }
        });
    }

    fn scatter(&self, dx: &mut [f32], columns: &[f32]) {
        self.for_each_run(|_, outputs, input| {
            let inputs = dx[input..].iter_mut().step_by(self.stride);
            for (column, dx) in columns[outputs].iter().zip(inputs) {
                *dx += column;
            }
        });
    }
}

pub(super) fn input_gradient(shape: &ConvShape, weight: &[f32], grad: &[f32]) -> Vec<f32> {
    let (positions, patch) = (shape.positions_out(), shape.patch());
    let of_sample = shape.channels_in * shape.positions_in();
    let mut dx = buffer::zeros(shape.batch * of_sample);
    parallel::each(
        parallel::pieces(&mut dx, of_sample),
        shape.work() / 16,
        |sample, dx| {
            let grad =
                &grad[sample * shape.channels_out * positions..][..shape.channels_out * positions];
            scratch::with(patch * positions, |columns| {
                product(
                    &mut MatrixMut::row_major(columns, patch, positions),
                    Destination::Overwrite,
                    1.0,
                    Matrix::row_major(weight, shape.channels_out, patch).transposed(),
                    Matrix::row_major(grad, shape.channels_out, positions),
                    gemm::Parallelism::None,
                );
                shape.scatter(dx, columns);
            });
        },
    );
    dx
}

pub(super) fn weight_gradient(shape: &ConvShape, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let (positions, patch) = (shape.positions_out(), shape.patch());
    let of_sample = shape.channels_in * shape.positions_in();
    let mut dw = buffer::zeros(shape.channels_out * patch);
    scratch::with(patch * positions, |columns| {
        for sample in 0..shape.batch {
            shape.gather(columns, &x[sample * of_sample..][..of_sample]);
            let grad =
                &grad[sample * shape.channels_out * positions..][..shape.channels_out * positions];
            product(
                &mut MatrixMut::row_major(&mut dw, shape.channels_out, patch),
                Destination::Add,
                1.0,
                Matrix::row_major(grad, shape.channels_out, positions),
                Matrix::row_major(columns, patch, positions).transposed(),
                parallel::for_gemm(shape.work() / shape.batch),
            );
        }
    });
    dw
}
