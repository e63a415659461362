//! An opened task.

use dsl_abi::task::TaskObject;

use crate::{
    ColumnRole, ColumnSpec, DType, DatasetHandle, EvaluatorHandle, Injection, LoaderError,
    TaskDescription,
    call::{Caller, Held},
};

/// An opened task. `[any thread]`
pub struct TaskHandle {
    caller: Caller,
    object: Held<TaskObject>,
    description: TaskDescription,
    splits: Vec<String>,
}

impl TaskHandle {
    pub(crate) fn new(caller: Caller, object: TaskObject) -> Result<Self, LoaderError> {
        let object = Held::new(&caller, "the task", object);
        let description: TaskDescription = caller.json(
            "describe",
            "a task description that this host understands",
            || object.describe(),
        )?;
        for injection in &description.injections {
            match injection {
                Injection::CrossAttention { column, dropout } => {
                    if !(0.0..=1.0).contains(dropout) {
                        let expected = format!(
                            "the dropout of injection cross_attention of `{column}` in 0..1"
                        );
                        return Err(caller.contract("describe", expected, dropout.to_string()));
                    }
                }
                _ => {}
            }
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
    /// An error of the plugin, or columns that do not fit the task's description.
    pub fn dataset(&self, split: &str) -> Result<DatasetHandle, LoaderError> {
        let object = self.caller.call(format_args!("dataset `{split}`"), || {
            self.object.dataset(split.into())
        })?;
        let dataset = DatasetHandle::new(self.caller.clone(), split, object)?;
        self.check_columns(split, dataset.columns())?;
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

    /// The columns that the description speaks of exist, and are of the kind it needs.
    fn check_columns(&self, split: &str, columns: &[ColumnSpec]) -> Result<(), LoaderError> {
        let call = format!("columns of dataset `{split}`");
        let names = || {
            let names: Vec<_> = columns
                .iter()
                .map(|column| format!("`{}`", column.name))
                .collect();
            format!("only {}", names.join(", "))
        };
        let find = |name: &str, what: &str| {
            (columns.iter().find(|column| column.name == name)).ok_or_else(|| {
                self.caller
                    .contract(&call, format!("the {what} column `{name}`"), names())
            })
        };
        let target = find(&self.description.target, "target")?;
        let axes = match target.role {
            ColumnRole::Image => Some(3),
            ColumnRole::Vector => Some(1),
            _ => None,
        };
        if target.dtype != DType::F32 || axes != Some(target.shape.len()) {
            return Err(self.caller.contract(
                &call,
                format!(
                    "target `{}` as f32, an image of 3 axes or a vector of 1",
                    target.name
                ),
                format!(
                    "{} of role {:?} and {} axes",
                    target.dtype,
                    target.role,
                    target.shape.len()
                ),
            ));
        }
        for injection in &self.description.injections {
            match injection {
                Injection::CrossAttention { column, .. } => {
                    let found = find(column, "cross_attention")?.dtype;
                    if found != DType::Text {
                        let expected = format!("text in `{column}` for injection cross_attention");
                        return Err(self.caller.contract(&call, expected, found.to_string()));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskHandle")
            .field("plugin", &self.caller.plugin)
            .finish_non_exhaustive()
    }
}
