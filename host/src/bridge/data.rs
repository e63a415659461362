//! A plugin's data set as the engine sees it: batches of plain tensors, by step or by index.
//!
//! Order, seeds and dropped conditions are functions of (seed, step), so that a resumed run sees what an uninterrupted
//! one would have seen.

use std::sync::Arc;

use anyhow::{Result, bail};
use dsl_engine::rng::DataOrder;
use dsl_engine::{EngineError, SampleSource, Samples, Stream, Streams};
use dsl_loader::{
    ColumnRole, DType, DatasetHandle, HostColumn, HostColumnData, Injection, LoaderError,
    TaskDescription, TaskHandle,
};

use super::feed::{Columns, Dropped, Feed, TargetShape};

/// Beyond this many samples a data set is taken as a stream: its order is not shuffled again, since a table of all
/// indices would not fit.
const LARGEST_SHUFFLED: u64 = 1 << 26;

/// One split of a task's data.
#[derive(Clone)]
pub struct Data {
    dataset: Arc<DatasetHandle>,
    feed: Arc<Feed>,
}

impl Data {
    /// Opens a split.
    ///
    /// # Errors
    /// What the plugin says; an empty split; samples without a fixed shape.
    pub fn open(task: &TaskHandle, split: &str) -> Result<Self> {
        let dataset = task.dataset(split)?;
        if dataset.is_empty() {
            bail!("the split `{split}` of the data set is empty");
        }
        let description = task.describe();
        let shape = target_shape(description, &dataset)?;
        let feed = Feed::new(description, shape);
        Ok(Self {
            dataset: Arc::new(dataset),
            feed: Arc::new(feed),
        })
    }

    /// The same, read in another way.
    pub fn fed_by(mut self, feed: &Arc<Feed>) -> Self {
        self.feed = feed.clone();
        self
    }

    /// How columns become what networks read.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Shape of a sample as the plugin gives it.
    pub fn shape(&self) -> TargetShape {
        self.feed.shape()
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.dataset.len()
    }

    /// Shape of a sample of a column, as far as it is fixed.
    pub fn column_shape(&self, name: &str) -> Option<Vec<Option<u64>>> {
        let mut columns = self.dataset.columns().iter();
        columns
            .find(|column| column.name == name)
            .map(|column| column.shape.clone())
    }

    /// Whether a column holds text.
    pub fn is_text(&self, name: &str) -> bool {
        let mut columns = self.dataset.columns().iter();
        columns.any(|column| column.name == name && column.dtype == DType::Text)
    }

    /// The texts of `column`, of the first `most` samples.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn texts(&self, column: &str, most: u64) -> Result<Vec<String>, LoaderError> {
        const CHUNK: usize = 256;
        let indices: Vec<u64> = (0..self.dataset.len().min(most)).collect();
        let mut texts = Vec::with_capacity(indices.len());
        for chunk in indices.chunks(CHUNK) {
            for found in self
                .columns(chunk)?
                .into_iter()
                .filter(|found| found.name == column)
            {
                if let HostColumnData::Text(found) = found.data {
                    texts.extend(found);
                }
            }
        }
        Ok(texts)
    }

    /// The columns of samples as the plugin gives them, without augmentation.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn columns(&self, indices: &[u64]) -> Result<Vec<HostColumn>, LoaderError> {
        self.dataset.batch(indices, &vec![0; indices.len()], false)
    }

    /// Samples with given seeds while training; without, as they are, all conditions kept.
    fn read(
        &self,
        indices: &[u64],
        drawn: Option<(&[u64], &Dropped)>,
    ) -> Result<Samples, EngineError> {
        let columns = match drawn {
            Some((seeds, _)) => self.dataset.batch(indices, seeds, true),
            None => self.columns(indices),
        };
        let mut columns = Columns::new(columns.map_err(data_error)?);
        let count = indices.len();
        let feed = &self.feed;
        let conditions = match drawn {
            Some((_, dropped)) => feed.conditions(&columns, count, dropped),
            None => feed.given(&columns, count),
        };
        let seeds = drawn.map(|(seeds, _)| seeds);
        let x_0 = feed.x_0(&mut columns, count, seeds);
        let failed = |error: anyhow::Error| EngineError::Data(error.into());
        let shape = feed.shape();
        Ok(Samples {
            x_0: x_0.map_err(failed)?,
            conditions: conditions.map_err(failed)?,
            views: shape.rows,
            domains: shape.domains,
        })
    }
}

impl SampleSource for Data {
    fn len(&self) -> u64 {
        self.dataset.len()
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        self.read(indices, None)
    }
}

/// The batches of training, step by step.
pub struct TrainingBatches {
    data: Data,
    streams: Streams,
    order: Option<DataOrder>,
    batch_size: usize,
    micro_batches: usize,
}

impl TrainingBatches {
    /// Batches of `batch_size` samples in `micro_batches` parts.
    pub fn new(data: Data, streams: Streams, batch_size: usize, micro_batches: usize) -> Self {
        let count = data.count();
        Self {
            order: (count <= LARGEST_SHUFFLED).then(|| DataOrder::new(streams, count)),
            data,
            streams,
            batch_size,
            micro_batches: micro_batches.max(1),
        }
    }

    /// The micro-batches of `step` (from 0).
    ///
    /// # Errors
    /// What the plugin says.
    pub fn batch(&mut self, step: u64) -> Result<Vec<Samples>, EngineError> {
        let first = step * self.batch_size as u64;
        let count = self.data.count();
        let rows: Vec<(u64, u64)> = (first..first + self.batch_size as u64)
            .map(|position| {
                let index = match &mut self.order {
                    Some(order) => order.index(position),
                    None => position % count,
                };
                (position / count, index)
            })
            .collect();
        let dropped = Dropped::draw(self.data.feed(), &self.streams, step, self.batch_size);
        let indices: Vec<u64> = rows.iter().map(|(_, index)| *index).collect();
        let seeds: Vec<u64> = rows
            .iter()
            .map(|&(epoch, index)| self.streams.seeds(Stream::AUGMENT, epoch, index, 1)[0])
            .collect();
        let part = self.batch_size.div_ceil(self.micro_batches);
        indices
            .chunks(part)
            .zip(seeds.chunks(part))
            .zip((0..).step_by(part))
            .map(|((indices, seeds), first)| {
                let dropped = dropped.part(first..first + indices.len());
                self.data.read(indices, Some((seeds, &dropped)))
            })
            .collect()
    }
}

fn data_error(error: LoaderError) -> EngineError {
    if error.is_cancelled() {
        EngineError::Interrupted
    } else {
        EngineError::Data(Box::new(error))
    }
}

/// The column of text that a network attends to, where the task has one.
pub fn caption_column<'a>(description: &'a TaskDescription, data: &Data) -> Option<&'a str> {
    description
        .injections
        .iter()
        .find_map(|injection| match injection {
            Injection::CrossAttention { column, .. } if data.is_text(column) => {
                Some(column.as_str())
            }
            _ => None,
        })
}

fn target_shape(description: &TaskDescription, dataset: &DatasetHandle) -> Result<TargetShape> {
    let Some(column) = dataset
        .columns()
        .iter()
        .find(|column| column.name == description.target)
    else {
        bail!("the data set has no column `{}`", description.target);
    };
    let axes: Option<Vec<usize>> = column
        .shape
        .iter()
        .map(|axis| axis.and_then(|size| usize::try_from(size).ok()))
        .collect();
    let domains = description
        .injections
        .iter()
        .find_map(|injection| match injection {
            Injection::MultiView { domains, .. } => usize::try_from(*domains).ok(),
            _ => None,
        });
    let of = |rows: usize, picture: [usize; 3]| TargetShape {
        rows,
        domains: domains.unwrap_or(1).max(1),
        picture,
    };
    match (column.role, axes.as_deref()) {
        (ColumnRole::Image, Some(&[channels, height, width])) => {
            Ok(of(1, [channels, height, width]))
        }
        (ColumnRole::Image, Some(&[rows, channels, height, width])) => {
            Ok(of(rows, [channels, height, width]))
        }
        (ColumnRole::Vector, Some(&[features])) => Ok(of(1, [features, 1, 1])),
        _ => bail!(
            "samples of column `{}` have shape {:?}; training needs one fixed shape",
            column.name,
            column.shape
        ),
    }
}
