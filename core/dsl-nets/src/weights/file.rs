//! Safetensors files: reading tensor by tensor as f32, writing whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::Metadata;
use safetensors::{Dtype, View};

use crate::error::NetsError;

/// A tensor as a file holds it, read into f32.
#[derive(Debug, Clone, PartialEq)]
pub struct FileTensor {
    /// Shape in the file.
    pub shape: Vec<usize>,
    /// Values, last axis fastest.
    pub values: Vec<f32>,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightDType {
    /// 4 bytes.
    #[default]
    F32,
    /// 2 bytes, about three decimal digits, at most 65504.
    F16,
}

enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// A safetensors file whose header has been read; tensors are read one at a time.
pub struct WeightFile {
    name: PathBuf,
    source: Source,
    data_start: u64,
    metadata: Metadata,
}

/// The format allows no larger header.
const MAX_HEADER_BYTES: u64 = 100_000_000;

impl WeightFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`NetsError::Io`] when it cannot be read, [`NetsError::WeightFile`] when it is not a whole safetensors file.
    pub fn open(path: &Path) -> Result<Self, NetsError> {
        let io = |e| NetsError::read(path, e);
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut start = [0; 8];
        if length < 8 {
            return Err(Self::damaged(path, format!("it has only {length} bytes")));
        }
        file.read_exact(&mut start).map_err(io)?;
        let header = u64::from_le_bytes(start);
        if header > MAX_HEADER_BYTES || header + 8 > length {
            return Err(Self::damaged(
                path,
                format!("its header would have {header} bytes, the file has {length}"),
            ));
        }
        let mut head = start.to_vec();
        head.resize(8 + header as usize, 0);
        file.read_exact(&mut head[8..]).map_err(io)?;
        Self::with_header(path, Source::File(path.to_owned()), &head, length)
    }

    /// Takes a file that is already in memory; `name` is used in messages.
    ///
    /// # Errors
    /// [`NetsError::WeightFile`] when the bytes are not a whole safetensors file.
    pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Self, NetsError> {
        let (name, length) = (Path::new(name), bytes.len() as u64);
        let header = bytes
            .get(..8)
            .and_then(|b| b.try_into().ok())
            .map_or(0, u64::from_le_bytes);
        let end = header.saturating_add(8);
        if header > MAX_HEADER_BYTES || end > length || length < 8 {
            return Err(Self::damaged(
                name,
                format!("its header would have {header} bytes, there are {length}"),
            ));
        }
        let head = bytes[..end as usize].to_vec();
        Self::with_header(name, Source::Bytes(bytes), &head, length)
    }

    fn with_header(
        name: &Path,
        source: Source,
        head: &[u8],
        length: u64,
    ) -> Result<Self, NetsError> {
        let metadata: Metadata = serde_json::from_slice(&head[8..])
            .map_err(|e| Self::damaged(name, format!("its header: {e}")))?;
        let data_start = head.len() as u64;
        let expected = data_start + metadata.data_len() as u64;
        if expected != length {
            let reason = format!(
                "its header describes {expected} bytes, the file has {length}; it was cut or changed"
            );
            return Err(Self::damaged(name, reason));
        }
        Ok(Self {
            name: name.to_owned(),
            source,
            data_start,
            metadata,
        })
    }

    fn damaged(path: &Path, reason: String) -> NetsError {
        NetsError::WeightFile {
            path: path.to_owned(),
            reason,
        }
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Names of all tensors, sorted.
    pub fn keys(&self) -> Vec<String> {
        let mut keys = self.metadata.offset_keys();
        keys.sort_unstable();
        keys
    }

    /// Shape of a tensor, if there is one with this name.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.metadata.info(key).map(|info| info.shape.as_slice())
    }

    /// The free-form entries of the header.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.metadata
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    /// Reads one tensor, stored as f32, f16, bf16 or f64, into f32.
    ///
    /// # Errors
    /// [`NetsError::WeightFile`] when there is no such tensor or its numbers are of another kind.
    pub fn read(&self, key: &str) -> Result<FileTensor, NetsError> {
        let info = self
            .metadata
            .info(key)
            .ok_or_else(|| Self::damaged(&self.name, format!("it has no tensor `{key}`")))?;
        let (begin, end) = info.data_offsets;
        let bytes = self.bytes(begin, end)?;
        let values: Vec<f32> = match info.dtype {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => bytes
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::BF16 => bytes
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::F64 => bytes
                .chunks_exact(8)
                .map(|b| {
                    f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32
                })
                .collect(),
            Dtype::I64 => bytes
                .chunks_exact(8)
                .map(|b| {
                    i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32
                })
                .collect(),
            other => {
                return Err(Self::damaged(
                    &self.name,
                    format!("`{key}` is stored as {other:?}, which is not a float"),
                ));
            }
        };
        Ok(FileTensor {
            shape: info.shape.clone(),
            values,
        })
    }

    fn bytes(&self, begin: usize, end: usize) -> Result<Cow<'_, [u8]>, NetsError> {
        let start = self.data_start + begin as u64;
        match &self.source {
            Source::Bytes(bytes) => {
                let start = start as usize;
                Ok(Cow::Borrowed(&bytes[start..start + (end - begin)]))
            }
            Source::File(path) => {
                let io = |e| NetsError::read(path, e);
                let mut file = File::open(path).map_err(io)?;
                file.seek(SeekFrom::Start(start)).map_err(io)?;
                let mut bytes = vec![0; end - begin];
                file.read_exact(&mut bytes).map_err(io)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

impl std::fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WeightFile")
            .field("name", &self.name)
            .finish_non_exhaustive()
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
        })
    }

    fn data_len(&self) -> usize {
        let width = match self.dtype {
            WeightDType::F32 => 4,
            WeightDType::F16 => 2,
        };
        self.tensor.values.len() * width
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
