//! Writing safetensors files, whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, View};

use super::FileTensor;
use crate::error::NetsError;

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightDType {
    /// 4 bytes.
    #[default]
    F32,
    /// 2 bytes, about three decimal digits, at most 65504.
    F16,
    /// 2 bytes, the range of f32 and about two decimal digits.
    Bf16,
}

impl WeightDType {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

struct Encoded {
    dtype: WeightDType,
    tensor: FileTensor,
}

impl View for Encoded {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            WeightDType::F32 => Dtype::F32,
            WeightDType::F16 => Dtype::F16,
            WeightDType::Bf16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.tensor.values.iter();
        Cow::Owned(match self.dtype {
            WeightDType::F32 => values.flat_map(|v| v.to_le_bytes()).collect(),
            WeightDType::F16 => values
                .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                .collect(),
            WeightDType::Bf16 => values
                .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
                .collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.tensor.values.len() * self.dtype.bytes()
    }
}

/// Writes tensors to `path`, whole or not at all.
pub(crate) fn write_tensors(
    path: &Path,
    tensors: Vec<(String, FileTensor)>,
    dtype: WeightDType,
    metadata: &BTreeMap<String, String>,
) -> Result<(), NetsError> {
    let metadata: HashMap<String, String> = metadata.clone().into_iter().collect();
    let views = tensors
        .into_iter()
        .map(|(key, tensor)| (key, Encoded { dtype, tensor }));
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|e| NetsError::WeightFile {
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
    write_atomically(path, &bytes)
}

/// Writes under a temporary name, flushes to the disk, renames: a crash leaves the old file or the new one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), NetsError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        // The rename itself is only on the disk once the folder is.
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        NetsError::write(path, e)
    })
}
