//! What samples are drawn of: prompts, held-out samples of the data, or what a user gives; and how the task shows them.

use std::ops::Range;

use anyhow::{Context, Result, bail};
use dsl_loader::{
    DType, HostColumn, HostColumnData, Injection, InputColumn, InputData, TaskHandle,
};
use image::RgbImage;

use super::data::{Data, caption_column};
use super::feed::{Feed, SIZES};
use crate::sampling::Drawn;

/// Name of the drawn samples among the columns that a plugin is handed.
const GENERATED: &str = "generated";

/// What samples are drawn of.
pub enum Subjects {
    /// Texts, taken in turn; for tasks that are told nothing but text, or nothing at all.
    Prompts {
        /// The column that they stand in; none for a task without text.
        column: Option<String>,
        /// The texts.
        prompts: Vec<String>,
    },
    /// The first samples of a split.
    HeldOut(Data),
    /// One sample of a user's own.
    Inputs(Vec<HostColumn>),
}

impl Subjects {
    /// What a task's samples are drawn of when the user gives nothing but prompts: those, where they are all that the task
    /// is told, and samples of `data` else.
    pub fn of_task(task: &TaskHandle, data: &Data, prompts: &[String]) -> Self {
        let injections = &task.describe().injections;
        let column = caption_column(task.describe(), data);
        let is_told_text = |injection: &Injection| match injection {
            Injection::CrossAttention { column: of, .. } => Some(of.as_str()) == column,
            Injection::LearnedTokens { .. } => true,
            _ => false,
        };
        if injections.iter().all(is_told_text) {
            Self::Prompts {
                column: column.map(str::to_owned),
                prompts: prompts.to_vec(),
            }
        } else {
            Self::HeldOut(data.clone())
        }
    }

    /// How many different ones there are; nothing where any number can be drawn.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::HeldOut(data) => Some(data.count()),
            Self::Prompts { .. } | Self::Inputs(_) => None,
        }
    }

    /// The columns of samples, the truth among them where it is known.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn columns(&self, range: Range<usize>) -> Result<Vec<HostColumn>> {
        Ok(match self {
            Self::Prompts { column: None, .. } => Vec::new(),
            Self::Prompts {
                column: Some(column),
                prompts,
            } => {
                let texts = range.map(|i| prompts.get(i % prompts.len().max(1)).cloned());
                vec![HostColumn {
                    name: column.clone(),
                    data: HostColumnData::Text(texts.map(Option::unwrap_or_default).collect()),
                }]
            }
            Self::HeldOut(data) => {
                let indices: Vec<u64> = range.map(|i| i as u64).collect();
                let mut columns = data.columns(&indices)?;
                if data.has_buckets() {
                    // The truth is of its bucket's shape, and so are its sizes; samples are drawn at one.
                    let of_bucket = [data.feed().target(), SIZES];
                    columns.retain(|column| !of_bucket.contains(&column.name.as_str()));
                }
                columns
            }
            Self::Inputs(columns) => match range.len() {
                1 => columns.clone(),
                count => bail!("{count} samples of one input were asked for at a time"),
            },
        })
    }

    /// Samples that are worked on together: those of one input are drawn one by one, and so are those of several buckets.
    pub fn at_once(&self, most: usize) -> usize {
        match self {
            Self::Inputs(_) => 1,
            Self::HeldOut(data) if data.has_buckets() => 1,
            _ => most.max(1),
        }
    }
}

/// Columns as they are lent to a plugin.
#[derive(Default)]
pub struct Lending(Vec<Lent>);

struct Lent {
    name: String,
    shape: Vec<u64>,
    values: Values,
}

enum Values {
    F32(Vec<f32>),
    U8(Vec<u8>),
    I64(Vec<i64>),
    Text(Vec<String>),
}

impl Lending {
    /// Drawn samples with what they were drawn of.
    ///
    /// # Errors
    /// Columns of one name whose types differ.
    pub fn of_drawn(feed: &Feed, drawn: &Drawn) -> Result<Self> {
        let mut lending = Self::default();
        lending.add(&drawn.columns)?;
        lending.add_generated(feed, drawn.shape, drawn.values.clone())?;
        Ok(lending)
    }

    /// Adds columns of a batch; those of one name become one, sample after sample.
    fn add(&mut self, columns: &[HostColumn]) -> Result<()> {
        for column in columns {
            let (shape, values) = match &column.data {
                HostColumnData::Text(texts) => (Vec::new(), Values::Text(texts.clone())),
                HostColumnData::Tensor(tensor) => {
                    let values = match tensor.dtype() {
                        DType::F32 => tensor.as_f32().map(|v| Values::F32(v.to_vec())),
                        DType::U8 => tensor.as_u8().map(|v| Values::U8(v.to_vec())),
                        DType::I64 => tensor.as_i64().map(|v| Values::I64(v.to_vec())),
                        DType::Text => None,
                    };
                    let values = values
                        .with_context(|| format!("column `{}` cannot be read", column.name))?;
                    (tensor.shape().to_vec(), values)
                }
            };
            self.push(column.name.clone(), shape, values)?;
        }
        Ok(())
    }

    /// Adds drawn samples, shaped as the task's target: `shape` is `[rows, channels, height, width]`.
    fn add_generated(&mut self, feed: &Feed, shape: [usize; 4], values: Vec<f32>) -> Result<()> {
        let [all, channels, height, width] = shape.map(|size| size as u64);
        let rows = feed.shape().rows as u64;
        let shape = match (rows, height, width) {
            (1, 1, 1) => vec![all, channels],
            (1, ..) => vec![all, channels, height, width],
            _ => vec![all / rows, rows, channels, height, width],
        };
        self.push(GENERATED.to_owned(), shape, Values::F32(values))
    }

    fn push(&mut self, name: String, shape: Vec<u64>, values: Values) -> Result<()> {
        let Some(there) = self.0.iter_mut().find(|lent| lent.name == name) else {
            self.0.push(Lent {
                name,
                shape,
                values,
            });
            return Ok(());
        };
        match (&mut there.values, values) {
            (Values::F32(all), Values::F32(more)) => all.extend(more),
            (Values::U8(all), Values::U8(more)) => all.extend(more),
            (Values::I64(all), Values::I64(more)) => all.extend(more),
            (Values::Text(all), Values::Text(more)) => all.extend(more),
            _ => bail!("column `{name}` comes in two types"),
        }
        if let (Some(samples), Some(more)) = (there.shape.first_mut(), shape.first()) {
            *samples += more;
        }
        Ok(())
    }

    /// As the loader hands them over.
    pub fn columns(&self) -> Vec<InputColumn<'_>> {
        self.0
            .iter()
            .map(|lent| {
                let shape = &lent.shape;
                InputColumn {
                    name: &lent.name,
                    data: match &lent.values {
                        Values::F32(values) => InputData::F32 { shape, values },
                        Values::U8(values) => InputData::U8 { shape, values },
                        Values::I64(values) => InputData::I64 { shape, values },
                        Values::Text(texts) => InputData::Text(texts),
                    },
                }
            })
            .collect()
    }
}

/// Drawn samples as the task shows them; nothing where a plain grid does.
///
/// # Errors
/// What the plugin says.
pub fn picture(task: &TaskHandle, feed: &Feed, drawn: &Drawn) -> Result<Option<RgbImage>> {
    let lending = Lending::of_drawn(feed, drawn)?;
    let Some(picture) = task.picture(&lending.columns())? else {
        return Ok(None);
    };
    let (width, height) = (picture.width, picture.height);
    RgbImage::from_raw(width, height, picture.bytes.to_vec())
        .with_context(|| format!("the plugin's picture is not {width}×{height}"))
        .map(Some)
}
