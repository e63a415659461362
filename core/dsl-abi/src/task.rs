//! `dsl.task/1`: the configuration of a task, its datasets and its evaluator.

use abi_stable::{
    StableAbi, sabi_trait,
    std_types::{RBox, ROption, RResult, RSlice, RStr, RString, RVec},
};

use crate::{AbiError, BatchColumns, BatchView, Buffer, Tensor, host::HostObject};

/// Id of [`TaskInterface`].
pub const TASK_V1: &str = "dsl.task/1";

/// What stands behind [`TASK_V1`]. All four functions: `[any thread]`.
#[repr(C)]
#[derive(StableAbi)]
pub struct TaskInterface {
    /// JSON Schema of the configuration.
    pub config_schema: extern "C" fn() -> RResult<RString, AbiError>,
    /// The configuration that runs when the user says nothing, as JSON.
    pub default_config: extern "C" fn() -> RResult<RString, AbiError>,
    /// What the plugin recommends for the host's own part of the configuration: a JSON object, any subset of its keys.
    pub host_defaults: extern "C" fn() -> RResult<RString, AbiError>,
    /// Opens the task with a configuration (JSON, complete). No work happens before this call.
    pub open: extern "C" fn(config: RStr<'_>, host: HostObject) -> RResult<TaskObject, AbiError>,
}

/// An opened task.
#[sabi_trait]
pub trait TaskMethods: Send + Sync {
    /// `[any thread]` JSON of [`crate::declare::TaskDescription`].
    fn describe(&self) -> RResult<RString, AbiError>;
    /// `[any thread]` JSON array of the names of the splits, `train` first.
    fn splits(&self) -> RResult<RString, AbiError>;
    /// `[any thread]` The dataset of a split.
    fn dataset(&self, split: RStr<'_>) -> RResult<DatasetObject, AbiError>;
    /// `[any thread]` A new evaluator, or nothing when the task has none.
    fn evaluator(&self) -> RResult<ROption<EvaluatorObject>, AbiError>;
    /// `[any thread]` One sample of the columns that condition the network, made of what a user gave (a JSON object), such as
    /// a file's name. Columns are as the train split declares them; the target is not among them.
    fn conditions(&self, inputs: RStr<'_>) -> RResult<BatchColumns, AbiError>;
    /// `[any thread]` Samples as people look at them: one tensor `u8 [height, width, 3]`, or nothing where the task has no way
    /// of its own to show them. Columns: `generated`, like the target, and the conditions; the target too, where the truth is
    /// known.
    #[sabi(last_prefix_field)]
    fn picture(&self, samples: &BatchView<'_>) -> RResult<ROption<Tensor>, AbiError>;
}

/// A dataset. A sample depends on its index and its seed alone: a batch of `[3, 5]` equals a batch of `[3]` followed by
/// one of `[5]`, on any thread, in any process.
#[sabi_trait]
pub trait DatasetMethods: Send + Sync {
    /// `[any thread]` How many samples there are; the same at every call.
    fn len(&self) -> RResult<u64, AbiError>;
    /// `[any thread]` JSON array of [`crate::declare::ColumnSpec`]; the same at every call.
    fn columns(&self) -> RResult<RString, AbiError>;
    /// `[any thread]` The samples of `indices`, in that order. `seeds` holds one seed for each. With `augment` off, the
    /// samples do not depend on the seeds.
    #[sabi(last_prefix_field)]
    fn batch(
        &self,
        indices: RSlice<'_, u64>,
        seeds: RSlice<'_, u64>,
        augment: bool,
    ) -> RResult<BatchColumns, AbiError>;
}

/// An evaluator: fed batch by batch, then asked for its metrics.
#[sabi_trait]
pub trait EvaluatorMethods: Send {
    /// `[one thread at a time]` JSON of [`crate::declare::Requirements`].
    fn requirements(&self) -> RResult<RString, AbiError>;
    /// `[one thread at a time]` Takes one batch; `first_index` numbers its first sample within this evaluation.
    fn update(&mut self, inputs: &BatchView<'_>, first_index: u64) -> RResult<(), AbiError>;
    /// `[one thread at a time]` What was measured since the last call; the evaluator is then as new.
    #[sabi(last_prefix_field)]
    fn finish(&mut self) -> RResult<Evaluated, AbiError>;
}

/// What an evaluation ends with, plugin to host.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Evaluated {
    /// JSON array of [`crate::declare::MetricValue`].
    pub metrics: RString,
    /// Files worth keeping beside the metrics.
    pub artefacts: RVec<Artefact>,
}

/// A file that an evaluator made, plugin to host; the host decides where it is written. [`crate::check::check_artefacts`]
/// has the rules.
#[repr(C)]
#[derive(StableAbi, Debug)]
pub struct Artefact {
    /// File name with extension, without folders.
    pub name: RString,
    /// Kind of content, such as `image/png` or `text/csv`.
    pub media_type: RString,
    /// The content.
    pub data: Buffer,
}

/// A task, as the host holds it.
pub type TaskObject = TaskMethods_TO<'static, RBox<()>>;
/// A dataset, as the host holds it.
pub type DatasetObject = DatasetMethods_TO<'static, RBox<()>>;
/// An evaluator, as the host holds it.
pub type EvaluatorObject = EvaluatorMethods_TO<'static, RBox<()>>;
