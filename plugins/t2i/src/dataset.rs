//! The dataset of one split: a picture and a caption for each sample.
//!
//! The way of a picture: bytes → decoded → fitted to the resolution (kept in memory, since it depends on the file alone) → cropped
//! and mirrored as the sample's seed says → values in −1..1. Whether a picture came from the cache changes nothing.

use dsl_sdk::image::Window;
use dsl_sdk::picture_set::{Fitted, Fitting, Pictures};
use dsl_sdk::random::SampleRng;
use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Host,
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
            host: host.clone(),
        };
        if images.config.on_error == OnError::Skip {
            images.leave_out_broken(host)?;
        }
        Ok(images)
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
        let side = Some(u64::from(self.config.resolution));
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

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let BatchRequest {
            indices,
            seeds,
            augment,
        } = *request;
        if indices.len() != seeds.len() {
            return Err(PluginError::contract(format!(
                "{} indices, but {} seeds",
                indices.len(),
                seeds.len()
            )));
        }
        let side = self.config.resolution;
        let mut values = Vec::with_capacity(indices.len() * 3 * side as usize * side as usize);
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
                (
                    draws.crop_x,
                    draws.crop_y,
                    draws.flip < self.config.flip,
                    caption,
                )
            } else {
                (0.5, 0.5, false, texts.choose(self.config.caption, None))
            };
            let window = Window::within(picture.width(), picture.height(), side, side, x, y);
            picture.append_chw(window, flip, &mut values);
            captions.push(caption);
            // The crop as it lies in the mirrored picture: mirroring comes first in the reference.
            let left = match flip {
                true => picture.width().saturating_sub(side + window.left),
                false => window.left,
            };
            let [height, width] = *original;
            sizes.extend([height, width, window.top, left, side, side].map(|pixels| pixels as f32));
        }
        let shape = vec![indices.len() as u64, 3, u64::from(side), u64::from(side)];
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
