//! Batches in an author's hands, and their way over the boundary.

use dsl_abi::{
    BatchColumns, BatchView, Buffer, RawDType, Tensor, TextColumn,
    buffer::elements_of,
    check::{Check, FoundColumn, check_batch, check_conditions, check_target},
    tensor::{join_texts, split_texts},
};

use crate::{ColumnSpec, DType, PluginError};

/// Some samples: one column for each declared one, in any order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The columns.
    pub columns: Vec<Column>,
}

/// One column of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its declared name.
    pub name: String,
    /// Its values.
    pub data: ColumnData,
}

impl Column {
    /// A column of floats; its shape includes the batch axis.
    pub fn f32(name: impl Into<String>, shape: Vec<u64>, values: Vec<f32>) -> Self {
        Self {
            name: name.into(),
            data: ColumnData::F32 { shape, values },
        }
    }
}

/// Values of a column. Shapes include the batch axis, which comes first; values are row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum ColumnData {
    /// 32-bit floats.
    F32 {
        /// Shape with the batch axis.
        shape: Vec<u64>,
        /// As many as the shape says.
        values: Vec<f32>,
    },
    /// Bytes.
    U8 {
        /// Shape with the batch axis.
        shape: Vec<u64>,
        /// As many as the shape says.
        values: Vec<u8>,
    },
    /// Integers.
    I64 {
        /// Shape with the batch axis.
        shape: Vec<u64>,
        /// As many as the shape says.
        values: Vec<i64>,
    },
    /// One text for each sample, or as many as the column's shape says, one sample after the other.
    Text(Vec<String>),
}

impl ColumnData {
    /// Type of the values.
    pub const fn dtype(&self) -> DType {
        match self {
            Self::F32 { .. } => DType::F32,
            Self::U8 { .. } => DType::U8,
            Self::I64 { .. } => DType::I64,
            Self::Text(_) => DType::Text,
        }
    }

    /// Shape with the batch axis; `[number of texts]` for text.
    pub fn shape(&self) -> Vec<u64> {
        match self {
            Self::F32 { shape, .. } | Self::U8 { shape, .. } | Self::I64 { shape, .. } => {
                shape.clone()
            }
            Self::Text(texts) => vec![texts.len() as u64],
        }
    }

    fn count(&self) -> u64 {
        (match self {
            Self::F32 { values, .. } => values.len(),
            Self::U8 { values, .. } => values.len(),
            Self::I64 { values, .. } => values.len(),
            Self::Text(texts) => texts.len(),
        }) as u64
    }
}

impl Batch {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnData> {
        self.columns
            .iter()
            .find(|column| column.name == name)
            .map(|column| &column.data)
    }

    /// Shape and values of a column of floats.
    ///
    /// # Errors
    /// A broken contract, when there is no such column, or it holds something else.
    pub fn f32(&self, name: &str) -> Result<(&[u64], &[f32]), PluginError> {
        match self.column(name) {
            Some(ColumnData::F32 { shape, values }) => Ok((shape, values)),
            other => Err(self.other_than(name, DType::F32, other)),
        }
    }

    /// The texts of a column.
    ///
    /// # Errors
    /// As [`Self::f32`].
    pub fn texts(&self, name: &str) -> Result<&[String], PluginError> {
        match self.column(name) {
            Some(ColumnData::Text(texts)) => Ok(texts),
            other => Err(self.other_than(name, DType::Text, other)),
        }
    }

    fn other_than(&self, name: &str, expected: DType, found: Option<&ColumnData>) -> PluginError {
        if let Some(found) = found {
            return PluginError::contract(format!(
                "column `{name}`: expected {expected}, found {}",
                found.dtype()
            ));
        }
        let names: Vec<_> = (self.columns.iter())
            .map(|column| format!("`{}`", column.name))
            .collect();
        PluginError::contract(format!(
            "column `{name}`: expected it, found only {}",
            names.join(", ")
        ))
    }

    /// Checks the batch against the declaration, and its target against the shape of `bucket` (name and shape), and hands
    /// its memory over.
    pub(crate) fn into_abi(
        self,
        declared: &[ColumnSpec],
        rows: usize,
        bucket: Option<(&str, &[u64])>,
    ) -> Result<BatchColumns, PluginError> {
        self.hand_over(declared, rows, check_batch, bucket)
    }

    /// As [`Self::into_abi`] for one sample of some of the columns.
    pub(crate) fn conditions_into_abi(
        self,
        declared: &[ColumnSpec],
    ) -> Result<BatchColumns, PluginError> {
        self.hand_over(declared, 1, check_conditions, None)
    }

    fn hand_over(
        self,
        declared: &[ColumnSpec],
        rows: usize,
        check: Check,
        bucket: Option<(&str, &[u64])>,
    ) -> Result<BatchColumns, PluginError> {
        let shapes: Vec<_> = self
            .columns
            .iter()
            .map(|column| column.data.shape())
            .collect();
        let found: Vec<_> = (self.columns.iter().zip(&shapes))
            .map(|(column, shape)| FoundColumn {
                name: &column.name,
                dtype: column.data.dtype(),
                shape,
                elements: column.data.count(),
            })
            .collect();
        let of_bucket = |()| match bucket {
            Some((target, shape)) => check_target(target, shape, &found),
            None => Ok(()),
        };
        let checked = check(declared, rows as u64, &found).and_then(of_bucket);
        checked.map_err(|breach| {
            PluginError::contract(format!("the batch is not as declared: {breach}"))
                .with_help("this is a mistake in the plugin; tell its authors")
        })?;
        let (mut tensors, mut texts) = (Vec::new(), Vec::new());
        for Column { name, data } in self.columns {
            let (dtype, shape, data) = match data {
                ColumnData::F32 { shape, values } => {
                    (RawDType::F32, shape, Buffer::from_vec(values))
                }
                ColumnData::U8 { shape, values } => (RawDType::U8, shape, Buffer::from_vec(values)),
                ColumnData::I64 { shape, values } => {
                    (RawDType::I64, shape, Buffer::from_vec(values))
                }
                ColumnData::Text(values) => {
                    let (bytes, offsets) = join_texts(&values);
                    let (bytes, offsets) = (Buffer::from_vec(bytes), Buffer::from_vec(offsets));
                    texts.push(TextColumn {
                        name: name.into(),
                        bytes,
                        offsets,
                    });
                    continue;
                }
            };
            tensors.push(Tensor {
                name: name.into(),
                dtype,
                shape: shape.into(),
                data,
            });
        }
        Ok(BatchColumns {
            tensors: tensors.into(),
            texts: texts.into(),
        })
    }

    /// Copies what the host lent.
    pub(crate) fn from_view(view: &BatchView<'_>) -> Result<Self, PluginError> {
        let mut columns = Vec::with_capacity(view.tensors.len() + view.texts.len());
        for tensor in view.tensors {
            let name = tensor.name.as_str();
            let shape = tensor.shape.to_vec();
            let bytes = tensor.data.as_slice();
            let data = match DType::from_raw(tensor.dtype) {
                Ok(DType::F32) => elements_of(bytes).map(|values| ColumnData::F32 {
                    shape,
                    values: values.to_vec(),
                }),
                Ok(DType::U8) => elements_of(bytes).map(|values| ColumnData::U8 {
                    shape,
                    values: values.to_vec(),
                }),
                Ok(DType::I64) => elements_of(bytes).map(|values| ColumnData::I64 {
                    shape,
                    values: values.to_vec(),
                }),
                Ok(DType::Text) | Err(_) => {
                    return Err(PluginError::contract(format!(
                        "column `{name}`: the host sent data type {}, which this plugin cannot read",
                        tensor.dtype.0
                    )));
                }
            };
            let data = data.filter(|data| {
                data.shape()
                    .iter()
                    .try_fold(1_u64, |n, &length| n.checked_mul(length))
                    == Some(data.count())
            });
            let data = data.ok_or_else(|| {
                PluginError::contract(format!(
                    "column `{name}`: the host sent {} bytes for shape {:?}",
                    bytes.len(),
                    tensor.shape.as_slice()
                ))
            })?;
            columns.push(Column {
                name: name.to_owned(),
                data,
            });
        }
        for text in view.texts {
            let name = text.name.as_str();
            let texts = split_texts(text.bytes.as_slice(), text.offsets.as_slice())
                .map_err(|error| PluginError::contract(format!("column `{name}`: {error}")))?;
            columns.push(Column {
                name: name.to_owned(),
                data: ColumnData::Text(texts),
            });
        }
        Ok(Self { columns })
    }
}
