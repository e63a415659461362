//! Matrix products on the crate `gemm`, over views with any positive strides.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use gemm::Parallelism;

/// A read-only matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub values: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other.
    pub fn row_major(values: &'a [f32], rows: usize, cols: usize) -> Self {
        Self {
            values,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Some of the rows.
    pub fn rows_from(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.rows, "rows of the matrix");
        let values = self.values.get(first * self.row_stride..);
        Self {
            values: values.unwrap_or_default(),
            rows: count,
            ..self
        }
    }

    fn assert_inside(&self) {
        if self.rows > 0 && self.cols > 0 {
            let last = (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride;
            assert!(
                last < self.values.len(),
                "a matrix reaches beyond its slice"
            );
        }
    }
}

/// A matrix that a product is written to.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    values: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    owner: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    /// Rows one after the other.
    pub fn row_major(values: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert!(
            rows * cols <= values.len(),
            "a matrix reaches beyond its slice"
        );
        Self {
            values: values.as_mut_ptr(),
            rows,
            cols,
            row_stride: cols,
            owner: PhantomData,
        }
    }

    /// Rows one after the other, of elements that a product overwrites.
    pub fn unfilled(values: &'a mut [MaybeUninit<f32>], rows: usize, cols: usize) -> Self {
        assert!(
            rows * cols <= values.len(),
            "a matrix reaches beyond its slice"
        );
        Self {
            values: values.as_mut_ptr().cast(),
            rows,
            cols,
            row_stride: cols,
            owner: PhantomData,
        }
    }

    /// Rows of `cols` elements that begin `row_stride` elements apart.
    ///
    /// # Safety
    /// For the lifetime `'a` the elements of all rows are valid to read and write through `values`, and nobody else reads or
    /// writes them. `row_stride >= cols`.
    pub unsafe fn strided(values: *mut f32, rows: usize, cols: usize, row_stride: usize) -> Self {
        Self {
            values,
            rows,
            cols,
            row_stride,
            owner: PhantomData,
        }
    }

    /// Multiplies each row by its factor.
    pub fn scale_rows(&mut self, factors: &[f32]) {
        assert!(factors.len() >= self.rows);
        for (row, factor) in factors.iter().take(self.rows).enumerate() {
            // SAFETY: the row belongs to this view, by its constructors, and the view is borrowed exclusively.
            let row = unsafe {
                std::slice::from_raw_parts_mut(self.values.add(row * self.row_stride), self.cols)
            };
            row.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

/// What happens to the values that the destination holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Overwrite,
    Add,
}

/// `dst = [dst +] factor * lhs @ rhs`.
pub(crate) fn product(
    dst: &mut MatrixMut<'_>,
    destination: Destination,
    factor: f32,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    parallelism: Parallelism,
) {
    assert_eq!(
        [lhs.rows, rhs.cols],
        [dst.rows, dst.cols],
        "a product of this shape"
    );
    assert_eq!(lhs.cols, rhs.rows, "factors that fit each other");
    lhs.assert_inside();
    rhs.assert_inside();
    // SAFETY: the factors lie inside their slices, as just checked; the destination's elements are valid and exclusive by
    // `MatrixMut`'s constructors. Strides are those of the views.
    unsafe {
        gemm::gemm(
            dst.rows,
            dst.cols,
            lhs.cols,
            dst.values,
            1,
            dst.row_stride as isize,
            destination == Destination::Add,
            lhs.values.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.values.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            1.0,
            factor,
            false,
            false,
            false,
            parallelism,
        );
    }
}
