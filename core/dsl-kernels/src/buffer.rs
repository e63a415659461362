//! Float32 tensors of the CPU backend as slices.

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

/// A tensor whose elements lie one after the other, in row-major order.
#[derive(Debug, Clone)]
pub(crate) struct Dense(FlexTensor);

impl Dense {
    /// Copies where the elements lie otherwise.
    pub fn new(tensor: FlexTensor) -> Self {
        if tensor.is_contiguous() {
            Self(tensor)
        } else {
            Self(tensor.to_contiguous())
        }
    }

    pub fn values(&self) -> &[f32] {
        self.0
            .as_slice()
            .expect("dense tensors of float32 only, see `new` and `route`")
    }

    pub fn shape(&self) -> &Shape {
        self.0.layout().shape()
    }

    pub fn dims<const D: usize>(&self) -> [usize; D] {
        self.shape().dims()
    }
}

/// A tensor that takes over `values`, row-major.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    let shape = shape.into();
    // burn's operations trust this without looking.
    assert_eq!(values.len(), shape.num_elements(), "values of this shape");
    FlexTensor::new(
        Bytes::from_elems(values),
        Layout::contiguous(shape),
        DType::F32,
    )
}

/// A buffer to be filled.
pub(crate) fn zeros(len: usize) -> Vec<f32> {
    vec![0.0; len]
}
