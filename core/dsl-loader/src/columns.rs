//! Columns in the host's hands.

use bytes::Bytes;
use dsl_abi::{
    Buffer,
    buffer::{Element, bytes_of, elements_of},
};

use crate::{
    DType,
    call::Held,
    in_call::{Label, Loan},
};

/// One column of a batch.
#[derive(Debug, Clone)]
pub struct HostColumn {
    /// Its declared name.
    pub name: String,
    /// Its values.
    pub data: HostColumnData,
}

/// Values of a column.
#[derive(Debug, Clone)]
pub enum HostColumnData {
    /// Numbers, still in the plugin's memory.
    Tensor(HostTensor),
    /// Texts: as many for each sample as the column's shape says (one where it is empty), row-major, sample after sample.
    Text(Vec<String>),
}

/// Numbers of a column, row-major, without a copy: the plugin's memory is released when the last clone of the bytes is
/// dropped. Type, shape, length and alignment are checked.
#[derive(Debug, Clone)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<u64>,
    bytes: Bytes,
}

impl HostTensor {
    /// Floats of the host's own, in the place of a plugin's; nothing where they are not as many as the shape says.
    pub fn from_f32(shape: &[u64], values: Vec<f32>) -> Option<Self> {
        Self::own(DType::F32, shape, values)
    }

    /// Integers of the host's own, in the place of a plugin's; nothing where they are not as many as the shape says.
    pub fn from_i64(shape: &[u64], values: Vec<i64>) -> Option<Self> {
        Self::own(DType::I64, shape, values)
    }

    fn own<T: Element>(dtype: DType, shape: &[u64], values: Vec<T>) -> Option<Self> {
        let count = (shape.iter()).try_fold(1u64, |count, size| count.checked_mul(*size))?;
        (count == values.len() as u64).then(|| Self {
            dtype,
            shape: shape.to_vec(),
            bytes: Bytes::from_owner(Own(values)),
        })
    }

    /// Type, which is never text.
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape, the batch axis first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// The elements as bytes, in this machine's byte order, aligned for their type.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives the parts away: type, shape, bytes.
    pub fn into_parts(self) -> (DType, Vec<u64>, Bytes) {
        (self.dtype, self.shape, self.bytes)
    }

    /// The elements, if they are 32-bit floats.
    pub fn as_f32(&self) -> Option<&[f32]> {
        (self.dtype == DType::F32)
            .then(|| elements_of(&self.bytes))
            .flatten()
    }

    /// The elements, if they are bytes.
    pub fn as_u8(&self) -> Option<&[u8]> {
        (self.dtype == DType::U8).then_some(&*self.bytes)
    }

    /// The elements, if they are integers.
    pub fn as_i64(&self) -> Option<&[i64]> {
        (self.dtype == DType::I64)
            .then(|| elements_of(&self.bytes))
            .flatten()
    }
}

/// Memory of a plugin, lent to the host until this is dropped.
pub(crate) struct Lent {
    buffer: Held<Buffer>,
    /// Whoever crashes over the memory meanwhile can say whose it is.
    _loan: Loan,
}

impl Lent {
    /// Takes a buffer over within the call that made it, so that memory that is not there is put down to that call.
    ///
    /// # Errors
    /// What is wrong with the buffer, which is released.
    pub(crate) fn take(buffer: Buffer, release: &'static Label) -> Result<Self, String> {
        // First of all: releasing it is a call, whatever else is wrong.
        let buffer = Held::labelled(release, buffer);
        if let Some(breach) = buffer.breach() {
            return Err(breach);
        }
        let bytes = buffer.as_bytes();
        for byte in bytes.first().into_iter().chain(bytes.last()) {
            // SAFETY: reads through a reference, in a way that is not left out.
            unsafe { std::ptr::read_volatile(byte) };
        }
        Ok(Self {
            buffer,
            _loan: Loan::new(release),
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.buffer.as_bytes()
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Numbers of the host.
struct Own<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Own<T> {
    fn as_ref(&self) -> &[u8] {
        bytes_of(&self.0)
    }
}

impl HostTensor {
    /// Takes the memory of a column over; its length must be checked by the caller.
    ///
    /// # Errors
    /// What is wrong with the memory, as (expected, found).
    pub(crate) fn new(
        name: &str,
        dtype: DType,
        shape: Vec<u64>,
        data: Lent,
    ) -> Result<Self, (String, String)> {
        let bytes = data.as_bytes();
        let is_aligned = match dtype {
            DType::F32 => elements_of::<f32>(bytes).is_some(),
            DType::I64 => elements_of::<i64>(bytes).is_some(),
            DType::U8 | DType::Text => true,
        };
        if !is_aligned {
            return Err((
                format!(
                    "column `{name}` aligned to {} bytes and whole elements",
                    dtype.size_bytes()
                ),
                format!("{} bytes at address {:p}", bytes.len(), bytes.as_ptr()),
            ));
        }
        Ok(Self {
            dtype,
            shape,
            bytes: Bytes::from_owner(data),
        })
    }
}

/// A file that an evaluator made, still in the plugin's memory. Its name is a plain file name.
#[derive(Debug, Clone)]
pub struct HostArtefact {
    /// File name with extension, without folders.
    pub name: String,
    /// Kind of content, such as `image/png`.
    pub media_type: String,
    /// The content.
    pub bytes: Bytes,
}

/// A column lent to a plugin for one call.
#[derive(Debug, Clone, Copy)]
pub struct InputColumn<'a> {
    /// Name that the interface or the dataset gives it.
    pub name: &'a str,
    /// Values.
    pub data: InputData<'a>,
}

/// Values lent to a plugin: row-major, the batch axis first.
#[derive(Debug, Clone, Copy)]
pub enum InputData<'a> {
    /// 32-bit floats.
    F32 {
        /// Shape.
        shape: &'a [u64],
        /// As many as the shape says.
        values: &'a [f32],
    },
    /// Bytes.
    U8 {
        /// Shape.
        shape: &'a [u64],
        /// As many as the shape says.
        values: &'a [u8],
    },
    /// Integers.
    I64 {
        /// Shape.
        shape: &'a [u64],
        /// As many as the shape says.
        values: &'a [i64],
    },
    /// Texts: as many for each sample as the column's shape says (one where it is empty), row-major, sample after sample.
    Text(&'a [String]),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_host_are_read_as_a_plugins() {
        let floats = HostTensor::from_f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((floats.dtype(), floats.shape()), (DType::F32, &[2, 2][..]));
        assert_eq!(floats.as_f32(), Some(&[1.0, 2.0, 3.0, 4.0][..]));
        assert_eq!(floats.as_i64(), None);
        let ids = HostTensor::from_i64(&[3], vec![7, -1, i64::MAX]).unwrap();
        assert_eq!(ids.as_i64(), Some(&[7, -1, i64::MAX][..]));
        assert_eq!(ids.bytes().len(), 24);
        let nothing = HostTensor::from_f32(&[0, 5], Vec::new()).unwrap();
        assert_eq!(nothing.as_f32(), Some(&[][..]));
    }

    #[test]
    fn as_many_numbers_as_the_shape_says() {
        assert!(HostTensor::from_f32(&[2, 2], vec![1.0; 3]).is_none());
        assert!(HostTensor::from_i64(&[u64::MAX, 2], vec![1, 2]).is_none());
    }
}
