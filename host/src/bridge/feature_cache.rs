//! What encoders made, on disk: one file per entry, named by the SHA-256 of all that it follows from.
//!
//! An entry is a safetensors file with a sum of its tensors' bytes in its metadata. It is written under a temporary name and
//! renamed, so that a process that is killed leaves no half entry; one that does not match its sum is made anew.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::run_dir::write_atomic;

/// Metadata key of the sum.
const SUM: &str = "sha256";

/// A float32 tensor of an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Its name.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, last axis fastest.
    pub values: Vec<f32>,
}

/// A folder of entries; several processes may use it at the same time.
#[derive(Debug, Clone)]
pub struct FeatureCache {
    folder: PathBuf,
}

impl FeatureCache {
    /// Entries in `folder`, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The tensors called `names` of entry `key`, from the disk or else from `make`, whose result is kept.
    ///
    /// # Errors
    /// Those of `make`; an entry that cannot be written.
    pub fn get_or_make(
        &self,
        key: &str,
        names: &[&'static str],
        make: impl FnOnce() -> Result<Vec<Stored>>,
    ) -> Result<Vec<Stored>> {
        let path = self.path(key);
        match read(&path, names) {
            Ok(Some(entry)) => return Ok(entry),
            Ok(None) => {}
            Err(reason) => {
                tracing::warn!("`{}` is damaged and is made anew: {reason}", path.display());
            }
        }
        let entry = make()?;
        write(&path, &entry)
            .with_context(|| format!("cannot keep what was encoded in `{}`", path.display()))?;
        Ok(entry)
    }

    /// Two letters of the name are a folder: a million files in one are slow.
    fn path(&self, key: &str) -> PathBuf {
        let folder = self.folder.join(&key[..2.min(key.len())]);
        folder.join(format!("{key}.safetensors"))
    }
}

/// The tensors of an entry; none where there is no entry.
fn read(path: &Path, names: &[&'static str]) -> Result<Option<Vec<Stored>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let file = SafeTensors::deserialize(&bytes)?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes)?;
    let expected = metadata.metadata().as_ref().and_then(|m| m.get(SUM));
    let mut entry = Vec::with_capacity(names.len());
    let mut sum = Sha256::new();
    for &name in names {
        let tensor = file.tensor(name)?;
        if tensor.dtype() != Dtype::F32 {
            return Err(anyhow!("`{name}` is not float32"));
        }
        sum.update(tensor.data());
        let values = tensor
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        entry.push(Stored {
            name,
            shape: tensor.shape().to_vec(),
            values,
        });
    }
    if expected != Some(&hex(sum)) {
        return Err(anyhow!("its contents do not match their SHA-256 sum"));
    }
    Ok(Some(entry))
}

fn write(path: &Path, entry: &[Stored]) -> Result<()> {
    let mut sum = Sha256::new();
    let bytes: Vec<Vec<u8>> = entry
        .iter()
        .map(|tensor| {
            let bytes: Vec<u8> = tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect();
            sum.update(&bytes);
            bytes
        })
        .collect();
    let views = entry
        .iter()
        .zip(&bytes)
        .map(|(tensor, bytes)| {
            let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?;
            Ok((tensor.name, view))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([(SUM.to_owned(), hex(sum))]);
    let file = safetensors::serialize(views, Some(metadata))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    write_atomic(path, &file)?;
    Ok(())
}

/// A sum in hexadecimal.
pub fn hex(sum: Sha256) -> String {
    sum.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: f32) -> Vec<Stored> {
        vec![
            Stored {
                name: "a",
                shape: vec![2],
                values: vec![value, -1.0],
            },
            Stored {
                name: "b",
                shape: vec![1, 1],
                values: vec![f32::MIN_POSITIVE],
            },
        ]
    }

    #[test]
    fn an_entry_is_made_once_and_a_damaged_one_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(folder.path().join("made/when/needed"));
        let get = |value| cache.get_or_make("abcd", &["a", "b"], || Ok(entry(value)));
        assert_eq!(get(1.0).unwrap(), entry(1.0));
        assert_eq!(get(2.0).unwrap(), entry(1.0), "kept");

        let path = cache.path("abcd");
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for (damaged, value) in [
            (flipped, 3.0),
            (whole[..20].to_vec(), 4.0),
            (Vec::new(), 5.0),
        ] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(get(value).unwrap(), entry(value), "made anew");
            assert_eq!(get(0.0).unwrap(), entry(value), "and kept");
        }
        // A file that a killed process left does no harm, and none is left behind.
        let beside = std::fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(beside.count(), 1);
    }

    #[test]
    fn an_encoder_that_fails_leaves_no_entry() {
        let folder = tempfile::tempdir().unwrap();
        let cache = FeatureCache::new(folder.path().to_owned());
        let failed = cache.get_or_make("abcd", &["a"], || Err(anyhow!("no memory")));
        assert_eq!(failed.unwrap_err().to_string(), "no memory");
        assert!(!cache.path("abcd").exists());
    }
}
