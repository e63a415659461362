//! A dataset of a task.

use dsl_abi::{
    BatchColumns, RawDType,
    buffer::elements_of,
    check::{FoundColumn, check_batch, check_declaration},
    task::DatasetObject,
    tensor::split_texts,
};

use crate::{
    ColumnSpec, DType, HostColumn, HostColumnData, HostTensor, LoaderError,
    call::{Caller, Held},
    columns::Lent,
    in_call::{Label, enter},
};

/// A batch as it came, unchecked. Names and shapes are copies, and buffers release themselves, by calls with names.
struct Arrived {
    tensors: Vec<(String, RawDType, Vec<u64>, Result<Lent, String>)>,
    texts: Vec<(String, Result<Lent, String>, Result<Lent, String>)>,
}

impl Arrived {
    fn take(batch: BatchColumns, release: &'static Label) -> Self {
        let tensors = batch.tensors.into_iter().map(|tensor| {
            let data = Lent::take(tensor.data, release);
            (
                tensor.name.into(),
                tensor.dtype,
                tensor.shape.to_vec(),
                data,
            )
        });
        let texts = batch.texts.into_iter().map(|text| {
            let bytes = Lent::take(text.bytes, release);
            (text.name.into(), bytes, Lent::take(text.offsets, release))
        });
        Self {
            tensors: tensors.collect(),
            texts: texts.collect(),
        }
    }
}

/// A dataset of a task. `[any thread]`, several calls at once.
pub struct DatasetHandle {
    caller: Caller,
    split: String,
    object: Held<DatasetObject>,
    batch: &'static Label,
    release: &'static Label,
    count: u64,
    columns: Vec<ColumnSpec>,
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
                format!(
                    "{} as the name of column `{}`",
                    breach.expected, breach.column
                ),
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
        })
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
    /// declared order. Without `augment` the seeds change nothing.
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
        let batch = self.caller.call_as(self.batch, name, || {
            (self.object.batch(indices.into(), seeds.into(), augment))
                .map(|batch| Arrived::take(batch, self.release))
        })?;
        self.accept(indices, batch)
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

    fn accept(&self, indices: &[u64], batch: Arrived) -> Result<Vec<HostColumn>, LoaderError> {
        let mut arrived = Vec::with_capacity(self.columns.len());
        for (name, dtype, shape, data) in batch.tensors {
            arrived.push(self.accept_tensor(indices, name, dtype, shape, data)?);
        }
        for (name, bytes, offsets) in batch.texts {
            arrived.push(self.accept_text(indices, name, bytes, offsets)?);
        }
        let found: Vec<_> = (arrived.iter())
            .map(|(column, shape)| {
                let (dtype, elements) = match &column.data {
                    HostColumnData::Tensor(tensor) => (
                        tensor.dtype(),
                        tensor.bytes().len() / tensor.dtype().size_bytes(),
                    ),
                    HostColumnData::Text(texts) => (DType::Text, texts.len()),
                };
                FoundColumn {
                    name: &column.name,
                    dtype,
                    shape,
                    elements: elements as u64,
                }
            })
            .collect();
        check_batch(&self.columns, indices.len() as u64, &found).map_err(|breach| {
            let expected = format!("{} for column `{}`", breach.expected, breach.column);
            self.caller
                .contract(self.call(indices), expected, breach.found)
        })?;
        let position = |column: &HostColumn| {
            self.columns
                .iter()
                .position(|spec| spec.name == column.name)
        };
        let mut columns: Vec<_> = arrived.into_iter().map(|(column, _)| column).collect();
        columns.sort_by_key(position);
        Ok(columns)
    }

    fn accept_tensor(
        &self,
        indices: &[u64],
        name: String,
        dtype: RawDType,
        shape: Vec<u64>,
        data: Result<Lent, String>,
    ) -> Result<(HostColumn, Vec<u64>), LoaderError> {
        let contract = |expected: String, found: String| {
            self.caller.contract(self.call(indices), expected, found)
        };
        let data = data.map_err(|found| contract(memory_of(&name), found))?;
        let dtype = DType::from_raw(dtype).map_err(|raw| {
            contract(
                format!("data type u8, f32 or i64 for column `{name}`"),
                format!("data type number {}, which this host cannot read", raw.0),
            )
        })?;
        let tensor = HostTensor::new(&name, dtype, shape, data)
            .map_err(|(expected, found)| contract(expected, found))?;
        let shape = tensor.shape().to_vec();
        Ok((
            HostColumn {
                name,
                data: HostColumnData::Tensor(tensor),
            },
            shape,
        ))
    }

    fn accept_text(
        &self,
        indices: &[u64],
        name: String,
        bytes: Result<Lent, String>,
        offsets: Result<Lent, String>,
    ) -> Result<(HostColumn, Vec<u64>), LoaderError> {
        let contract = |expected: String, found: String| {
            self.caller.contract(self.call(indices), expected, found)
        };
        let unusable = |found| contract(memory_of(&name), found);
        let bytes = bytes.map_err(unusable)?;
        let offsets = offsets.map_err(unusable)?;
        let texts = {
            // All of the memory is read here.
            let _entered = enter(self.batch);
            elements_of::<i64>(offsets.as_bytes())
                .ok_or_else(|| "offsets that are not whole, aligned numbers".to_owned())
                .and_then(|offsets| split_texts(bytes.as_bytes(), offsets))
                .map_err(|found| contract(format!("texts for column `{name}`"), found))?
        };
        let shape = vec![texts.len() as u64];
        Ok((
            HostColumn {
                name,
                data: HostColumnData::Text(texts),
            },
            shape,
        ))
    }
}

fn memory_of(column: &str) -> String {
    format!("memory for column `{column}`")
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
