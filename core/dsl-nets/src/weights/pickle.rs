//! PyTorch's own files (`pytorch_model.bin`, `.ckpt`, `.pt`), of which the tensors alone are taken.
//!
//! They are pickles: little programs that build whatever they like, which is why nothing here runs them. The parser knows the
//! dictionaries, numbers and tensors of a state dict; of all else it keeps the name. Tensors are read one at a time.

use std::collections::HashMap;
use std::path::Path;

use pytorch_reader::{DType, PytorchReader, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::WeightFile;
use crate::error::NetsError;

/// How PyTorch's files begin: a ZIP archive of pickles, or a bare one.
const BEGINNINGS: [&[u8]; 3] = [b"PK\x03\x04", b"\x80\x02", b"\x80\x04"];

/// Where training programs put the weights, beside their own state.
const STATE_DICT: &str = "state_dict.";

/// Whether a file of this beginning is one of PyTorch's.
pub(super) fn is_one(start: &[u8]) -> bool {
    BEGINNINGS.iter().any(|magic| start.starts_with(magic))
}

/// The tensors of a file by their names, and what a safetensors file of them would say in its header.
///
/// # Errors
/// [`NetsError::WeightFile`] for a file that cannot be parsed, or holds no tensor.
pub(super) fn open(path: &Path) -> Result<(Metadata, HashMap<String, Tensor>), NetsError> {
    let wrong = |reason: String| WeightFile::damaged(path, reason);
    let reader = PytorchReader::new(path)
        .map_err(|error| wrong(format!("it is a PyTorch file that cannot be read: {error}")))?;
    let mut tensors = reader.into_tensors();
    if tensors.keys().any(|key| key.starts_with(STATE_DICT)) {
        tensors = (tensors.into_iter())
            .filter_map(|(key, tensor)| Some((key.strip_prefix(STATE_DICT)?.to_owned(), tensor)))
            .collect();
    }
    if tensors.is_empty() {
        return Err(wrong("it is a PyTorch file without tensors".to_owned()));
    }
    // Strides of zero make tensors of any size of a few bytes.
    let length = std::fs::metadata(path)
        .map_err(|e| NetsError::read(path, e))?
        .len();
    if let Some((key, tensor)) =
        (tensors.iter()).find(|(_, tensor)| tensor.byte_len() as u64 > length)
    {
        return Err(wrong(format!(
            "its tensor `{key}` would have {} bytes, the file has {length}",
            tensor.byte_len()
        )));
    }
    let mut keys: Vec<&String> = tensors.keys().collect();
    keys.sort_unstable();
    let mut begin = 0;
    let infos = keys.into_iter().map(|key| {
        let tensor = &tensors[key];
        let end = begin + tensor.byte_len();
        let info = TensorInfo {
            dtype: dtype(tensor.dtype()),
            shape: tensor.shape().to_vec(),
            data_offsets: (begin, end),
        };
        begin = end;
        (key.clone(), info)
    });
    let metadata = Metadata::new(None, infos.collect())
        .map_err(|error| wrong(format!("its tensors cannot be listed: {error}")))?;
    Ok((metadata, tensors))
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
