//! A plugin's data set as the engine sees it: batches of plain tensors, by step or by index.
//!
//! Order, seeds and dropped conditions are functions of (seed, step), so that a resumed run sees what an uninterrupted
//! one would have seen.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use dsl_engine::rng::DataOrder;
use dsl_engine::{
    BucketOrder, EngineError, SampleSource, Samples, Stream, Streams, batches_per_epoch,
    bucket_sizes,
};
use dsl_loader::{
    ColumnRole, DType, DatasetHandle, HostColumn, HostColumnData, Injection, LoaderError,
    TaskDescription, TaskHandle,
};

use super::feed::{Columns, Dropped, Feed, TargetShape};
use crate::failure;

/// Beyond this many samples a data set is taken as a stream: its order is not shuffled again, since a table of all
/// indices would not fit.
const LARGEST_SHUFFLED: u64 = 1 << 26;

/// One split of a task's data.
#[derive(Clone)]
pub struct Data {
    dataset: Arc<DatasetHandle>,
    feed: Arc<Feed>,
    /// How many samples each bucket has; without buckets all are in one.
    bucket_sizes: Arc<[u64]>,
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
        let bucket_sizes = match dataset.buckets() {
            Some(buckets) => {
                check_buckets(description, &dataset)?;
                bucket_sizes(buckets.of_sample())
            }
            None => vec![dataset.len()],
        };
        Ok(Self {
            dataset: Arc::new(dataset),
            feed: Arc::new(feed),
            bucket_sizes: bucket_sizes.into(),
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

    /// Shape of a sample as the plugin gives it; where it gives several, the one that samples are drawn at.
    pub fn shape(&self) -> TargetShape {
        self.feed.shape()
    }

    /// Whether samples come in several shapes.
    pub fn has_buckets(&self) -> bool {
        self.dataset.buckets().is_some()
    }

    /// Channels, height and width of the samples of each bucket that has any; those of all samples, where there are no
    /// buckets.
    pub fn pictures(&self) -> Vec<[usize; 3]> {
        let Some(buckets) = self.dataset.buckets() else {
            return vec![self.shape().picture];
        };
        let shapes = buckets.shapes().iter().zip(&*self.bucket_sizes);
        shapes
            .filter(|(_, count)| **count > 0)
            .filter_map(|(shape, _)| shape.iter().map(|&n| usize::try_from(n).ok()).collect())
            .filter_map(|shape: Vec<usize>| shape.try_into().ok())
            .collect()
    }

    /// Parts of `indices` that may be asked for at once: those next to one another that are of one bucket, at most `most`.
    pub fn parts<'a>(&self, indices: &'a [u64], most: usize) -> impl Iterator<Item = &'a [u64]> {
        indices
            .chunk_by(|&a, &b| self.bucket_of(a) == self.bucket_of(b))
            .flat_map(move |part| part.chunks(most))
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
        for chunk in self.parts(&indices, CHUNK) {
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

    fn bucket_of(&self, index: u64) -> u32 {
        let of_sample = self.dataset.buckets().map(|buckets| buckets.of_sample());
        let place = usize::try_from(index).ok();
        (of_sample.zip(place))
            .and_then(|(of_sample, place)| of_sample.get(place).copied())
            .unwrap_or(0)
    }

    fn batches_per_epoch(&self, batch_size: usize) -> u64 {
        batches_per_epoch(&self.bucket_sizes, batch_size)
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        self.read(indices, None)
    }
}

/// The batches of training, step by step.
pub struct TrainingBatches {
    data: Data,
    streams: Streams,
    order: Order,
    batch_size: usize,
    /// Most samples of a micro-batch.
    part: usize,
}

/// In which order samples come.
enum Order {
    /// As they lie in the data set.
    Stream,
    /// Each epoch anew; batches cross from one epoch into the next.
    Shuffled(DataOrder),
    /// Each epoch anew, batches of one bucket; the last ones of an epoch may be smaller.
    Buckets(BucketOrder),
}

impl TrainingBatches {
    /// Batches of `batch_size` samples in `micro_batches` parts.
    ///
    /// # Errors
    /// A usage error for more samples in buckets than can be shuffled.
    pub fn new(
        data: Data,
        streams: Streams,
        batch_size: usize,
        micro_batches: usize,
    ) -> Result<Self> {
        let count = data.count();
        let order = match data.dataset.buckets() {
            Some(_) if count > LARGEST_SHUFFLED => {
                return Err(failure::usage(anyhow!(
                    "the data has {count} samples in buckets, and at most {LARGEST_SHUFFLED} can be sorted into batches\n\
                     hint: train without buckets, or on a part of the data"
                )));
            }
            Some(buckets) => {
                let of_sample = buckets.of_sample().to_vec();
                Order::Buckets(BucketOrder::new(streams, of_sample, batch_size.max(1)))
            }
            None if count <= LARGEST_SHUFFLED => Order::Shuffled(DataOrder::new(streams, count)),
            None => Order::Stream,
        };
        Ok(Self {
            order,
            data,
            streams,
            batch_size,
            part: batch_size.div_ceil(micro_batches.max(1)).max(1),
        })
    }

    /// Epoch and index of the samples of `step` (from 0).
    fn rows(&mut self, step: u64) -> Vec<(u64, u64)> {
        let count = self.data.count();
        let first = step * self.batch_size as u64;
        let positions = first..first + self.batch_size as u64;
        match &mut self.order {
            Order::Stream => positions.map(|at| (at / count, at % count)).collect(),
            Order::Shuffled(order) => positions.map(|at| (at / count, order.index(at))).collect(),
            Order::Buckets(order) => {
                let (epoch, indices) = order.batch(step);
                indices.iter().map(|&index| (epoch, index)).collect()
            }
        }
    }

    /// The micro-batches of `step` (from 0); with buckets all are of one, and the last of them may be smaller than the others.
    ///
    /// # Errors
    /// What the plugin says.
    pub fn batch(&mut self, step: u64) -> Result<Vec<Samples>, EngineError> {
        let rows = self.rows(step);
        let dropped = Dropped::draw(self.data.feed(), &self.streams, step, rows.len());
        let indices: Vec<u64> = rows.iter().map(|(_, index)| *index).collect();
        let seeds: Vec<u64> = rows
            .iter()
            .map(|&(epoch, index)| self.streams.seeds(Stream::AUGMENT, epoch, index, 1)[0])
            .collect();
        indices
            .chunks(self.part)
            .zip(seeds.chunks(self.part))
            .zip((0..).step_by(self.part))
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
    let length = |size: u64| usize::try_from(size).ok();
    let drawn = dataset
        .buckets()
        .and_then(|buckets| buckets.shapes().first());
    let axes: Option<Vec<usize>> = match drawn {
        Some(shape) => shape.iter().map(|&size| length(size)).collect(),
        None => (column.shape.iter())
            .map(|axis| axis.and_then(length))
            .collect(),
    };
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
            "samples of column `{}` have shape {:?}; training needs one fixed shape, or buckets of fixed shapes",
            column.name,
            column.shape
        ),
    }
}

/// Buckets are for pictures that are told nothing of their own size but numbers: what conditions a network as a picture would
/// have to be of each bucket's shape as well.
fn check_buckets(description: &TaskDescription, dataset: &DatasetHandle) -> Result<()> {
    let column = (dataset.columns().iter()).find(|column| column.name == description.target);
    let is_picture =
        column.is_some_and(|column| column.role == ColumnRole::Image && column.shape.len() == 3);
    if !is_picture {
        bail!(
            "the data has buckets, and its target `{}` is not one picture a sample",
            description.target
        );
    }
    let other = description.injections.iter().find(|injection| {
        !matches!(
            injection,
            Injection::CrossAttention { .. }
                | Injection::ClassLabel { .. }
                | Injection::GroundingTokens { .. }
                | Injection::LearnedTokens { .. }
                | Injection::CameraPose { .. }
        )
    });
    match other {
        None => Ok(()),
        Some(other) => bail!(
            "the data has buckets, and the task conditions the network by {}, which takes samples of one shape",
            other.kind()
        ),
    }
}
