//! What a case has in hand, within the child process.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dsl_loader::{
    ColumnSpec, DatasetHandle, ErrorCode, HostCallbacks, HostColumn, HostColumnData, HostError,
    LoaderError, Plugin, TaskHandle,
};
use serde_json::Value;

use crate::{case::Verdict, job::Job};

/// The plugin in question, and how it is to be opened.
pub(crate) struct Context {
    pub(crate) path: PathBuf,
    /// Changes to the plugin's default configuration.
    pub(crate) config: Option<Value>,
    pub(crate) soak_batches: u64,
    pub(crate) job: Job,
}

/// Puts the values of `changes` over those of `value`: objects key by key, all else as a whole. An object is not replaced
/// by null, since a key without anything below it says nothing.
pub fn merge(value: &mut Value, changes: Value) {
    match (value, changes) {
        (Value::Object(members), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(members.entry(key).or_insert(Value::Null), change);
            }
        }
        (Value::Object(_), Value::Null) => {}
        (value, changes) => *value = changes,
    }
}

/// A host that asks for a stop when it is told to, and leaves nothing behind.
#[derive(Debug, Default)]
pub(crate) struct Stopping {
    pub(crate) stop: AtomicBool,
    sha256: String,
    cache: PathBuf,
}

impl HostCallbacks for Stopping {
    fn accept(&self, _: &Path, sha256: &str) -> Result<(), HostError> {
        if sha256 == self.sha256 {
            return Ok(());
        }
        Err(HostError {
            code: ErrorCode::Config,
            message: format!(
                "it is not the file that was asked about: its SHA-256 is {sha256}, expected {}",
                self.sha256
            ),
            help: "ask again when nothing builds the plugin".to_owned(),
        })
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn threads(&self) -> usize {
        4
    }

    fn cache_dir(&self, plugin: &str) -> Result<PathBuf, HostError> {
        let folder = self.cache.join(plugin);
        std::fs::create_dir_all(&folder).map_err(|error| HostError {
            code: ErrorCode::Io,
            message: format!("cannot make the folder {}: {error}", folder.display()),
            help: String::new(),
        })?;
        Ok(folder)
    }
}

impl Context {
    pub(crate) fn plugin(&self) -> Result<Plugin, LoaderError> {
        Plugin::open(&self.path, self.host())
    }

    /// A new host for the plugin.
    pub(crate) fn host(&self) -> Arc<Stopping> {
        Arc::new(Stopping {
            stop: AtomicBool::new(false),
            sha256: self.job.sha256.clone(),
            cache: self.job.folder.join("cache"),
        })
    }

    pub(crate) fn config(&self, plugin: &Plugin) -> Result<Value, LoaderError> {
        let mut config = plugin.default_config()?;
        if let Some(changes) = &self.config {
            merge(&mut config, changes.clone());
        }
        Ok(config)
    }

    pub(crate) fn task(&self) -> Result<(Plugin, TaskHandle), LoaderError> {
        let plugin = self.plugin()?;
        let task = plugin.open_task(&self.config(&plugin)?)?;
        Ok((plugin, task))
    }

    /// The dataset that most questions are put to.
    pub(crate) fn train(&self) -> Result<DatasetHandle, Verdict> {
        let (_, task) = self.task()?;
        let dataset = task.dataset("train")?;
        if dataset.is_empty() {
            return Err(Verdict::skipped(
                "the split `train` is empty; `train-not-empty` speaks of that",
            ));
        }
        Ok(dataset)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Bytes of data that a question asks for at most, unless one sample is more.
const MAX_BYTES: u64 = 256 << 20;

/// Bytes of the columns of a batch.
pub(crate) fn bytes_of(columns: &[HostColumn]) -> u64 {
    let bytes = columns.iter().map(|column| match &column.data {
        HostColumnData::Text(texts) => texts.iter().map(String::len).sum(),
        HostColumnData::Tensor(tensor) => tensor.bytes().len(),
    });
    bytes.sum::<usize>() as u64
}

/// Bytes of the first sample; at least 1.
pub(crate) fn sample_bytes(dataset: &DatasetHandle) -> Result<u64, LoaderError> {
    let first = together(dataset).at(0);
    Ok(bytes_of(&dataset.batch(&[first], &[0], false)?).max(1))
}

/// As many samples as `wanted`, or as fit into memory that every machine has.
pub(crate) fn affordable(dataset: &DatasetHandle, wanted: usize) -> Result<usize, LoaderError> {
    let fit = MAX_BYTES / sample_bytes(dataset)?;
    Ok(wanted
        .min(usize::try_from(fit).unwrap_or(usize::MAX))
        .max(1))
}

/// A seed for each index, the same wherever it stands.
pub(crate) fn seeds(indices: &[u64], salt: u64) -> Vec<u64> {
    (indices.iter())
        .map(|index| {
            index
                .wrapping_add(salt)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .rotate_left(29)
        })
        .collect()
}

/// The samples that may come in one batch: all, or where there are buckets those of the bucket with most of them.
pub(crate) fn together(dataset: &DatasetHandle) -> Together {
    let Some(buckets) = dataset.buckets() else {
        return Together::All(dataset.len());
    };
    let mut samples = vec![Vec::new(); buckets.shapes().len()];
    for (index, &bucket) in (0_u64..).zip(buckets.of_sample()) {
        samples[bucket as usize].push(index);
    }
    samples.sort_by_key(Vec::len);
    Together::Of(samples.pop().unwrap_or_default())
}

/// Samples that may come in one batch.
pub(crate) enum Together {
    /// All, by their number.
    All(u64),
    /// These.
    Of(Vec<u64>),
}

impl Together {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::All(count) => *count,
            Self::Of(indices) => indices.len() as u64,
        }
    }

    /// The one at a place; counted round and round.
    pub(crate) fn at(&self, place: u64) -> u64 {
        match self {
            Self::All(count) => place % (*count).max(1),
            Self::Of(indices) => {
                let place = place % (indices.len() as u64).max(1);
                indices.get(place as usize).copied().unwrap_or(0)
            }
        }
    }
}

/// A few indices that exist, spread over the dataset, the first and the last among them; not in order. All may come in one
/// batch.
pub(crate) fn some_indices(dataset: &DatasetHandle, most: usize) -> Vec<u64> {
    let together = together(dataset);
    let count = together.len();
    let most = (most as u64).min(count).max(1);
    let mut indices: Vec<u64> = (0..most)
        .map(|step| {
            (u128::from(count - 1) * u128::from(step) / u128::from((most - 1).max(1))) as u64
        })
        .collect();
    indices.dedup();
    for index in &mut indices {
        *index = together.at(*index);
    }
    let half = indices.len() / 2;
    indices.rotate_left(half);
    indices
}

/// The columns of a batch of samples of one bucket, where there are buckets: the lengths of its target are fixed.
pub(crate) fn columns_of(dataset: &DatasetHandle) -> Vec<ColumnSpec> {
    let mut columns = dataset.columns().to_vec();
    if let Some(buckets) = dataset.buckets() {
        let (target, shape) = (buckets.target(), buckets.shapes().first());
        let of_target = columns.iter_mut().find(|column| column.name == target);
        if let (Some(column), Some(shape)) = (of_target, shape) {
            column.shape = shape.iter().copied().map(Some).collect();
        }
    }
    columns
}

/// The rows of the columns that can be compared between batches: bytes of each sample. Columns with a length that varies
/// from batch to batch are left out, since batches may fill them up differently.
pub(crate) fn rows(specs: &[ColumnSpec], columns: &[HostColumn]) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut found = Vec::new();
    for column in columns {
        let varies = (specs.iter())
            .any(|spec| spec.name == column.name && spec.shape.iter().any(Option::is_none));
        if varies {
            continue;
        }
        let rows = match &column.data {
            HostColumnData::Text(texts) => {
                let bytes = |texts: &[String]| texts.join("\0").into_bytes();
                (texts.chunks(texts_of(specs, &column.name)))
                    .map(bytes)
                    .collect()
            }
            HostColumnData::Tensor(tensor) => {
                let count = tensor.shape().first().map_or(0, |&count| count as usize);
                let length = tensor.bytes().len().checked_div(count).unwrap_or(0);
                match length {
                    0 => vec![Vec::new(); count],
                    length => tensor.bytes().chunks(length).map(<[u8]>::to_vec).collect(),
                }
            }
        };
        found.push((column.name.clone(), rows));
    }
    found
}

/// Texts of each sample of a column; at least 1.
fn texts_of(specs: &[ColumnSpec], name: &str) -> usize {
    let spec = specs.iter().find(|spec| spec.name == name);
    let texts = spec.map_or(1, |spec| spec.shape.iter().flatten().product());
    usize::try_from(texts).unwrap_or(1).max(1)
}

/// The first difference between two sets of rows, in words.
pub(crate) fn first_difference(
    indices: &[u64],
    first: &[(String, Vec<Vec<u8>>)],
    second: &[(String, Vec<Vec<u8>>)],
) -> Option<String> {
    for ((name, left), (_, right)) in first.iter().zip(second) {
        if left.len() != right.len() {
            return Some(format!(
                "column `{name}` has {} rows in one and {} in the other",
                left.len(),
                right.len()
            ));
        }
        if let Some(row) = left.iter().zip(right).position(|(a, b)| a != b) {
            let index = indices.get(row).copied().unwrap_or_default();
            return Some(format!("column `{name}` of sample {index} differs"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::merge;

    #[test]
    fn changes_go_over_values_key_by_key() {
        let mut value = json!({"a": {"b": 1, "c": "x"}, "list": [1, 2], "n": 3});
        let changes = json!({"a": {"b": null, "d": 2}, "list": [], "n": null, "new": {"x": 1}});
        merge(&mut value, changes);
        assert_eq!(
            value,
            json!({"a": {"b": null, "c": "x", "d": 2}, "list": [], "n": null, "new": {"x": 1}})
        );
        merge(&mut value, json!({"a": null}));
        assert!(value["a"].is_object());
    }
}
