//! A plugin's data set as the engine sees it: batches of plain tensors, by step or by index.
//!
//! Order, seeds and dropped captions are functions of (seed, step), so that a resumed run sees what an uninterrupted
//! one would have seen.

use std::sync::Arc;

use anyhow::{Result, bail};
use burn::tensor::{AllocationProperty, Bytes, DType as BurnDType, TensorData};
use dsl_engine::rng::DataOrder;
use dsl_engine::{EngineError, SampleSource, Samples, Stream, Streams};
use dsl_loader::{
    ColumnRole, DatasetHandle, HostColumn, HostColumnData, HostTensor, Injection, LoaderError,
    TaskDescription, TaskHandle,
};
use dsl_nets::Tokenizer;

use super::latents::{LatentCoder, SizeIds};

/// Beyond this many samples a data set is taken as a stream: its order is not shuffled again, since a table of all
/// indices would not fit.
const LARGEST_SHUFFLED: u64 = 1 << 26;

/// Captions on their way to token ids.
#[derive(Clone)]
pub struct Captions {
    /// Column that holds them.
    pub column: String,
    /// Probability that a caption is replaced by the empty one.
    pub dropout: f64,
    /// Makes ids of them.
    pub tokenizer: Tokenizer,
    /// Length in tokens.
    pub max_tokens: usize,
}

/// Pictures and captions on their way through a pipeline's encoders.
#[derive(Clone)]
pub struct Latents {
    /// Column that holds the captions; none for a task without text.
    pub captions: Option<String>,
    /// Probability that a caption is replaced by the empty one.
    pub dropout: f64,
    /// Encodes.
    pub coder: Arc<LatentCoder>,
    /// Whether latents are drawn from the autoencoder's distribution while training.
    pub sample: bool,
}

/// One split of a task's data.
#[derive(Clone)]
pub struct Data {
    dataset: Arc<DatasetHandle>,
    target: String,
    sample_shape: [usize; 3],
    captions: Option<Captions>,
    latents: Option<Latents>,
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
        let sample_shape = sample_shape(description, &dataset)?;
        Ok(Self {
            dataset: Arc::new(dataset),
            target: description.target.clone(),
            sample_shape,
            captions: None,
            latents: None,
        })
    }

    /// The same with captions.
    pub fn with_captions(mut self, captions: Option<Captions>) -> Self {
        self.captions = captions;
        self
    }

    /// The same, encoded.
    pub fn with_latents(mut self, latents: Option<Latents>) -> Self {
        self.latents = latents;
        self
    }

    /// Channels, height and width of a sample as the plugin gives it.
    pub fn sample_shape(&self) -> [usize; 3] {
        self.sample_shape
    }

    /// Number of samples.
    pub fn count(&self) -> u64 {
        self.dataset.len()
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
            let columns = self.dataset.batch(chunk, &vec![0; chunk.len()], false)?;
            for found in columns.into_iter().filter(|found| found.name == column) {
                if let HostColumnData::Text(found) = found.data {
                    texts.extend(found);
                }
            }
        }
        Ok(texts)
    }

    /// Samples with given seeds; `dropped` says whose caption is replaced by the empty one.
    fn read(
        &self,
        indices: &[u64],
        seeds: &[u64],
        augment: bool,
        dropped: &[bool],
    ) -> Result<Samples, EngineError> {
        let columns = self
            .dataset
            .batch(indices, seeds, augment)
            .map_err(data_error)?;
        if let Some(latents) = &self.latents {
            let seeds = (augment && latents.sample).then_some(seeds);
            return self.encoded(latents, columns, seeds, dropped);
        }
        let mut x_0 = None;
        let mut token_ids = None;
        for column in columns {
            if column.name == self.target {
                x_0 = Some(self.target_data(column, indices.len())?);
            } else if let (Some(captions), HostColumnData::Text(texts)) =
                (&self.captions, &column.data)
                && column.name == captions.column
            {
                token_ids = Some(encode(captions, texts, dropped)?);
            }
        }
        match x_0 {
            Some(x_0) => Ok(Samples {
                x_0,
                token_ids,
                features: None,
                views: 1,
            }),
            None => Err(EngineError::Batch {
                step: 0,
                message: format!("the plugin sent no column `{}`", self.target),
            }),
        }
    }

    /// Latents and text features in the place of pictures and captions.
    fn encoded(
        &self,
        latents: &Latents,
        columns: Vec<HostColumn>,
        seeds: Option<&[u64]>,
        dropped: &[bool],
    ) -> Result<Samples, EngineError> {
        let [_, height, width] = self.sample_shape;
        let size = [height as f32, width as f32];
        let mut sizes = vec![[size[0], size[1], 0.0, 0.0, size[0], size[1]]; dropped.len()];
        let mut x_0 = None;
        let mut texts = vec![String::new(); dropped.len()];
        for column in columns {
            if column.name == self.target {
                x_0 = Some(self.target_data(column, dropped.len())?);
                continue;
            }
            match column.data {
                HostColumnData::Text(found) if Some(&column.name) == latents.captions.as_ref() => {
                    texts = found;
                }
                HostColumnData::Tensor(tensor) if column.name == SIZES => {
                    sizes = read_sizes(tensor);
                }
                _ => {}
            }
        }
        let Some(x_0) = x_0 else {
            return Err(EngineError::Batch {
                step: 0,
                message: format!("the plugin sent no column `{}`", self.target),
            });
        };
        let texts: Vec<&str> = texts
            .iter()
            .zip(dropped)
            .map(|(text, dropped)| if *dropped { "" } else { text.as_str() })
            .collect();
        let failed = |error: anyhow::Error| EngineError::Data(error.into());
        Ok(Samples {
            x_0: latents.coder.encode_pictures(&x_0, seeds).map_err(failed)?,
            token_ids: None,
            features: Some(latents.coder.encode_texts(&texts, &sizes).map_err(failed)?),
            views: 1,
        })
    }

    /// The plugin's memory becomes the tensor's, without a copy.
    fn target_data(&self, column: HostColumn, rows: usize) -> Result<TensorData, EngineError> {
        let HostColumnData::Tensor(tensor) = column.data else {
            return Err(EngineError::Batch {
                step: 0,
                message: format!("column `{}` holds text, expected numbers", self.target),
            });
        };
        let [channels, height, width] = self.sample_shape;
        Ok(tensor_data(tensor, [rows, channels, height, width]))
    }
}

/// The floats of a plugin's tensor as data of that shape; the memory stays the plugin's, and goes back to it with the
/// data.
pub fn tensor_data(tensor: HostTensor, shape: [usize; 4]) -> TensorData {
    let (_, _, bytes) = tensor.into_parts();
    let bytes = Bytes::from_shared(bytes, AllocationProperty::Other);
    TensorData::from_bytes(bytes, shape, BurnDType::F32)
}

/// Column with what SDXL is told of a picture's size, float32 `[6]` per sample: original height and width, top and left of
/// the crop, target height and width, in pixels. A task without it has pictures that were never cut.
const SIZES: &str = "size_ids";

fn read_sizes(tensor: HostTensor) -> Vec<SizeIds> {
    let (_, _, bytes) = tensor.into_parts();
    let bytes: &[u8] = bytes.as_ref();
    let values: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|bytes| f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    values
        .chunks_exact(6)
        .map(|row| [row[0], row[1], row[2], row[3], row[4], row[5]])
        .collect()
}

impl SampleSource for Data {
    fn len(&self) -> u64 {
        self.dataset.len()
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        self.read(
            indices,
            &vec![0; indices.len()],
            false,
            &vec![false; indices.len()],
        )
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
        let of_captions = self.data.captions.as_ref().map(|captions| captions.dropout);
        let of_latents = self.data.latents.as_ref().map(|latents| latents.dropout);
        let dropout = of_captions.or(of_latents).unwrap_or(0.0);
        let dropped = self
            .streams
            .bernoulli(Stream::DROP, step, 0, self.batch_size, dropout);
        let indices: Vec<u64> = rows.iter().map(|(_, index)| *index).collect();
        let seeds: Vec<u64> = rows
            .iter()
            .map(|&(epoch, index)| self.streams.seeds(Stream::AUGMENT, epoch, index, 1)[0])
            .collect();
        let part = self.batch_size.div_ceil(self.micro_batches);
        indices
            .chunks(part)
            .zip(seeds.chunks(part))
            .zip(dropped.chunks(part))
            .map(|((indices, seeds), dropped)| self.data.read(indices, seeds, true, dropped))
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

/// Token ids, `[batch, max_tokens]`.
fn encode(
    captions: &Captions,
    texts: &[String],
    dropped: &[bool],
) -> Result<TensorData, EngineError> {
    let mut ids = Vec::with_capacity(texts.len() * captions.max_tokens);
    for (text, dropped) in texts.iter().zip(dropped) {
        let text = if *dropped { "" } else { text };
        ids.extend(captions.tokenizer.encode(text, captions.max_tokens)?);
    }
    Ok(TensorData::new(ids, [texts.len(), captions.max_tokens]))
}

/// The column of captions, where the task has one, and how often it is dropped.
pub fn caption_column(description: &TaskDescription) -> Option<(String, f64)> {
    description
        .injections
        .iter()
        .find_map(|injection| match injection {
            Injection::CrossAttention { column, dropout } => Some((column.clone(), *dropout)),
            _ => None,
        })
}

fn sample_shape(description: &TaskDescription, dataset: &DatasetHandle) -> Result<[usize; 3]> {
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
    match (column.role, axes.as_deref()) {
        (ColumnRole::Image, Some(&[channels, height, width])) => Ok([channels, height, width]),
        (ColumnRole::Vector, Some(&[features])) => Ok([features, 1, 1]),
        _ => bail!(
            "samples of column `{}` have shape {:?}; training needs one fixed shape",
            column.name,
            column.shape
        ),
    }
}
