//! The weights of one network by their names, whether from one file, several shards, or a file with other names.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use serde_json::Value;

use super::file::TensorBytes;
use super::{FileTensor, WeightFile, numbers, transpose};
use crate::error::NetsError;

/// Where the tensor of a name is.
#[derive(Debug, Clone)]
struct Entry {
    file: usize,
    key: String,
    part: Part,
}

/// How a tensor is made of one in a file.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Whole,
    /// Some rows of a stack.
    Rows(Range<usize>),
    /// Rows and columns exchanged.
    Transposed,
}

/// A tensor that takes another name, see [`WeightSet::rename`].
pub(crate) enum Renamed {
    /// The same tensor.
    As(String),
    /// Equal stacks of rows, one for each name.
    Rows(Vec<String>),
    /// A matrix, with rows and columns exchanged.
    Transposed(String),
}

/// Tensors by name, in one file or several. Only headers have been read.
#[derive(Debug, Clone)]
pub struct WeightSet {
    name: PathBuf,
    files: Vec<WeightFile>,
    entries: BTreeMap<String, Entry>,
}

impl From<WeightFile> for WeightSet {
    fn from(file: WeightFile) -> Self {
        Self::of(file.name().to_owned(), vec![file])
    }
}

impl WeightSet {
    fn of(name: PathBuf, files: Vec<WeightFile>) -> Self {
        let mut entries = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            for key in file.keys() {
                let entry = Entry {
                    file: index,
                    key: key.clone(),
                    part: Part::Whole,
                };
                entries.insert(key, entry);
            }
        }
        Self {
            name,
            files,
            entries,
        }
    }

    /// One file.
    ///
    /// # Errors
    /// As [`WeightFile::open`].
    pub fn open(path: &Path) -> Result<Self, NetsError> {
        Ok(WeightFile::open(path)?.into())
    }

    /// The weights in a model's folder: `STEM.safetensors`, or shards with their index; with a variant (`fp16`),
    /// `STEM.fp16.safetensors` or its shards. Where there are none, those of older models, `STEM.bin` or its shards
    /// (`pytorch_model.bin` for the stem `model`).
    ///
    /// # Errors
    /// [`NetsError::NoWeights`] when there are none, with what there is instead; [`NetsError::WeightFile`] for a damaged file or
    /// an index that its shards contradict; [`NetsError::Io`].
    pub fn open_folder(
        folder: &Path,
        stem: &str,
        variant: Option<&str>,
    ) -> Result<Self, NetsError> {
        let of_variant = variant.map_or(String::new(), |variant| format!(".{variant}"));
        let forms = [(stem, "safetensors"), (pickle_stem(stem), "bin")];
        for (stem, ending) in forms {
            let single = folder.join(format!("{stem}{of_variant}.{ending}"));
            if single.is_file() {
                return Self::open(&single);
            }
            let index = folder.join(format!("{stem}.{ending}.index{of_variant}.json"));
            if index.is_file() {
                return Self::open_shards(&index);
            }
        }
        let single = format!("{stem}{of_variant}.safetensors");
        Err(NetsError::NoWeights {
            folder: folder.to_owned(),
            reason: absent(folder, stem, &single),
        })
    }

    /// The shards that an index lists.
    fn open_shards(index: &Path) -> Result<Self, NetsError> {
        let text = std::fs::read_to_string(index).map_err(|e| NetsError::read(index, e))?;
        let json: Value = serde_json::from_str(&text).map_err(|source| NetsError::Json {
            what: index.display().to_string(),
            source,
        })?;
        let wrong = |reason: String| WeightFile::damaged(index, reason);
        let map = json["weight_map"]
            .as_object()
            .ok_or_else(|| wrong("it has no `weight_map`".to_owned()))?;
        let mut shards: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (key, shard) in map {
            let shard = shard
                .as_str()
                .filter(|name| Path::new(name).file_name() == Some(name.as_ref()))
                .ok_or_else(|| wrong(format!("`{key}` is in {shard}, which is not a file name")))?;
            shards.entry(shard).or_default().push(key);
        }
        let folder = index.parent().unwrap_or(Path::new(""));
        let mut files = Vec::new();
        for (shard, keys) in shards {
            let file = WeightFile::open(&folder.join(shard))?;
            if let Some(key) = keys.iter().find(|key| file.shape(key).is_none()) {
                return Err(wrong(format!(
                    "it says `{key}` is in {shard}, which lacks it"
                )));
            }
            files.push(file);
        }
        Ok(Self::of(index.to_owned(), files))
    }

    /// The file, the folder's index, or whatever else this was read from, for messages.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Names of all tensors, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The free-form entries of the headers; of equal ones the last file's.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.files.iter().flat_map(WeightFile::metadata).collect()
    }

    /// Shape of a tensor, if there is one with this name.
    pub fn shape(&self, key: &str) -> Option<Vec<usize>> {
        let entry = self.entries.get(key)?;
        let mut shape = self.files[entry.file].shape(&entry.key)?.to_vec();
        match &entry.part {
            Part::Whole => {}
            Part::Rows(rows) => {
                if let Some(first) = shape.first_mut() {
                    *first = rows.len();
                }
            }
            Part::Transposed => shape.reverse(),
        }
        Some(shape)
    }

    /// How the numbers of a tensor are stored, if there is one with this name.
    pub fn dtype(&self, key: &str) -> Option<Dtype> {
        let entry = self.entries.get(key)?;
        self.files[entry.file].dtype(&entry.key)
    }

    /// Reads one tensor into f32.
    ///
    /// # Errors
    /// As [`WeightFile::read`].
    pub fn read(&self, key: &str) -> Result<FileTensor, NetsError> {
        let shape = self.shape(key).unwrap_or_default();
        let values = self.read_as(key, numbers::convert)?;
        Ok(FileTensor { shape, values })
    }

    /// Reads one tensor into whatever `convert` makes of its bytes.
    pub(crate) fn read_as<T: Copy + Default>(
        &self,
        key: &str,
        convert: impl Fn(&[u8], Dtype) -> Option<Vec<T>>,
    ) -> Result<Vec<T>, NetsError> {
        let Some(entry) = self.entries.get(key) else {
            let reason = format!("it has no tensor `{key}`");
            return Err(WeightFile::damaged(&self.name, reason));
        };
        let file = &self.files[entry.file];
        let bytes: TensorBytes<'_> = file.bytes(&entry.key)?;
        let shape = file.shape(&entry.key).unwrap_or_default();
        let part = match &entry.part {
            Part::Rows(rows) => {
                let width = bytes.len() / shape[0].max(1);
                &bytes[rows.start * width..rows.end * width]
            }
            Part::Whole | Part::Transposed => &bytes[..],
        };
        let values = file
            .dtype(&entry.key)
            .and_then(|dtype| convert(part, dtype))
            .ok_or_else(|| file.unreadable(&entry.key))?;
        Ok(match entry.part {
            Part::Transposed => transpose(&values, shape[0], shape[1]),
            _ => values,
        })
    }

    /// The tensors below a prefix, without it.
    pub(crate) fn below(self, prefix: &str) -> Self {
        self.rename(|key| Some(Renamed::As(key.strip_prefix(prefix)?.to_owned())))
    }

    /// The same tensors under other names; those for which `rename` has none are left out.
    ///
    /// Only whole tensors are cut or turned, so this is done to a set once.
    pub(crate) fn rename(self, rename: impl Fn(&str) -> Option<Renamed>) -> Self {
        let mut entries = BTreeMap::new();
        for (key, entry) in self.entries {
            let part = |part| Entry {
                part,
                ..entry.clone()
            };
            let shape = self.files[entry.file].shape(&entry.key).unwrap_or_default();
            match rename(&key) {
                None => {}
                Some(Renamed::As(name)) => {
                    entries.insert(name, entry);
                }
                Some(Renamed::Transposed(name)) if shape.len() == 2 => {
                    entries.insert(name, part(Part::Transposed));
                }
                Some(Renamed::Rows(names)) if !shape.is_empty() => {
                    let rows = shape[0] / names.len().max(1);
                    for (i, name) in names.into_iter().enumerate() {
                        entries.insert(name, part(Part::Rows(i * rows..(i + 1) * rows)));
                    }
                }
                // Of a shape that cannot be cut or turned: under its own name, where it will be found not to fit.
                Some(_) => {
                    entries.insert(key, entry);
                }
            }
        }
        Self {
            name: self.name,
            files: self.files,
            entries,
        }
    }
}

/// What PyTorch's files are called where safetensors files have `stem`: transformers has another name for its own.
fn pickle_stem(stem: &str) -> &str {
    match stem {
        "model" => "pytorch_model",
        other => other,
    }
}

/// Why a folder has no weights that can be read: what it has instead.
fn absent(folder: &Path, stem: &str, wanted: &str) -> String {
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort_unstable();
    let pickles = [".bin", ".ckpt", ".pt", ".pth"];
    let is_pickle = |name: &&String| pickles.iter().any(|end| name.ends_with(end));
    let variant = |name: &&String| name.starts_with(stem) && name.contains(".safetensors");
    let variants: Vec<_> = found.iter().filter(variant).cloned().collect();
    if !variants.is_empty() {
        return format!(
            "there is no {wanted}; there is {}: name the variant",
            variants.join(", ")
        );
    }
    match found.iter().find(is_pickle) {
        Some(pickle) => {
            let other =
                (wanted.replace(".safetensors", ".bin")).replacen(stem, pickle_stem(stem), 1);
            format!("there is neither {wanted} nor {other}; there is {pickle}, of another name")
        }
        None => format!("there is no {wanted}"),
    }
}
