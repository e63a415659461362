//! The dataset of one split: a target, and the low-resolution picture that it is to be made of.
//!
//! The way of a sample: bytes → decoded (kept in memory, since it depends on the file alone) → cut and mirrored as its seed
//! says → degraded as its seed says → values in −1..1.

use std::sync::Arc;

use cache::{Cache, Decoded};
use dsl_sdk::image::{Filter, Picture, Resize, Window};
use dsl_sdk::random::SampleRng;
use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Host,
    PluginError,
};
use locate::{Entry, Place, Source};

use crate::aerial;
use crate::config::{Degradation, Fit, StableSrConfig};
use crate::degradation::{SCALE, bicubic, degrade};
use crate::draws;
use crate::raster::Raster;

mod cache;
pub(crate) mod locate;
mod pairs;

/// The column with the targets.
pub(crate) const IMAGE: &str = "image";
/// The column with the low-resolution pictures, enlarged to the target's size.
pub(crate) const LOW: &str = "low_resolution";
/// The column with the low-resolution pictures as they are, for people to look at.
pub(crate) const SMALL: &str = "low_resolution_small";
/// The column with the text that goes with every sample.
pub(crate) const PROMPT: &str = "prompt";

/// How often a batch asks for a stop, in samples.
const STOP_EVERY: usize = 16;
/// From this size on samples are spread over the host's threads: below, a sample takes less than handing it over is worth.
const PARALLEL_SIZE: u32 = 128;

/// Targets and their low-resolution versions. `[any thread]`
#[derive(Debug)]
pub struct LowResolutionPairs {
    config: StableSrConfig,
    source: Source,
    cache: Cache,
    host: Host,
}

impl LowResolutionPairs {
    pub(crate) fn new(source: Source, config: &StableSrConfig, host: &Host) -> Self {
        Self {
            cache: Cache::new(source.entries.len(), config.data.cache_mib),
            config: config.clone(),
            source,
            host: host.clone(),
        }
    }

    /// Bytes of pictures in memory.
    #[cfg(test)]
    pub(crate) fn cached_bytes(&self) -> u64 {
        self.cache.used_bytes()
    }

    fn decoded(&self, index: usize) -> Result<Arc<Decoded>, PluginError> {
        if let Some(decoded) = self.cache.get(index) {
            return Ok(decoded);
        }
        let decoded = Arc::new(self.decode(&self.source.entries[index])?);
        self.cache.put(index, &decoded);
        Ok(decoded)
    }

    fn decode(&self, entry: &Entry) -> Result<Decoded, PluginError> {
        let data = &self.config.data;
        let (origin, bytes) = self.read(&entry.target)?;
        let mut target = Picture::decode(&bytes, &origin, data.background)?;
        let mut low = None;
        if let Some(path) = &entry.low {
            let (low_origin, bytes) = self.read(&Place::File(path.clone()))?;
            let picture = Picture::decode(&bytes, &low_origin, data.background)?;
            // The header was right about the pixels, but the file may say that it lies on its side.
            pairs::check_sizes(&origin, sides(&picture), sides(&target))?;
            low = Some(picture);
        }
        match data.fit {
            Fit::Resize => {
                let fit = |picture: &Picture, size: u32| {
                    picture.fit(size, Resize::CenterCrop, Filter::Bicubic, data.background)
                };
                target = fit(&target, data.size);
                low = low.map(|low| fit(&low, data.size / SCALE as u32));
            }
            Fit::Crop if target.width().min(target.height()) < data.size => {
                let [width, height] = sides(&target);
                return Err(PluginError::config(format!(
                    "`{origin}` is {width} × {height} pixels, smaller than `task.data.size`, which is {}",
                    data.size
                ))
                .with_help(
                    "lower `task.data.size`, leave the picture out, or enlarge such pictures by `task.data.fit: resize`",
                ));
            }
            Fit::Crop => {}
        }
        Ok(Decoded { target, low })
    }

    /// A picture's name, for messages, and its bytes.
    fn read(&self, place: &Place) -> Result<(String, Vec<u8>), PluginError> {
        match (place, &self.source.shards) {
            (Place::File(path), _) => {
                let bytes = std::fs::read(path)
                    .map_err(|error| PluginError::io_at("read the image", path, &error))?;
                Ok((path.display().to_string(), bytes))
            }
            (Place::Inside(sample), Some(shards)) => {
                let sample = &shards.samples()[*sample];
                let member = sample.member(aerial::EXTENSION).ok_or_else(|| {
                    PluginError::other(format!("`{}` has no picture", shards.origin(sample)))
                })?;
                let bytes = shards.read(sample, member)?;
                Ok((shards.member_origin(sample, member), bytes))
            }
            (Place::Inside(_), None) => Err(PluginError::other("a picture inside without shards")),
        }
    }

    fn sample(&self, index: u64, seed: u64, augment: bool) -> Result<Sample, PluginError> {
        let place = usize::try_from(index)
            .ok()
            .filter(|&place| place < self.source.entries.len())
            .ok_or_else(|| {
                PluginError::contract(format!(
                    "index {index} of a dataset of {} samples",
                    self.len()
                ))
            })?;
        let decoded = self.decoded(place)?;
        let data = &self.config.data;
        let (x, y, flip) = if augment {
            let mut rng = SampleRng::new(index, seed);
            // All are drawn whether they are used or not, so that one setting does not change another's numbers.
            let (x, y, flip) = (rng.uniform(), rng.uniform(), rng.uniform());
            (x, y, flip < data.flip)
        } else {
            (0.5, 0.5, false)
        };
        let size = data.size;
        let [width, height] = sides(&decoded.target);
        let (target, small) = match &decoded.low {
            Some(low) => {
                let small = size / SCALE as u32;
                let window = Window::within(low.width(), low.height(), small, small, x, y);
                let large = Window {
                    left: window.left * SCALE as u32,
                    top: window.top * SCALE as u32,
                    width: size,
                    height: size,
                };
                (
                    Raster::cut(&decoded.target, large, flip),
                    Raster::cut(low, window, flip),
                )
            }
            None => {
                let window = Window::within(width, height, size, size, x, y);
                let target = Raster::cut(&decoded.target, window, flip);
                // What is not augmented is degraded in one way for ever.
                let mut rng = draws::rng(if augment { seed } else { 0 }, index);
                let StableSrConfig {
                    degradation,
                    realesrgan,
                    ..
                } = &self.config;
                degrade(target, *degradation, realesrgan, &mut rng)?
            }
        };
        Ok(Sample {
            low: bicubic(&small, target.width, target.height),
            target,
            small,
        })
    }
}

/// Width and height.
fn sides(picture: &Picture) -> [u32; 2] {
    [picture.width(), picture.height()]
}

struct Sample {
    target: Raster,
    low: Raster,
    small: Raster,
}

/// The columns that condition the network, and the small picture: of targets of `size` pixels.
pub(crate) fn condition_columns(size: u32, prompt: bool) -> Vec<ColumnSpec> {
    let picture = |name: &str, side: u32| ColumnSpec {
        name: name.into(),
        dtype: DType::F32,
        shape: vec![Some(3), Some(side.into()), Some(side.into())],
        role: ColumnRole::Image,
    };
    let mut columns = vec![picture(LOW, size), picture(SMALL, size / SCALE as u32)];
    if prompt {
        columns.push(ColumnSpec {
            name: PROMPT.into(),
            dtype: DType::Text,
            shape: vec![],
            role: ColumnRole::Text,
        });
    }
    columns
}

/// A column of pictures of `width` × `height` pixels.
pub(crate) fn picture_column(
    name: &str,
    count: usize,
    [width, height]: [usize; 2],
    values: Vec<f32>,
) -> Column {
    Column {
        name: name.into(),
        data: ColumnData::F32 {
            shape: vec![count as u64, 3, height as u64, width as u64],
            values,
        },
    }
}

/// The text that goes with every sample, where there is one.
pub(crate) fn prompt_column(prompt: &Option<String>, count: usize) -> Option<Column> {
    let prompt = prompt.as_ref()?;
    Some(Column {
        name: PROMPT.into(),
        data: ColumnData::Text(vec![prompt.clone(); count]),
    })
}

impl Dataset for LowResolutionPairs {
    fn len(&self) -> u64 {
        self.source.entries.len() as u64
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        let size = self.config.data.size;
        let mut columns = condition_columns(size, self.config.prompt.is_some());
        columns.insert(
            0,
            ColumnSpec {
                name: IMAGE.into(),
                ..columns[0].clone()
            },
        );
        columns
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let BatchRequest {
            indices,
            seeds,
            augment,
        } = *request;
        request.check_seeds()?;
        let count = indices.len();
        let sample = |row: usize| {
            if row.is_multiple_of(STOP_EVERY) && self.host.cancelled() {
                return Err(PluginError::cancelled());
            }
            self.sample(indices[row], seeds[row], augment)
        };
        let heavy = self.config.degradation == Degradation::RealEsrgan;
        let samples = if heavy || self.config.data.size >= PARALLEL_SIZE {
            self.host.parallel(count, sample)?
        } else {
            (0..count).map(sample).collect::<Result<_, _>>()?
        };
        let side = self.config.data.size as usize;
        let values = |raster: fn(&Sample) -> &Raster, side: usize| {
            let mut values = Vec::with_capacity(count * 3 * side * side);
            for sample in &samples {
                raster(sample).append_signed(&mut values);
            }
            values
        };
        let small = side / SCALE;
        let mut columns = vec![
            picture_column(
                IMAGE,
                count,
                [side; 2],
                values(|sample| &sample.target, side),
            ),
            picture_column(LOW, count, [side; 2], values(|sample| &sample.low, side)),
            picture_column(
                SMALL,
                count,
                [small; 2],
                values(|sample| &sample.small, small),
            ),
        ];
        columns.extend(prompt_column(&self.config.prompt, count));
        Ok(Batch { columns })
    }
}
