//! An opened task.

mod columns;
mod injections;

use std::sync::OnceLock;

use dsl_abi::{buckets::BucketsInterface, check::check_conditions, task::TaskObject};
use serde_json::Value;

use crate::{
    ColumnSpec, DatasetHandle, EvaluatorHandle, HostColumn, InputColumn, LoaderError, RgbPicture,
    TaskDescription,
    arrived::{Arrived, ArrivedTensor, Origin, Rules},
    call::{Caller, Held},
    lend::lend,
};

use injections::Mismatch;

/// An opened task. `[any thread]`
pub struct TaskHandle {
    caller: Caller,
    object: Held<TaskObject>,
    description: TaskDescription,
    splits: Vec<String>,
    buckets: Option<&'static BucketsInterface>,
    /// Columns of the split `train`, once conditions were asked for.
    train_columns: OnceLock<Vec<ColumnSpec>>,
}

impl TaskHandle {
    pub(crate) fn new(
        caller: Caller,
        object: TaskObject,
        buckets: Option<&'static BucketsInterface>,
    ) -> Result<Self, LoaderError> {
        let object = Held::new(&caller, "the task", object);
        let description: TaskDescription = caller.json(
            "describe",
            "a task description that this host understands",
            || object.describe(),
        )?;
        injections::check_injections(&description.injections)
            .map_err(|Mismatch { expected, found }| caller.contract("describe", expected, found))?;
        let dropout = description.dropout;
        if !(0.0..=1.0).contains(&dropout) {
            let expected = "the dropout of all conditions in 0..1";
            return Err(caller.contract("describe", expected, dropout.to_string()));
        }
        let splits: Vec<String> =
            caller.json("splits", "a JSON array of names", || object.splits())?;
        if splits.first().is_none_or(|first| first != "train") {
            return Err(caller.contract(
                "splits",
                "`train` as the first split",
                format!("{splits:?}"),
            ));
        }
        Ok(Self {
            caller,
            object,
            description,
            splits,
            buckets,
            train_columns: OnceLock::new(),
        })
    }

    /// What is trained on, and how the data conditions the network.
    pub const fn describe(&self) -> &TaskDescription {
        &self.description
    }

    /// Names of the splits, `train` first.
    pub fn splits(&self) -> &[String] {
        &self.splits
    }

    /// The dataset of a split.
    ///
    /// # Errors
    /// An error of the plugin, or columns or buckets that do not fit the task's description.
    pub fn dataset(&self, split: &str) -> Result<DatasetHandle, LoaderError> {
        let object = self.caller.call(format_args!("dataset `{split}`"), || {
            self.object.dataset(split.into())
        })?;
        let mut dataset = DatasetHandle::new(self.caller.clone(), split, object)?;
        columns::check_columns(&self.description, dataset.columns()).map_err(
            |Mismatch { expected, found }| {
                let call = format_args!("columns of dataset `{split}`");
                self.caller.contract(call, expected, found)
            },
        )?;
        if let Some(buckets) = self.buckets {
            dataset.learn_buckets(buckets, &self.description.target)?;
        }
        Ok(dataset)
    }

    /// A new evaluator, if the task has one.
    ///
    /// # Errors
    /// An error of the plugin.
    pub fn evaluator(&self) -> Result<Option<EvaluatorHandle>, LoaderError> {
        let object = self.caller.call("evaluator", || self.object.evaluator())?;
        object
            .into_option()
            .map(|object| EvaluatorHandle::new(self.caller.clone(), object))
            .transpose()
    }

    /// One sample of the columns that condition the network, made of what a user gave (a JSON object): some of the columns
    /// that the split `train` declares, in its order, never the target. Pictures may be of any height and width.
    ///
    /// # Errors
    /// An error of the plugin: inputs that cannot be, or [`crate::ErrorCode::Unsupported`] where the task takes none. Columns
    /// that are not as declared.
    pub fn conditions(&self, inputs: &Value) -> Result<Vec<HostColumn>, LoaderError> {
        let (call, label) = ("conditions", self.caller.label("conditions"));
        let release = self.caller.label("release of conditions");
        let declared = match self.train_columns.get() {
            Some(columns) => columns,
            None => {
                let columns = self.dataset("train")?.columns().to_vec();
                self.train_columns.get_or_init(|| columns)
            }
        };
        let inputs = inputs.to_string();
        let arrived = self.caller.call_as(label, call, || {
            (self.object.conditions(inputs.as_str().into()))
                .map(|columns| Arrived::take(columns, release))
        })?;
        let from = Origin {
            caller: &self.caller,
            call: &call,
            label,
        };
        let rules = Rules {
            declared,
            rows: 1,
            check: check_conditions,
            bucket: None,
        };
        let columns = arrived.accept(from, &rules)?;
        let target = &self.description.target;
        if columns.iter().any(|column| column.name == *target) {
            return Err(from.contract("conditions", format!("the target `{target}` among them")));
        }
        Ok(columns)
    }

    /// Samples as people look at them, or nothing where the task has no way of its own to show them. `samples` are
    /// `generated`, shaped like the target, and the conditions; the target too, where the truth is known.
    ///
    /// # Errors
    /// An error of the plugin, or a picture that cannot be.
    ///
    /// # Panics
    /// If a column has another number of values than its shape says: a mistake of the caller.
    pub fn picture(&self, samples: &[InputColumn<'_>]) -> Result<Option<RgbPicture>, LoaderError> {
        let (call, label) = ("picture", self.caller.label("picture"));
        let release = self.caller.label("release of a picture");
        let arrived = lend(samples, |samples| {
            self.caller.call_as(label, call, || {
                self.object.picture(samples).map(|picture| {
                    (picture.into_option()).map(|picture| ArrivedTensor::take(picture, release))
                })
            })
        })?;
        let from = Origin {
            caller: &self.caller,
            call: &call,
            label,
        };
        arrived
            .map(|picture| RgbPicture::accept(picture, from))
            .transpose()
    }
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHandle")
            .field("plugin", &self.caller.plugin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
