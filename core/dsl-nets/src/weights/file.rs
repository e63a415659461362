//! Safetensors files: the header at once, tensors one at a time, each through a memory map of its own. PyTorch's own files
//! are read in the same way, see [`pickle`].

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::{Mmap, MmapOptions};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::{numbers, pickle};
use crate::error::NetsError;

/// A tensor as a file holds it, read into f32.
#[derive(Debug, Clone, PartialEq)]
pub struct FileTensor {
    /// Shape in the file.
    pub shape: Vec<usize>,
    /// Values, last axis fastest.
    pub values: Vec<f32>,
}

#[derive(Clone)]
enum Source {
    File(Arc<File>),
    Bytes(Arc<Vec<u8>>),
    Pickle(Arc<HashMap<String, pytorch_reader::Tensor>>),
}

/// A safetensors file, or one of PyTorch's, whose header has been read; tensors are read one at a time. Clones are cheap.
#[derive(Clone)]
pub struct WeightFile {
    name: PathBuf,
    source: Source,
    data_start: u64,
    metadata: Arc<Metadata>,
}

/// The bytes of one tensor.
pub(crate) enum TensorBytes<'a> {
    Mapped(Mmap),
    InMemory(&'a [u8]),
    Read(Vec<u8>),
}

impl Deref for TensorBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::InMemory(bytes) => bytes,
            Self::Read(bytes) => bytes,
        }
    }
}

/// The format allows no larger header.
const MAX_HEADER_BYTES: u64 = 100_000_000;

impl WeightFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`NetsError::Io`] when it cannot be read, [`NetsError::WeightFile`] when it is neither a whole safetensors file nor one
    /// of PyTorch's.
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
        // The length of a safetensors header may begin with the same two bytes.
        if header > MAX_HEADER_BYTES && pickle::is_one(&start) {
            let (metadata, tensors) = pickle::open(path)?;
            return Ok(Self {
                name: path.to_owned(),
                source: Source::Pickle(Arc::new(tensors)),
                data_start: 0,
                metadata: Arc::new(metadata),
            });
        }
        if header > MAX_HEADER_BYTES || header + 8 > length {
            return Err(Self::damaged(
                path,
                format!("its header would have {header} bytes, the file has {length}"),
            ));
        }
        let mut head = start.to_vec();
        head.resize(8 + header as usize, 0);
        file.read_exact(&mut head[8..]).map_err(io)?;
        Self::with_header(path, Source::File(Arc::new(file)), &head, length)
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
        Self::with_header(name, Source::Bytes(Arc::new(bytes)), &head, length)
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
            metadata: Arc::new(metadata),
        })
    }

    pub(crate) fn damaged(path: &Path, reason: String) -> NetsError {
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

    /// How the numbers of a tensor are stored, if there is one with this name.
    pub fn dtype(&self, key: &str) -> Option<Dtype> {
        self.metadata.info(key).map(|info| info.dtype)
    }

    /// Reads one tensor of any kind of number into f32.
    ///
    /// # Errors
    /// [`NetsError::WeightFile`] when there is no such tensor or its numbers cannot be read.
    pub fn read(&self, key: &str) -> Result<FileTensor, NetsError> {
        let dtype = self.dtype(key);
        let shape = self.shape(key).unwrap_or_default().to_vec();
        let bytes = self.bytes(key)?;
        let values = dtype
            .and_then(|dtype| numbers::convert(&bytes, dtype))
            .ok_or_else(|| self.unreadable(key))?;
        Ok(FileTensor { shape, values })
    }

    /// That the numbers of `key` are of a kind that no network has.
    pub(crate) fn unreadable(&self, key: &str) -> NetsError {
        let reason = match self.dtype(key) {
            Some(dtype) => format!("`{key}` is stored as {dtype:?}, which is not a float"),
            None => format!("it has no tensor `{key}`"),
        };
        Self::damaged(&self.name, reason)
    }

    /// The bytes of one tensor, little-endian, last axis fastest.
    ///
    /// A map of one tensor, and not of the file, so that what has been copied does not stay in memory.
    pub(crate) fn bytes(&self, key: &str) -> Result<TensorBytes<'_>, NetsError> {
        let info = self
            .metadata
            .info(key)
            .ok_or_else(|| self.unreadable(key))?;
        let (begin, end) = info.data_offsets;
        let (start, length) = (self.data_start + begin as u64, end - begin);
        match &self.source {
            Source::Bytes(bytes) => {
                let start = start as usize;
                Ok(TensorBytes::InMemory(&bytes[start..start + length]))
            }
            Source::Pickle(tensors) => {
                let tensor = tensors.get(key).ok_or_else(|| self.unreadable(key))?;
                let read = tensor.read().map(TensorBytes::Read);
                read.map_err(|e| NetsError::read(&self.name, e))
            }
            // An empty range cannot be mapped.
            Source::File(_) if length == 0 => Ok(TensorBytes::InMemory(&[])),
            Source::File(file) => {
                let mut options = MmapOptions::new();
                options.offset(start).len(length);
                // SAFETY: the map is read only while it is copied from, a moment after the header was found to fit the file's
                // length. Another program that cuts the file in that moment ends this one with a bus error; there is no way
                // to map a file that excludes it, and model files are written under another name and renamed.
                #[allow(unsafe_code)]
                let map = unsafe { options.map(&**file) };
                map.map(TensorBytes::Mapped)
                    .map_err(|e| NetsError::read(&self.name, e))
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
