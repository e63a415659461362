//! The dataset of one split: a picture and a caption for each sample.
//!
//! The way of a picture: bytes → decoded → fitted to the resolution (kept in memory, since it depends on the file alone) → cropped
//! and mirrored as the sample's seed says → values in −1..1. Whether a picture came from the cache changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cache::{Cache, Fitted};
use dsl_sdk::image::{Picture, Window};
use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Host,
    PluginError,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use source::{Sample, Source};

use crate::config::{DataConfig, OnError};

mod cache;
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
    cache: Cache,
    host: Host,
}

impl CaptionedImages {
    /// Makes the samples of `source` ready; under `on_error: skip` decodes them all once and leaves out those that cannot be.
    pub(crate) fn new(
        source: Source,
        config: &DataConfig,
        host: &Host,
    ) -> Result<Self, PluginError> {
        let cache = Cache::new(source.samples.len(), config.cache_mib);
        let mut images = Self {
            config: config.clone(),
            source,
            cache,
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
        self.cache.used_bytes()
    }

    /// The picture at its resolution, before cropping.
    fn fitted(&self, index: usize) -> Result<Arc<Fitted>, PluginError> {
        if let Some(picture) = self.cache.get(index) {
            return Ok(picture);
        }
        let picture = Arc::new(self.decode(&self.source.samples[index])?);
        self.cache.put(index, &picture);
        Ok(picture)
    }

    fn decode(&self, sample: &Sample) -> Result<Fitted, PluginError> {
        let config = &self.config;
        let decoded = self
            .source
            .read(sample)
            .and_then(|bytes| Picture::decode(&bytes, &self.source.origin(sample), config.background))
            .map_err(|error| {
                error.with_help(
                    "replace or remove this picture, or set `task.data.on_error: skip` to leave out all that cannot be read",
                )
            })?;
        Ok(Fitted {
            original: [decoded.height(), decoded.width()],
            picture: decoded.fit(
                config.resolution,
                config.resize,
                config.filter,
                config.background,
            ),
        })
    }

    fn leave_out_broken(&mut self, host: &Host) -> Result<(), PluginError> {
        let total = self.source.samples.len();
        let flaws = self.decode_all(host);
        if host.cancelled() {
            return Err(PluginError::cancelled());
        }
        if flaws.is_empty() {
            return Ok(());
        }
        let mut keep = vec![true; total];
        for (index, error) in &flaws {
            keep[*index] = false;
            self.source.skip_picture(error);
        }
        let mut kept = keep.iter();
        self.source
            .samples
            .retain(|_| kept.next().copied().unwrap_or(true));
        self.cache.retain(&keep);
        self.source.check_not_empty()
    }

    /// Decodes every picture on all processors; returns those that cannot be, in order.
    fn decode_all(&self, host: &Host) -> Vec<(usize, PluginError)> {
        let total = self.source.samples.len();
        let workers = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(total);
        let next = AtomicUsize::new(0);
        let work = |reports: bool| {
            let mut flaws = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= total || (index.is_multiple_of(64) && host.cancelled()) {
                    // Past the end for all: a cancelled pass ends everywhere.
                    next.fetch_max(total, Ordering::Relaxed);
                    return flaws;
                }
                if reports {
                    host.progress(index as u64, total as u64, "checking pictures");
                }
                if let Err(error) = self.fitted(index) {
                    flaws.push((index, error));
                }
            }
        };
        let mut flaws = std::thread::scope(|scope| {
            let others: Vec<_> = (1..workers).map(|_| scope.spawn(|| work(false))).collect();
            let mut flaws = work(true);
            for other in others {
                match other.join() {
                    Ok(found) => flaws.extend(found),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            flaws
        });
        flaws.sort_by_key(|(index, _)| *index);
        flaws
    }
}

/// The random decisions for one sample. All are drawn whether they are used or not, so that one setting does not change another's
/// numbers.
struct Draws {
    crop_x: f64,
    crop_y: f64,
    flip: f64,
    captions: ChaCha8Rng,
}

impl Draws {
    fn new(index: u64, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // Two samples that were given the same seed still differ.
        rng.set_stream(index);
        let (crop_x, crop_y, flip) = (uniform(&mut rng), uniform(&mut rng), uniform(&mut rng));
        Self {
            crop_x,
            crop_y,
            flip,
            captions: rng,
        }
    }
}

/// A number in 0..1 of 53 random bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
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
            let place = usize::try_from(index)
                .ok()
                .filter(|&place| place < self.source.samples.len())
                .ok_or_else(|| {
                    PluginError::contract(format!(
                        "index {index} of a dataset of {} samples",
                        self.len()
                    ))
                })?;
            let fitted = self.fitted(place)?;
            let Fitted { picture, original } = &*fitted;
            let texts = &self.source.samples[place].captions;
            let (x, y, flip, caption) = if augment {
                let mut draws = Draws::new(index, seed);
                let mut draw = || uniform(&mut draws.captions);
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
