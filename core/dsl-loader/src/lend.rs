//! Columns of the host in a plugin's hands, for one call.

use dsl_abi::{
    BatchView, TensorView, TextView,
    buffer::{Element, bytes_of},
    tensor::join_texts,
};

use crate::{DType, InputColumn, InputData};

/// Lends columns to `body`: numbers as they lie, texts joined.
///
/// # Panics
/// If a column has another number of values than its shape says: a mistake of the caller.
pub(crate) fn lend<T>(inputs: &[InputColumn<'_>], body: impl FnOnce(&BatchView<'_>) -> T) -> T {
    let (mut tensors, mut joined) = (Vec::new(), Vec::new());
    for input in inputs {
        match input.data {
            InputData::F32 { shape, values } => {
                tensors.push(view(input.name, DType::F32, shape, values))
            }
            InputData::U8 { shape, values } => {
                tensors.push(view(input.name, DType::U8, shape, values))
            }
            InputData::I64 { shape, values } => {
                tensors.push(view(input.name, DType::I64, shape, values))
            }
            InputData::Text(texts) => joined.push((input.name, join_texts(texts))),
        }
    }
    let texts: Vec<_> = (joined.iter())
        .map(|(name, (bytes, offsets))| TextView {
            name: (*name).into(),
            bytes: bytes.as_slice().into(),
            offsets: offsets.as_slice().into(),
        })
        .collect();
    body(&BatchView {
        tensors: tensors.as_slice().into(),
        texts: texts.as_slice().into(),
    })
}

fn view<'a, T: Element>(
    name: &'a str,
    dtype: DType,
    shape: &'a [u64],
    values: &'a [T],
) -> TensorView<'a> {
    assert_eq!(
        shape.iter().product::<u64>(),
        values.len() as u64,
        "values of column `{name}` for shape {shape:?}"
    );
    let raw = dtype.raw().expect("text is not viewed as a tensor");
    TensorView {
        name: name.into(),
        dtype: raw,
        shape: shape.into(),
        data: bytes_of(values).into(),
    }
}
