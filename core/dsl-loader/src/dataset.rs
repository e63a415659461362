//! A dataset of a task.

mod buckets;

use dsl_abi::{
    buckets::BucketsInterface,
    check::{check_batch, check_declaration},
    task::DatasetObject,
};

pub use buckets::Buckets;

use crate::{
    ColumnSpec, HostColumn, LoaderError,
    arrived::{Arrived, Origin, Rules},
    call::{Caller, Held},
    in_call::Label,
};

/// A dataset of a task. `[any thread]`, several calls at once.
pub struct DatasetHandle {
    caller: Caller,
    split: String,
    object: Held<DatasetObject>,
    batch: &'static Label,
    release: &'static Label,
    count: u64,
    columns: Vec<ColumnSpec>,
    buckets: Option<Buckets>,
}

impl DatasetHandle {
    pub(crate) fn new(
        caller: Caller,
        split: &str,
        object: DatasetObject,
    ) -> Result<Self, LoaderError> {
        let object = Held::new(&caller, format_args!("dataset `{split}`"), object);
        let count = caller.call(format_args!("length of dataset `{split}`"), || object.len())?;
        let call = format!("columns of dataset `{split}`");
        let columns: Vec<ColumnSpec> =
            caller.json(&call, "declared columns as JSON", || object.columns())?;
        check_declaration(&columns).map_err(|breach| {
            caller.contract(
                &call,
                format!("{} for column `{}`", breach.expected, breach.column),
                breach.found,
            )
        })?;
        Ok(Self {
            batch: caller.label(format_args!("batch of dataset `{split}`")),
            release: caller.label(format_args!("release of a batch of dataset `{split}`")),
            caller,
            split: split.to_owned(),
            object,
            count,
            columns,
            buckets: None,
        })
    }

    /// Asks the plugin for the buckets of the targets, whose column is `target`.
    pub(crate) fn learn_buckets(
        &mut self,
        interface: &BucketsInterface,
        target: &str,
    ) -> Result<(), LoaderError> {
        let spec = self.columns.iter().find(|column| column.name == target);
        let Some(spec) = spec else { return Ok(()) };
        let call = format!("buckets of dataset `{}`", self.split);
        self.buckets = Buckets::ask(
            interface,
            &self.caller,
            &call,
            &self.object,
            spec,
            self.count,
        )?;
        Ok(())
    }

    /// The shapes that targets have, and which of them each sample has; nothing where all have the declared one.
    pub const fn buckets(&self) -> Option<&Buckets> {
        self.buckets.as_ref()
    }

    /// The split that it is of.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// How many samples there are.
    pub const fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns of every batch.
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// The samples of `indices`, in that order, with one seed for each; one column for each declared one, in the
    /// declared order. Without `augment` the seeds change nothing. Where there are [`Self::buckets`], all are of one.
    ///
    /// # Errors
    /// An error of the plugin, or a batch that is not as declared.
    ///
    /// # Panics
    /// If there is not one seed for each index: a mistake of the caller.
    pub fn batch(
        &self,
        indices: &[u64],
        seeds: &[u64],
        augment: bool,
    ) -> Result<Vec<HostColumn>, LoaderError> {
        assert_eq!(indices.len(), seeds.len(), "one seed for each index");
        let name = std::fmt::from_fn(|f| f.write_str(&self.call(indices)));
        let batch = self.caller.call_as(self.batch, &name, || {
            (self.object.batch(indices.into(), seeds.into(), augment))
                .map(|batch| Arrived::take(batch, self.release))
        })?;
        let from = Origin {
            caller: &self.caller,
            call: &name,
            label: self.batch,
        };
        let rules = Rules {
            declared: &self.columns,
            rows: indices.len() as u64,
            check: check_batch,
            bucket: (self.buckets.as_ref()).and_then(|buckets| buckets.target_of(indices)),
        };
        batch.accept(from, &rules)
    }

    fn call(&self, indices: &[u64]) -> String {
        let split = &self.split;
        match indices {
            [] => format!("empty batch of dataset `{split}`"),
            [only] => format!("sample {only} of dataset `{split}`"),
            [first, .., last] => format!(
                "batch of dataset `{split}` ({} samples, {first} … {last})",
                indices.len()
            ),
        }
    }
}

impl std::fmt::Debug for DatasetHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatasetHandle")
            .field("plugin", &self.caller.plugin)
            .field("split", &self.split)
            .field("len", &self.count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
