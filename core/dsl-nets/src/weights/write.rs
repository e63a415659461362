//! Writing safetensors files, whole or not at all.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, View};
use serde_json::json;

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
    let unsorted: HashMap<String, String> = metadata.clone().into_iter().collect();
    let views = tensors
        .into_iter()
        .map(|(key, tensor)| (key, Encoded { dtype, tensor }));
    replace(path, |temporary| {
        let usual = File::create(temporary)?.metadata()?.permissions();
        // Tensor by tensor: the whole file is never in memory.
        safetensors::serialize_to_file(views, Some(unsorted), temporary)
            .map_err(std::io::Error::other)?;
        sort_metadata(temporary, metadata)?;
        // It leaves a file that nobody but its owner may read.
        std::fs::set_permissions(temporary, usual)
    })
}

/// Puts a file's metadata into the order of their names: they come from a hash table, whose order is another one each time,
/// and equal contents should be equal files.
fn sort_metadata(path: &Path, metadata: &BTreeMap<String, String>) -> std::io::Result<()> {
    // Behind the length of the header; `safetensors` writes metadata first.
    const BEGIN: &[u8] = br#"{"__metadata__":"#;
    let sorted = serde_json::to_vec(metadata)?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut header = vec![0; size_of::<u64>() + BEGIN.len() + sorted.len()];
    file.read_exact(&mut header)?;
    let found = header[size_of::<u64>()..].strip_prefix(BEGIN);
    let found: Option<BTreeMap<String, String>> =
        found.and_then(|found| serde_json::from_slice(found).ok());
    if found.as_ref() == Some(metadata) {
        file.seek(SeekFrom::Start((header.len() - sorted.len()) as u64))?;
        file.write_all(&sorted)?;
    }
    Ok(())
}

/// Writes `STEM.safetensors`, or, beyond `max_shard_bytes`, shards with their index. Tensors are in the order of their names.
pub(crate) fn write_sharded(
    folder: &Path,
    stem: &str,
    mut tensors: Vec<(String, FileTensor)>,
    dtype: WeightDType,
    max_shard_bytes: u64,
) -> Result<(), NetsError> {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let size = |tensor: &FileTensor| (tensor.values.len() * dtype.bytes()) as u64;
    let total: u64 = tensors.iter().map(|(_, tensor)| size(tensor)).sum();
    let mut shards: Vec<Vec<(String, FileTensor)>> = Vec::new();
    let mut filled = 0;
    for (key, tensor) in tensors {
        let bytes = size(&tensor);
        match shards.last_mut() {
            Some(shard) if filled + bytes <= max_shard_bytes => {
                filled += bytes;
                shard.push((key, tensor));
            }
            _ => {
                filled = bytes;
                shards.push(vec![(key, tensor)]);
            }
        }
    }
    let count = shards.len();
    if count <= 1 {
        let path = folder.join(format!("{stem}.safetensors"));
        let tensors = shards.pop().unwrap_or_default();
        return write_tensors(&path, tensors, dtype, &metadata);
    }
    let mut weight_map = BTreeMap::new();
    for (number, tensors) in shards.into_iter().enumerate() {
        let name = format!("{stem}-{:05}-of-{count:05}.safetensors", number + 1);
        for (key, _) in &tensors {
            weight_map.insert(key.clone(), name.clone());
        }
        write_tensors(&folder.join(&name), tensors, dtype, &metadata)?;
    }
    // Last: without it there are no weights.
    let index = json!({"metadata": {"total_size": total}, "weight_map": weight_map});
    let path = folder.join(format!("{stem}.safetensors.index.json"));
    write_atomically(&path, format!("{index:#}\n").as_bytes())
}

/// Writes bytes, whole or not at all.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), NetsError> {
    replace(path, |temporary| File::create(temporary)?.write_all(bytes))
}

/// Lets `write` fill a file under a temporary name, flushes it to the disk, and renames it: a crash leaves the old file or the
/// new one.
fn replace(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), NetsError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let whole = || -> std::io::Result<()> {
        write(&temporary)?;
        File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, path)?;
        // The rename itself is only on the disk once the folder is.
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    whole().map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        NetsError::write(path, e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_may_be_read_by_whom_other_files_may() {
        let folder = tempfile::tempdir().unwrap();
        let [plain, weights] =
            ["plain", "weights.safetensors"].map(|name| folder.path().join(name));
        std::fs::write(&plain, "").unwrap();
        write_tensors(&weights, Vec::new(), WeightDType::F32, &BTreeMap::new()).unwrap();
        let of = |path: &Path| std::fs::metadata(path).unwrap().permissions();
        assert_eq!(of(&weights), of(&plain));
    }

    #[test]
    fn equal_contents_are_equal_files() {
        let folder = tempfile::tempdir().unwrap();
        let notes = (0..9).map(|i| (format!("note {i}"), format!("\"{i}\" ü")));
        let metadata: BTreeMap<String, String> = notes.collect();
        let tensor = FileTensor {
            shape: vec![2],
            values: vec![1.0, 2.0],
        };
        let [first, second] = ["a", "b"].map(|name| {
            let path = folder.path().join(name);
            let tensors = vec![("tensor".to_owned(), tensor.clone())];
            write_tensors(&path, tensors, WeightDType::F32, &metadata).unwrap();
            std::fs::read(&path).unwrap()
        });
        assert!(first == second);
        let (_, header) = safetensors::SafeTensors::read_metadata(&first).unwrap();
        let read = header.metadata().clone().unwrap();
        assert_eq!(read.into_iter().collect::<BTreeMap<_, _>>(), metadata);
    }
}
