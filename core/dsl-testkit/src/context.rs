//! What a case has in hand, within the child process.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use dsl_loader::{
    ColumnSpec, DatasetHandle, HostCallbacks, HostColumn, HostColumnData, LoaderError, Plugin,
    TaskHandle,
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

/// Puts the values of `changes` over those of `value`: objects key by key, all else as a whole.
pub fn merge(value: &mut Value, changes: Value) {
    match (value, changes) {
        (Value::Object(members), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(members.entry(key).or_insert(Value::Null), change);
            }
        }
        (_, Value::Null) => {}
        (value, changes) => *value = changes,
    }
}

/// A host that asks for a stop when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Stopping(pub(crate) AtomicBool);

impl HostCallbacks for Stopping {
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn threads(&self) -> usize {
        4
    }

    fn parallel(&self, count: u64, work: &(dyn Fn(u64) + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || (thread..count).step_by(4).for_each(work));
            }
        });
    }
}

impl Context {
    pub(crate) fn plugin(&self) -> Result<Plugin, LoaderError> {
        self.plugin_for(Arc::new(Stopping::default()))
    }

    pub(crate) fn plugin_for(
        &self,
        callbacks: Arc<dyn HostCallbacks>,
    ) -> Result<Plugin, LoaderError> {
        Plugin::open(&self.path, callbacks)
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

/// A few indices that exist, spread over the dataset, the first and the last among them; not in order.
pub(crate) fn some_indices(dataset: &DatasetHandle, most: usize) -> Vec<u64> {
    let count = dataset.len();
    let most = (most as u64).min(count).max(1);
    let mut indices: Vec<u64> = (0..most)
        .map(|step| {
            (u128::from(count - 1) * u128::from(step) / u128::from((most - 1).max(1))) as u64
        })
        .collect();
    indices.dedup();
    let half = indices.len() / 2;
    indices.rotate_left(half);
    indices
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
                texts.iter().map(|text| text.clone().into_bytes()).collect()
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
