//! What a plugin implements.

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Artefacts, Batch, ColumnSpec, Host, MetricValue, PluginError, Requirements, TaskDescription,
    image::Picture,
};

/// A task: its configuration, its data, and how it is measured. Hand it to [`crate::export_plugin!`].
pub trait Task: Sized + Send + Sync + 'static {
    /// Short kebab-case name, such as `t2i`.
    const ID: &'static str;
    /// Name for people.
    const NAME: &'static str;
    /// One sentence.
    const DESCRIPTION: &'static str;

    /// The task's part of the configuration. Its default is what runs when the user says nothing. Derive the traits
    /// through this crate's re-exports, and deny unknown fields: users mistype keys.
    type Config: DeserializeOwned + Serialize + JsonSchema + Default;

    /// What the plugin recommends for the host's own part of the configuration: an object with any subset of its keys.
    ///
    /// Precedence: the host's defaults, then these, then the user's file, then the command line.
    fn host_defaults() -> Value {
        json!({})
    }

    /// Files that travel inside the plugin, such as a small base model.
    fn assets() -> &'static [Asset] {
        &[]
    }

    /// Opens the task. No work happens before this call. `[any thread]`
    ///
    /// # Errors
    /// Whatever keeps it from running: a configuration that cannot be, data that cannot be read.
    fn open(config: Self::Config, host: Host) -> Result<Self, PluginError>;

    /// What is trained on, and how the data conditions the network. `[any thread]`
    fn describe(&self) -> TaskDescription;

    /// Names of the splits, `train` first. `[any thread]`
    fn splits(&self) -> Vec<String>;

    /// The dataset of one of [`Task::splits`]. `[any thread]`
    ///
    /// # Errors
    /// An unknown split, or data that cannot be read.
    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError>;

    /// A new evaluator, if the task has one. `[any thread]`
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        Ok(None)
    }

    /// One sample of the columns that condition the network, made of what a user gave: the keys and values of
    /// `dsl-host sample --input KEY=VALUE`. Columns are as the train split declares them (with a batch axis of 1); the target
    /// is not among them, and columns that say nothing may be left out. `[any thread]`
    ///
    /// # Errors
    /// Inputs that cannot be: the error names the key, and the file where there is one. A task without such inputs:
    /// [`crate::ErrorCode::Unsupported`].
    fn conditions(&self, inputs: &Value) -> Result<Batch, PluginError> {
        let _ = inputs;
        Err(PluginError::unsupported(format!(
            "the task {} takes no inputs of a user's own",
            Self::ID
        )))
    }

    /// Samples as people look at them, such as with boxes drawn into them or the truth beside them; nothing where a plain
    /// grid does. `samples` holds `generated`, shaped like the target, and the conditions; the target too, where the truth is
    /// known. `[any thread]`
    ///
    /// # Errors
    /// Columns that are not as required.
    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        let _ = samples;
        Ok(None)
    }
}

/// A file inside the plugin.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// Name that the host asks by, such as `base.safetensors`.
    pub name: &'static str,
    /// Its bytes, usually by `include_bytes!`.
    pub bytes: &'static [u8],
}

/// A dataset. All methods: `[any thread]`, several calls at once.
///
/// A sample depends on its index and its seed alone: the batch of `[3, 5]` equals the batch of `[3]` followed by that of
/// `[5]`, on any thread and in any process.
pub trait Dataset: Send + Sync {
    /// How many samples there are; the same at every call.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The columns of every batch; the same at every call.
    fn columns(&self) -> Vec<ColumnSpec>;

    /// The buckets of a dataset whose targets have one of several shapes, such as pictures of several aspect ratios; nothing
    /// where all have one. The same at every call. The target's column then declares `None` for the lengths that differ, the
    /// host asks for samples of one bucket at a time, and their target has its shape.
    fn buckets(&self) -> Option<&Buckets> {
        None
    }

    /// The samples of the request, in its order. The result is checked against [`Dataset::columns`] before it leaves
    /// the plugin.
    ///
    /// # Errors
    /// A sample that cannot be read.
    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError>;
}

/// The shapes that targets may have, and which of them each sample has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets {
    /// Shape of one sample's target in each bucket, as `[channels, height, width]`. Samples are drawn at the first one where
    /// nothing else says; no sample of the data need be of it.
    pub shapes: Vec<Vec<u64>>,
    /// For each sample of the dataset the place of its bucket in `shapes`.
    pub of_sample: Vec<u32>,
}

/// Which samples, and the randomness they may use.
#[derive(Debug, Clone, Copy)]
pub struct BatchRequest<'a> {
    /// Indices, each below [`Dataset::len`]; any order, repetitions allowed. With [`Dataset::buckets`], all of one bucket.
    pub indices: &'a [u64],
    /// One seed for each index. All of a sample's randomness comes from its seed.
    pub seeds: &'a [u64],
    /// Whether random changes (flips, crops, the choice of a caption) are wanted. Without, seeds are ignored.
    pub augment: bool,
}

impl BatchRequest<'_> {
    /// Whether there is one seed for each index.
    ///
    /// # Errors
    /// A breach of the contract, with both numbers.
    pub fn check_seeds(&self) -> Result<(), PluginError> {
        let [indices, seeds] = [self.indices.len(), self.seeds.len()];
        if indices == seeds {
            return Ok(());
        }
        Err(PluginError::contract(format!(
            "{indices} indices, but {seeds} seeds"
        )))
    }
}

/// Measures what was learnt. `[one thread at a time]`
pub trait Evaluator: Send {
    /// What the host feeds to [`Evaluator::update`].
    fn requirements(&self) -> Requirements;

    /// Takes one batch; `first_index` numbers its first sample within this evaluation.
    ///
    /// # Errors
    /// Columns that are not as required.
    fn update(&mut self, inputs: &Batch, first_index: u64) -> Result<(), PluginError>;

    /// The metrics of all batches since the last call; the evaluator is then as new. Without any batch, leave out the
    /// metrics that cannot be, rather than give one that is no number.
    ///
    /// Files worth keeping, such as a plot or a table, go into `artefacts`; the host writes them beside the metrics.
    ///
    /// # Errors
    /// Whatever keeps them from being computed.
    fn finish(&mut self, artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError>;
}
