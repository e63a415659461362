//! The dataset of one split: a picture and a caption for each sample.
//!
//! The way of a picture: bytes → decoded → fitted to the resolution (kept in memory, since it depends on the file alone) → cropped
//! and mirrored as the sample's seed says → values in −1..1. Whether a picture came from the cache changes nothing.

use dsl_sdk::image::{Resize, Window};
use dsl_sdk::picture_set::{Fitted, Fitting, Pictures};
use dsl_sdk::random::SampleRng;
use dsl_sdk::{
    Batch, BatchRequest, Buckets, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Host,
    PluginError,
};
use source::Source;

use crate::config::{DataConfig, OnError};

pub(crate) mod locate;
mod only;
pub(crate) mod source;

/// The column with the pictures.
pub(crate) const IMAGE: &str = "image";
/// The column with the captions.
pub(crate) const CAPTION: &str = "caption";
/// Name of the column of sizes, in pixels: height and width of the file, top and left of the crop, height and width of the sample.
pub(crate) const SIZE_IDS: &str = "size_ids";

/// How often a batch asks for a stop, in samples.
const STOP_EVERY: usize = 16;

/// Pictures with captions. `[any thread]`
#[derive(Debug)]
pub struct CaptionedImages {
    config: DataConfig,
    source: Source,
    pictures: Pictures,
    buckets: Option<Buckets>,
    host: Host,
}

impl CaptionedImages {
    /// Makes the samples of `source` ready; under `on_error: skip` decodes them all once and leaves out those that cannot be.
    pub(crate) fn new(
        mut source: Source,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, PluginError> {
        let places = source.samples.iter().map(|sample| sample.picture.clone());
        let fitting = Fitting {
            resolution: config.resolution,
            resize: config.resize,
            filter: config.filter,
            background: config.background,
        };
        let pictures = Pictures::new(
            places.collect(),
            source.shards.take(),
            fitting,
            config.cache_mib,
        );
        let mut images = Self {
            config: config.clone(),
            source,
            pictures,
            buckets: None,
            host: host.clone(),
        };
        if images.config.on_error == OnError::Skip {
            images.leave_out_broken(host)?;
        }
        images.sort_into_buckets(host)?;
        Ok(images)
    }

    fn sort_into_buckets(&mut self, host: &Host) -> Result<(), PluginError> {
        let Some(bucketing) = self.config.bucketing()? else {
            return Ok(());
        };
        let (found, mut of_sample) = self.pictures.sort_into(&bucketing, host)?;
        // The first bucket is what samples are drawn at: the square, whether a picture is one or not.
        let square = [self.config.resolution; 2];
        let mut sizes = vec![square];
        sizes.extend(found.iter().filter(|size| **size != square));
        let numbers: Vec<u32> = (found.iter())
            .map(|size| {
                (0..)
                    .zip(&sizes)
                    .find(|(_, at)| *at == size)
                    .map_or(0, |(n, _)| n)
            })
            .collect();
        for bucket in &mut of_sample {
            *bucket = numbers[*bucket as usize];
        }
        self.buckets = Some(Buckets {
            shapes: (sizes.iter())
                .map(|[width, height]| vec![3, u64::from(*height), u64::from(*width)])
                .collect(),
            of_sample,
        });
        Ok(())
    }

    /// What was left out.
    pub(crate) fn skipped(&self) -> &source::Skipped {
        &self.source.skipped
    }

    /// Bytes of pictures in memory.
    #[cfg(test)]
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.pictures.cached_bytes()
    }

    /// Width and height of the samples of a batch.
    fn size_of(&self, indices: &[u64]) -> Result<[u32; 2], PluginError> {
        let square = [self.config.resolution; 2];
        let Some(&first) = indices.first().filter(|_| self.buckets.is_some()) else {
            return Ok(square);
        };
        let bucket = |index: u64| -> Result<[u32; 2], PluginError> {
            let place = self.pictures.place(index)?;
            Ok(self.pictures.bucket(place).unwrap_or(square))
        };
        let size = bucket(first)?;
        for &index in indices {
            if bucket(index)? != size {
                return Err(PluginError::contract(format!(
                    "samples {first} and {index} are of different buckets, and were asked for in one batch"
                )));
            }
        }
        Ok(size)
    }

    fn leave_out_broken(&mut self, host: &Host) -> Result<(), PluginError> {
        let flaws = self.pictures.check_all(host, |_, _| Ok(()))?;
        if flaws.is_empty() {
            return Ok(());
        }
        let mut keep = vec![true; self.pictures.len()];
        for (place, error) in &flaws {
            keep[*place] = false;
            self.source.skip_picture(error);
        }
        let mut kept = keep.iter();
        self.source
            .samples
            .retain(|_| kept.next().copied().unwrap_or(true));
        self.pictures.retain(&keep);
        self.source.check_not_empty()
    }
}

/// The random decisions for one sample. All are drawn whether they are used or not, so that one setting does not change another's
/// numbers.
struct Draws {
    crop_x: f64,
    crop_y: f64,
    flip: f64,
    captions: SampleRng,
}

impl Draws {
    fn new(index: u64, seed: u64) -> Self {
        let mut rng = SampleRng::new(index, seed);
        let (crop_x, crop_y, flip) = (rng.uniform(), rng.uniform(), rng.uniform());
        Self {
            crop_x,
            crop_y,
            flip,
            captions: rng,
        }
    }
}

impl Dataset for CaptionedImages {
    fn len(&self) -> u64 {
        self.source.samples.len() as u64
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        let side = match self.buckets {
            Some(_) => None,
            None => Some(u64::from(self.config.resolution)),
        };
        vec![
            ColumnSpec {
                name: IMAGE.into(),
                dtype: DType::F32,
                shape: vec![Some(3), side, side],
                role: ColumnRole::Image,
            },
            ColumnSpec {
                name: CAPTION.into(),
                dtype: DType::Text,
                shape: vec![],
                role: ColumnRole::Text,
            },
            ColumnSpec {
                name: SIZE_IDS.into(),
                dtype: DType::F32,
                shape: vec![Some(6)],
                role: ColumnRole::Other,
            },
        ]
    }

    fn buckets(&self) -> Option<&Buckets> {
        self.buckets.as_ref()
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let BatchRequest {
            indices,
            seeds,
            augment,
        } = *request;
        request.check_seeds()?;
        let [width, height] = self.size_of(indices)?;
        let mut values = Vec::with_capacity(indices.len() * 3 * width as usize * height as usize);
        let mut captions = Vec::with_capacity(indices.len());
        let mut sizes = Vec::with_capacity(indices.len() * 6);
        for (row, (&index, &seed)) in indices.iter().zip(seeds).enumerate() {
            if row.is_multiple_of(STOP_EVERY) && self.host.cancelled() {
                return Err(PluginError::cancelled());
            }
            let place = self.pictures.place(index)?;
            let fitted = self.pictures.fitted(place)?;
            let Fitted { picture, original } = &*fitted;
            let texts = &self.source.samples[place].captions;
            let (x, y, flip, caption) = if augment {
                let mut draws = Draws::new(index, seed);
                let mut draw = || draws.captions.uniform();
                let caption = texts.choose(self.config.caption, Some(&mut draw));
                let flip = draws.flip < self.config.flip;
                // A picture of a bucket is not cut before: its middle is found here.
                match self.config.resize == Resize::RandomCrop || self.buckets.is_none() {
                    true => (draws.crop_x, draws.crop_y, flip, caption),
                    false => (0.5, 0.5, flip, caption),
                }
            } else {
                (0.5, 0.5, false, texts.choose(self.config.caption, None))
            };
            let window = Window::within(picture.width(), picture.height(), width, height, x, y);
            picture.append_chw(window, flip, &mut values);
            captions.push(caption);
            // The crop as it lies in the mirrored picture: mirroring comes first in the reference.
            let left = match flip {
                true => picture.width().saturating_sub(width + window.left),
                false => window.left,
            };
            let [file_height, file_width] = *original;
            let pixels = [file_height, file_width, window.top, left, height, width];
            sizes.extend(pixels.map(|pixels| pixels as f32));
        }
        let shape = vec![indices.len() as u64, 3, u64::from(height), u64::from(width)];
        Ok(Batch {
            columns: vec![
                Column {
                    name: IMAGE.into(),
                    data: ColumnData::F32 { shape, values },
                },
                Column {
                    name: CAPTION.into(),
                    data: ColumnData::Text(captions),
                },
                Column {
                    name: SIZE_IDS.into(),
                    data: ColumnData::F32 {
                        shape: vec![indices.len() as u64, 6],
                        values: sizes,
                    },
                },
            ],
        })
    }
}
