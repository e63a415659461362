//! From a plugin's columns to what networks read: each declared way of conditioning takes its columns here.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use burn::tensor::{AllocationProperty, Bytes, DType as BurnDType, TensorData};
use dsl_engine::{Boxes, Camera, Conditions, Phrases, Stream, Streams, Volume};
use dsl_loader::{HostColumn, HostColumnData, HostTensor, Injection, TaskDescription};

use super::latents::{LatentCoder, SizeIds};
use super::text::{TextReader, note_length};
use crate::failure;

/// Column with what SDXL is told of a picture's size, float32 `[6]` per sample: original height and width, top and left of
/// the crop, target height and width, in pixels. A task without it has pictures that were never cut.
pub const SIZES: &str = "size_ids";

/// How columns become what networks read.
#[derive(Clone)]
pub struct Feed {
    target: String,
    injections: Vec<Injection>,
    /// Share of samples without any condition.
    dropout: f64,
    shape: TargetShape,
    text: TextReader,
    latents: Option<Arc<LatentCoder>>,
    /// Whether latents are drawn from the autoencoder's distribution while training.
    sample_latents: bool,
}

/// Shape of one sample's target as the plugin gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetShape {
    /// Rows of one sample: views of an object; 1 elsewhere.
    pub rows: usize,
    /// Parts of the rows that have a timestep each.
    pub domains: usize,
    /// Channels, height and width.
    pub picture: [usize; 3],
}

/// Which samples of a batch get the unconditional form of which condition.
#[derive(Debug, Clone)]
pub struct Dropped(Vec<Vec<bool>>);

impl Dropped {
    /// Draws for the samples of a step: who loses all conditions, and then for each way of conditioning by itself.
    pub fn draw(feed: &Feed, streams: &Streams, step: u64, samples: usize) -> Self {
        let all = streams.bernoulli(Stream::DROP.part("all"), step, 0, samples, feed.dropout);
        let of = |injection: &Injection| {
            let stream = match injection {
                Injection::CrossAttention { .. } => Stream::DROP,
                other => Stream::DROP.part(other.kind()),
            };
            let drawn = streams.bernoulli(stream, step, 0, samples, dropout(injection));
            drawn
                .into_iter()
                .zip(&all)
                .map(|(one, all)| one || *all)
                .collect()
        };
        Self(feed.injections.iter().map(of).collect())
    }

    fn all(injections: &[Injection], samples: usize, dropped: bool) -> Self {
        Self(vec![vec![dropped; samples]; injections.len()])
    }

    /// Those of the samples in a range.
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        Self(self.0.iter().map(|of| of[range.clone()].to_vec()).collect())
    }
}

/// Share of samples without a condition.
fn dropout(injection: &Injection) -> f64 {
    match injection {
        Injection::CrossAttention { dropout, .. }
        | Injection::ClassLabel { dropout, .. }
        | Injection::ConcatChannels { dropout, .. }
        | Injection::GroundingTokens { dropout, .. }
        | Injection::FeaturePyramid { dropout, .. }
        | Injection::ViewVolume { dropout, .. }
        | Injection::CameraPose { dropout, .. } => *dropout,
        Injection::LearnedTokens { .. }
        | Injection::MultiView { .. }
        | Injection::CameraRegression { .. } => 0.0,
    }
}

impl Feed {
    /// For a task.
    pub fn new(description: &TaskDescription, shape: TargetShape) -> Self {
        Self {
            target: description.target.clone(),
            injections: description.injections.clone(),
            dropout: description.dropout,
            shape,
            text: TextReader::None,
            latents: None,
            sample_latents: false,
        }
    }

    /// The same with texts.
    pub fn with_text(mut self, text: TextReader) -> Self {
        self.text = text;
        self
    }

    /// The same with pictures as latents, drawn from the autoencoder's distribution while training where `sample` says so.
    pub fn with_latents(mut self, latents: Option<Arc<LatentCoder>>, sample: bool) -> Self {
        self.latents = latents;
        self.sample_latents = sample;
        self
    }

    /// The ways of conditioning.
    pub fn injections(&self) -> &[Injection] {
        &self.injections
    }

    /// Name of the column that is trained on.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Shape of a sample; where there are several, the one that samples are drawn at.
    pub fn shape(&self) -> TargetShape {
        self.shape
    }

    /// The clean samples, taken out of a batch's columns: `[samples * rows, channels, height, width]`, latents where the
    /// networks work on latents. `seeds` are given while training, one for each sample.
    ///
    /// # Errors
    /// A batch without the target; encoders that cannot be loaded.
    pub fn x_0(
        &self,
        columns: &mut Columns,
        samples: usize,
        seeds: Option<&[u64]>,
    ) -> Result<TensorData> {
        let Some(HostColumnData::Tensor(tensor)) = columns.0.remove(&self.target) else {
            bail!("the plugin sent no numbers in the column `{}`", self.target);
        };
        // Samples of one batch are of one shape, which need not be that of another.
        let [channels, height, width] = match usize_shape(&tensor)[..] {
            [_, channels, height, width] if self.shape.rows == 1 => [channels, height, width],
            _ => self.shape.picture,
        };
        let rows = samples * self.shape.rows;
        let data = tensor_data(tensor, [rows, channels, height, width]);
        let Some(coder) = &self.latents else {
            return Ok(data);
        };
        let seeds: Option<Vec<u64>> = seeds.filter(|_| self.sample_latents).map(|seeds| {
            // The views of an object have latents of their own.
            let of_row = |seed: &u64| {
                let seed = *seed;
                (0..self.shape.rows as u64)
                    .map(move |row| seed.wrapping_add(row.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
            };
            seeds.iter().flat_map(of_row).collect()
        });
        coder.encode_pictures(&data, seeds.as_deref())
    }

    /// The picture that conditions samples, as the plugin gives it.
    ///
    /// # Errors
    /// A usage error for a task that is told no picture; a column that is missing.
    pub fn conditioning_picture(&self, columns: &Columns) -> Result<TensorData> {
        let column = self
            .injections
            .iter()
            .find_map(|injection| match injection {
                Injection::FeaturePyramid { column, .. }
                | Injection::ConcatChannels { column, .. } => Some(column),
                _ => None,
            });
        let Some(column) = column else {
            return Err(failure::usage(anyhow!(
                "the task is told no picture, whose features a decoder could take\nhint: super-resolution has one"
            )));
        };
        let (shape, values) = columns.f32(column)?;
        if shape.len() != 4 {
            bail!("column `{column}` has the shape {shape:?}, expected one picture a sample");
        }
        Ok(TensorData::new(values.to_vec(), shape))
    }

    /// What networks are told of the samples of a batch.
    ///
    /// # Errors
    /// Columns that are missing; texts that cannot be tokenized; encoders that cannot be loaded.
    pub fn conditions(
        &self,
        columns: &Columns,
        samples: usize,
        dropped: &Dropped,
    ) -> Result<Conditions> {
        let mut conditions = Conditions::default();
        for (injection, dropped) in self.injections.iter().zip(&dropped.0) {
            let of = Reading {
                columns,
                samples,
                rows: self.shape.rows,
                dropped,
            };
            self.add(injection, &of, &mut conditions)?;
        }
        // A network with text attends to the empty one where the task has none.
        let has_text = conditions.token_ids.is_some()
            || conditions.pipeline_texts.is_some()
            || conditions.features.is_some();
        if !has_text {
            let texts = vec![""; samples];
            self.add_texts(&texts, columns, &mut conditions)?;
        }
        Ok(conditions)
    }

    /// As [`Self::conditions`], all kept.
    ///
    /// # Errors
    /// As [`Self::conditions`].
    pub fn given(&self, columns: &Columns, samples: usize) -> Result<Conditions> {
        self.conditions(
            columns,
            samples,
            &Dropped::all(&self.injections, samples, false),
        )
    }

    /// As [`Self::conditions`], all dropped: for guidance.
    ///
    /// # Errors
    /// As [`Self::conditions`].
    pub fn unconditional(&self, columns: &Columns, samples: usize) -> Result<Conditions> {
        self.conditions(
            columns,
            samples,
            &Dropped::all(&self.injections, samples, true),
        )
    }

    fn add(
        &self,
        injection: &Injection,
        of: &Reading<'_>,
        conditions: &mut Conditions,
    ) -> Result<()> {
        match injection {
            Injection::CrossAttention { column, .. } => match of.columns.get(column)? {
                HostColumnData::Text(texts) => {
                    let kept: Vec<&str> = (texts.iter().zip(of.dropped))
                        .map(|(text, dropped)| if *dropped { "" } else { text.as_str() })
                        .collect();
                    self.add_texts(&kept, of.columns, conditions)?;
                }
                HostColumnData::Tensor(_) => conditions.context = Some(of.context(column)?),
            },
            Injection::ClassLabel {
                column, classes, ..
            } => conditions.class_ids = Some(of.classes(column, *classes)?),
            Injection::ConcatChannels { column, .. } => {
                conditions.concat = Some(self.pictures(column, of)?);
            }
            Injection::FeaturePyramid { column, .. } => {
                conditions.pyramid = Some(self.pictures(column, of)?);
            }
            Injection::GroundingTokens {
                boxes,
                phrases,
                mask,
                ..
            } => conditions.boxes = Some(self.boxes(boxes, phrases, mask, of)?),
            Injection::ViewVolume { projections, .. } => {
                let (shape, values) = of.columns.f32(projections)?;
                let kept = of.dropped.iter().map(|dropped| f32::from(!dropped));
                conditions.volume = Some(Volume {
                    projections: TensorData::new(values.to_vec(), shape),
                    kept: TensorData::new(kept.collect::<Vec<f32>>(), [of.samples]),
                });
            }
            Injection::CameraPose { column, .. } => conditions.camera_pose = Some(of.pose(column)?),
            Injection::CameraRegression {
                elevation,
                inverse_focal,
                weight,
            } => {
                // A user's own picture comes without the truth.
                if let (Ok(elevation), Ok(inverse_focal)) =
                    (of.columns.f32(elevation), of.columns.f32(inverse_focal))
                {
                    let data = |(_, values): (Vec<usize>, &[f32])| {
                        TensorData::new(values.to_vec(), [of.samples])
                    };
                    conditions.camera = Some(Camera {
                        elevation: data(elevation),
                        inverse_focal: data(inverse_focal),
                        weight: *weight,
                    });
                }
            }
            // Neither has columns of its own: words are in the texts, views in the target.
            Injection::LearnedTokens { .. } | Injection::MultiView { .. } => {}
        }
        Ok(())
    }

    fn add_texts(
        &self,
        texts: &[&str],
        columns: &Columns,
        conditions: &mut Conditions,
    ) -> Result<()> {
        let rows = self.shape.rows;
        match &self.text {
            TextReader::None => {}
            TextReader::Own {
                tokenizer,
                max_tokens,
            } => {
                let mut ids = Vec::with_capacity(texts.len() * rows * max_tokens);
                for text in texts {
                    let of_text = tokenizer.encode(text, *max_tokens)?;
                    note_length(text, &of_text);
                    for _ in 0..rows {
                        ids.extend_from_slice(&of_text.ids);
                    }
                }
                conditions.token_ids =
                    Some(TensorData::new(ids, [texts.len() * rows, *max_tokens]));
            }
            TextReader::Pipeline(tokenizers) => {
                let (texts, sizes) = self.texts_and_sizes(texts, columns);
                conditions.pipeline_texts = Some(tokenizers.encode(&texts, &sizes)?);
            }
            TextReader::Frozen(coder) => {
                let (texts, sizes) = self.texts_and_sizes(texts, columns);
                conditions.features = Some(coder.encode_texts(&texts, &sizes)?);
            }
        }
        Ok(())
    }

    /// A text and the sizes of its picture for each row.
    fn texts_and_sizes<'a>(
        &self,
        texts: &[&'a str],
        columns: &Columns,
    ) -> (Vec<&'a str>, Vec<SizeIds>) {
        let rows = self.shape.rows;
        let sizes = self.sizes(columns, texts.len());
        (
            repeat(texts, texts.len(), rows),
            repeat(&sizes, texts.len(), rows),
        )
    }

    fn sizes(&self, columns: &Columns, samples: usize) -> Vec<SizeIds> {
        if let Ok((_, values)) = columns.f32(SIZES) {
            let rows = values.chunks_exact(6);
            return rows
                .map(|row| [row[0], row[1], row[2], row[3], row[4], row[5]])
                .collect();
        }
        let of_target = match columns.0.get(&self.target) {
            Some(HostColumnData::Tensor(tensor)) => usize_shape(tensor),
            _ => Vec::new(),
        };
        // Where there is no truth, samples are drawn: at the one shape.
        let [height, width] = match of_target[..] {
            [_, _, height, width] if self.shape.rows == 1 => [height, width],
            _ => [self.shape.picture[1], self.shape.picture[2]],
        };
        let [height, width] = [height, width].map(|size| size as f32);
        vec![[height, width, 0.0, 0.0, height, width]; samples]
    }

    /// Pictures that condition, one for each row; latents where the networks work on latents.
    fn pictures(&self, column: &str, of: &Reading<'_>) -> Result<TensorData> {
        let (shape, mut values) = of.kept(column)?;
        let (per_row, [channels, height, width]) = match shape[..] {
            [_, channels, height, width] => (false, [channels, height, width]),
            [_, rows, channels, height, width] if rows == of.rows => {
                (true, [channels, height, width])
            }
            _ => bail!("column `{column}` has the shape {shape:?}, which is no picture's"),
        };
        let pictures = if per_row {
            of.samples * of.rows
        } else {
            of.samples
        };
        let mut shape = [pictures, channels, height, width];
        if let Some(coder) = &self.latents {
            let encoded = coder.encode_pictures(&TensorData::new(values, shape), None)?;
            shape = encoded.shape().dims();
            values = encoded.iter::<f32>().collect();
            // The unconditional form is zeros, not the latent of grey.
            let row = values.len() / pictures.max(1);
            for (values, i) in values.chunks_mut(row.max(1)).zip(0..) {
                if of.dropped[if per_row { i / of.rows } else { i }] {
                    values.fill(0.0);
                }
            }
        }
        let times = if per_row { 1 } else { of.rows };
        let [_, channels, height, width] = shape;
        Ok(TensorData::new(
            repeat(&values, pictures, times),
            [pictures * times, channels, height, width],
        ))
    }

    fn boxes(&self, boxes: &str, phrases: &str, mask: &str, of: &Reading<'_>) -> Result<Boxes> {
        let (shape, values) = of.columns.f32(boxes)?;
        let &[samples, slots, 4] = &shape[..] else {
            bail!("column `{boxes}` has the shape {shape:?}, expected four numbers for each box");
        };
        let (_, masks) = of.kept(mask)?;
        let HostColumnData::Text(texts) = of.columns.get(phrases)? else {
            bail!("column `{phrases}` holds numbers, expected text");
        };
        let rows = samples * of.rows;
        let ids_of = |text: &str| match &self.text {
            TextReader::Own {
                tokenizer,
                max_tokens,
            } => Ok(tokenizer.encode(text, *max_tokens)?.ids),
            TextReader::Pipeline(tokenizers) => tokenizers.encode_phrase(text),
            TextReader::None | TextReader::Frozen(_) => {
                bail!("phrases of boxes need a text encoder")
            }
        };
        let phrases = match &self.text {
            TextReader::Own { .. } | TextReader::Pipeline(_) => {
                // Most boxes have one of a few phrases: each is encoded once.
                let mut known: HashMap<&str, i64> = HashMap::new();
                let mut ids = Vec::new();
                let mut slots_of = Vec::with_capacity(texts.len());
                for text in texts {
                    let next = known.len() as i64;
                    let id = *known.entry(text).or_insert(next);
                    if id == next {
                        ids.extend(ids_of(text)?);
                    }
                    slots_of.push(id);
                }
                let phrases = known.len();
                let tokens = ids.len() / phrases.max(1);
                Phrases::TokenIds {
                    token_ids: TensorData::new(ids, [phrases, tokens]),
                    slots: TensorData::new(repeat(&slots_of, samples, of.rows), [rows, slots]),
                }
            }
            TextReader::Frozen(coder) => {
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                let (features, values) = coder.encode_phrases(&texts)?;
                Phrases::Features(TensorData::new(
                    repeat(&values, samples, of.rows),
                    [rows, slots, features],
                ))
            }
            TextReader::None => bail!("phrases of boxes need a text encoder"),
        };
        Ok(Boxes {
            boxes: TensorData::new(repeat(values, samples, of.rows), [rows, slots, 4]),
            masks: TensorData::new(repeat(&masks, samples, of.rows), [rows, slots]),
            phrases,
        })
    }
}

/// The columns of a batch by name.
#[derive(Debug, Clone, Default)]
pub struct Columns(HashMap<String, HostColumnData>);

impl Columns {
    /// Those of a plugin's batch.
    pub fn new(columns: Vec<HostColumn>) -> Self {
        Self(columns.into_iter().map(|c| (c.name, c.data)).collect())
    }

    /// The columns, by name.
    pub fn into_columns(self) -> Vec<HostColumn> {
        let of_name = |(name, data)| HostColumn { name, data };
        let mut columns: Vec<HostColumn> = self.0.into_iter().map(of_name).collect();
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        columns
    }

    fn get(&self, name: &str) -> Result<&HostColumnData> {
        (self.0.get(name)).ok_or_else(|| anyhow!("the plugin sent no column `{name}`"))
    }

    fn f32(&self, name: &str) -> Result<(Vec<usize>, &[f32])> {
        match self.get(name)? {
            HostColumnData::Tensor(tensor) => match tensor.as_f32() {
                Some(values) => Ok((usize_shape(tensor), values)),
                None => bail!("column `{name}` holds {}, expected f32", tensor.dtype()),
            },
            HostColumnData::Text(_) => bail!("column `{name}` holds text, expected f32"),
        }
    }
}

/// What one way of conditioning reads its columns by.
struct Reading<'a> {
    columns: &'a Columns,
    samples: usize,
    rows: usize,
    dropped: &'a [bool],
}

impl Reading<'_> {
    /// A column's values, with zeros for the samples that are dropped.
    fn kept(&self, column: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let (shape, values) = self.columns.f32(column)?;
        let mut values = values.to_vec();
        let of_sample = values.len() / self.samples.max(1);
        for (values, dropped) in values.chunks_mut(of_sample.max(1)).zip(self.dropped) {
            if *dropped {
                values.fill(0.0);
            }
        }
        Ok((shape, values))
    }

    /// `[samples, features]`, `[samples, tokens, features]`, each perhaps with rows after the samples, as
    /// `[rows, tokens, features]`.
    fn context(&self, column: &str) -> Result<TensorData> {
        let (shape, values) = self.kept(column)?;
        // Two axes are a vector's, as long as it may be.
        let per_row = self.rows > 1 && shape.len() > 2 && shape[1] == self.rows;
        let of_row = &shape[if per_row { 2 } else { 1 }..];
        let [tokens, features] = match of_row {
            [features] => [1, *features],
            [tokens, features] => [*tokens, *features],
            _ => bail!("column `{column}` has the shape {shape:?}, expected vectors or tokens"),
        };
        let times = if per_row { 1 } else { self.rows };
        Ok(TensorData::new(
            repeat(&values, self.samples, times),
            [self.samples * self.rows, tokens, features],
        ))
    }

    /// `[samples, numbers]` or `[samples, rows, numbers]`, as `[rows, numbers]`.
    fn pose(&self, column: &str) -> Result<TensorData> {
        let (shape, values) = self.kept(column)?;
        let (times, numbers) = match shape[..] {
            [_, numbers] => (self.rows, numbers),
            [_, rows, numbers] if rows == self.rows => (1, numbers),
            _ => bail!("column `{column}` has the shape {shape:?}, expected a row of numbers"),
        };
        Ok(TensorData::new(
            repeat(&values, self.samples, times),
            [self.samples * self.rows, numbers],
        ))
    }

    fn classes(&self, column: &str, classes: u64) -> Result<TensorData> {
        let HostColumnData::Tensor(tensor) = self.columns.get(column)? else {
            bail!("column `{column}` holds text, expected i64");
        };
        let Some(values) = tensor.as_i64() else {
            bail!("column `{column}` holds {}, expected i64", tensor.dtype());
        };
        if let Some(found) = values.iter().find(|&&v| v < 0 || v as u64 >= classes) {
            bail!(
                "column `{column}` holds the class {found}, expected 0 to {}",
                classes - 1
            );
        }
        let ids: Vec<i64> = (values.iter().zip(self.dropped))
            .map(|(value, dropped)| if *dropped { classes as i64 } else { *value })
            .collect();
        Ok(TensorData::new(
            repeat(&ids, self.samples, self.rows),
            [self.samples * self.rows],
        ))
    }
}

/// Each of `parts` equal parts of `values`, `times` times.
fn repeat<T: Copy>(values: &[T], parts: usize, times: usize) -> Vec<T> {
    let part = (values.len() / parts.max(1)).max(1);
    values
        .chunks(part)
        .flat_map(|part| std::iter::repeat_n(part, times).flatten().copied())
        .collect()
}

fn usize_shape(tensor: &HostTensor) -> Vec<usize> {
    tensor.shape().iter().map(|&size| size as usize).collect()
}

/// The floats of a plugin's tensor as data of that shape; the memory stays the plugin's, and goes back to it with the
/// data.
pub fn tensor_data(tensor: HostTensor, shape: [usize; 4]) -> TensorData {
    let (_, _, bytes) = tensor.into_parts();
    let bytes = Bytes::from_shared(bytes, AllocationProperty::Other);
    TensorData::from_bytes(bytes, shape, BurnDType::F32)
}

#[cfg(test)]
mod tests;
