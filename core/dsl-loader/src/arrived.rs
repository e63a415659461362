//! Columns as they come from a plugin, and the checks that make them the host's.

use std::fmt::Display;

use dsl_abi::{
    BatchColumns, RawDType, Tensor, TextColumn,
    buffer::elements_of,
    check::{Check, FoundColumn, check_target},
    tensor::split_texts,
};

use crate::{
    ColumnSpec, DType, HostColumn, HostColumnData, HostTensor, LoaderError,
    call::Caller,
    columns::Lent,
    in_call::{Label, enter},
};

/// Memory as it came: what is wrong with it is told with the column.
type Memory = Result<Lent, String>;

/// A numeric column as it came, unchecked.
pub(crate) struct ArrivedTensor {
    name: String,
    dtype: RawDType,
    shape: Vec<u64>,
    data: Memory,
}

/// A text column as it came, unchecked.
struct ArrivedText {
    name: String,
    bytes: Memory,
    offsets: Memory,
}

/// A batch as it came. Names and shapes are copies, and buffers release themselves, by calls with names.
pub(crate) struct Arrived {
    tensors: Vec<ArrivedTensor>,
    texts: Vec<ArrivedText>,
}

/// The call that columns came from.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) caller: &'a Caller,
    /// The call as errors name it.
    pub(crate) call: &'a dyn Display,
    /// The call as crashes name it, where memory is read.
    pub(crate) label: &'static Label,
}

/// The rules that hold for columns that came.
pub(crate) struct Rules<'a> {
    pub(crate) declared: &'a [ColumnSpec],
    pub(crate) rows: u64,
    pub(crate) check: Check,
    /// Name of the target and the shape of one sample's, where it is that of a bucket.
    pub(crate) bucket: Option<(&'a str, &'a [u64])>,
}

impl ArrivedTensor {
    /// Takes a column over, within the call that made it.
    pub(crate) fn take(tensor: Tensor, release: &'static Label) -> Self {
        Self {
            data: Lent::take(tensor.data, release),
            name: tensor.name.into(),
            dtype: tensor.dtype,
            shape: tensor.shape.to_vec(),
        }
    }

    /// Name and numbers, whose length is still to be held against the shape.
    pub(crate) fn accept(self, from: Origin<'_>) -> Result<(String, HostTensor), LoaderError> {
        let name = self.name;
        let data = (self.data).map_err(|found| from.contract(memory_of(&name), found))?;
        let dtype = DType::from_raw(self.dtype).map_err(|raw| {
            from.contract(
                format!("data type u8, f32 or i64 for column `{name}`"),
                format!("data type number {}, which this host cannot read", raw.0),
            )
        })?;
        let tensor = HostTensor::new(&name, dtype, self.shape, data)
            .map_err(|(expected, found)| from.contract(expected, found))?;
        Ok((name, tensor))
    }
}

impl ArrivedText {
    fn take(text: TextColumn, release: &'static Label) -> Self {
        Self {
            bytes: Lent::take(text.bytes, release),
            offsets: Lent::take(text.offsets, release),
            name: text.name.into(),
        }
    }

    fn accept(self, from: Origin<'_>) -> Result<(String, Vec<String>), LoaderError> {
        let name = self.name;
        let unusable = |found| from.contract(memory_of(&name), found);
        let bytes = self.bytes.map_err(unusable)?;
        let offsets = self.offsets.map_err(unusable)?;
        let texts = {
            // All of the memory is read here.
            let _entered = enter(from.label);
            elements_of::<i64>(offsets.as_bytes())
                .ok_or_else(|| "offsets that are not whole, aligned numbers".to_owned())
                .and_then(|offsets| split_texts(bytes.as_bytes(), offsets))
                .map_err(|found| from.contract(format!("texts for column `{name}`"), found))?
        };
        Ok((name, texts))
    }
}

impl Arrived {
    /// Takes a batch over, within the call that made it.
    pub(crate) fn take(batch: BatchColumns, release: &'static Label) -> Self {
        let tensors = batch.tensors.into_iter();
        let texts = batch.texts.into_iter();
        Self {
            tensors: tensors
                .map(|tensor| ArrivedTensor::take(tensor, release))
                .collect(),
            texts: texts.map(|text| ArrivedText::take(text, release)).collect(),
        }
    }

    /// The columns in the declared order.
    ///
    /// # Errors
    /// The first column that breaks a rule.
    pub(crate) fn accept(
        self,
        from: Origin<'_>,
        rules: &Rules<'_>,
    ) -> Result<Vec<HostColumn>, LoaderError> {
        let mut columns = Vec::with_capacity(self.tensors.len() + self.texts.len());
        for tensor in self.tensors {
            let (name, tensor) = tensor.accept(from)?;
            let data = HostColumnData::Tensor(tensor);
            columns.push(HostColumn { name, data });
        }
        for text in self.texts {
            let (name, texts) = text.accept(from)?;
            let data = HostColumnData::Text(texts);
            columns.push(HostColumn { name, data });
        }
        let found: Vec<_> = columns.iter().map(found_column).collect();
        let of_bucket = |()| match rules.bucket {
            Some((target, shape)) => check_target(target, shape, &found),
            None => Ok(()),
        };
        let checked = (rules.check)(rules.declared, rules.rows, &found).and_then(of_bucket);
        checked.map_err(|breach| {
            let expected = format!("{} for column `{}`", breach.expected, breach.column);
            from.contract(expected, breach.found)
        })?;
        columns.sort_by_key(|column| {
            (rules.declared.iter()).position(|spec| spec.name == column.name)
        });
        Ok(columns)
    }
}

impl Origin<'_> {
    pub(crate) fn contract(
        &self,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> LoaderError {
        self.caller.contract(self.call, expected, found)
    }
}

fn found_column(column: &HostColumn) -> FoundColumn<'_> {
    let (dtype, shape, elements) = match &column.data {
        HostColumnData::Tensor(tensor) => {
            let elements = tensor.bytes().len() / tensor.dtype().size_bytes();
            (tensor.dtype(), tensor.shape(), elements)
        }
        HostColumnData::Text(texts) => (DType::Text, &[][..], texts.len()),
    };
    FoundColumn {
        name: &column.name,
        dtype,
        shape,
        elements: elements as u64,
    }
}

fn memory_of(column: &str) -> String {
    format!("memory for column `{column}`")
}
