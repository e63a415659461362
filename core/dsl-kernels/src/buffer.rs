//! Float32 tensors of the CPU backend as slices.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

use crate::parallel::{self, pieces};

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

    /// The elements for writing, if nobody else holds them.
    pub fn sole_values(&mut self) -> Option<&mut [f32]> {
        let (from, to) = self.0.layout().contiguous_offsets()?;
        self.0.try_storage_mut().map(|values| &mut values[from..to])
    }

    /// The elements for writing, in a copy if anybody else holds them.
    pub fn values_mut(&mut self) -> &mut [f32] {
        let (from, to) =
            (self.0.layout().contiguous_offsets()).expect("dense tensors only, see `new`");
        &mut self.0.storage_mut()[from..to]
    }

    pub fn into_tensor(self) -> FlexTensor {
        self.0
    }

    pub fn shape(&self) -> &Shape {
        self.0.layout().shape()
    }

    pub fn dims<const D: usize>(&self) -> [usize; D] {
        self.shape().dims()
    }
}

/// Elements that hold numbers, as a place for others.
///
/// # Safety
/// Nothing but numbers is written there.
pub(crate) unsafe fn to_be_filled(values: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    // SAFETY: the same elements, of the same layout; they stay initialised by this function's contract.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) }
}

/// `tensor` with each piece of `size` elements changed by `job`, which also gets the piece's index and its companion:
/// in place where nobody else holds the elements, as is usual for gradients, else in a copy.
pub(crate) fn change<T: Send>(
    tensor: FlexTensor,
    size: usize,
    companions: impl ExactSizeIterator<Item = T>,
    work: usize,
    job: impl Fn(usize, &mut [f32], T) + Sync + Send,
) -> FlexTensor {
    let mut tensor = Dense::new(tensor);
    let count = tensor.values().len().div_ceil(size.max(1));
    assert_eq!(companions.len(), count, "one companion for each piece");
    if let Some(values) = tensor.sole_values() {
        let pieces = pieces(values, size).into_iter().zip(companions).collect();
        parallel::each(pieces, work, |i, (values, companion)| {
            job(i, values, companion);
        });
        return tensor.0;
    }
    let values = tensor.values();
    let mut changed = Unfilled::new(values.len());
    let shared = values.chunks(size.max(1));
    let pieces = pieces(&mut changed, size)
        .into_iter()
        .zip(shared)
        .zip(companions)
        .collect();
    type Piece<'a, T> = ((&'a mut [MaybeUninit<f32>], &'a [f32]), T);
    parallel::each(
        pieces,
        work,
        |i, ((changed, values), companion): Piece<T>| {
            job(i, changed.write_copy_of_slice(values), companion);
        },
    );
    // SAFETY: the pieces make up the whole buffer, and each has been copied to: none is left over for want
    // of a companion, which is asserted above.
    unsafe { changed.into_tensor(tensor.shape().clone()) }
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

/// A buffer of zeros.
pub(crate) fn zeros(len: usize) -> Vec<f32> {
    vec![0.0; len]
}

/// A buffer whose elements are all written before anybody reads them: clearing it first would be a pass over memory in
/// vain.
#[derive(Debug)]
pub(crate) struct Unfilled(Vec<MaybeUninit<f32>>);

impl Unfilled {
    /// In tests full of NaN, so that an element that is forgotten shows.
    pub fn new(len: usize) -> Self {
        if cfg!(debug_assertions) {
            return Self(vec![MaybeUninit::new(f32::NAN); len]);
        }
        let mut values = Vec::with_capacity(len);
        // SAFETY: elements that may be uninitialised need no initialisation.
        #[allow(unsafe_code)]
        unsafe {
            values.set_len(len);
        }
        Self(values)
    }

    /// These elements.
    ///
    /// # Safety
    /// Every one has been written.
    pub unsafe fn into_vec(self) -> Vec<f32> {
        let mut values = ManuallyDrop::new(self.0);
        // SAFETY: the parts of a vector that is not dropped; `MaybeUninit<f32>` has the layout of `f32`, and all elements
        // are initialised by this function's contract.
        unsafe {
            Vec::from_raw_parts(
                values.as_mut_ptr().cast::<f32>(),
                values.len(),
                values.capacity(),
            )
        }
    }

    /// The tensor of these elements, row-major.
    ///
    /// # Safety
    /// Every element has been written.
    pub unsafe fn into_tensor(self, shape: impl Into<Shape>) -> FlexTensor {
        // SAFETY: by this function's contract.
        tensor(unsafe { self.into_vec() }, shape)
    }
}

impl Deref for Unfilled {
    type Target = [MaybeUninit<f32>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Unfilled {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}
