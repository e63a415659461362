//! The dataset of one split: a picture, a caption, and boxes with phrases for each sample.

use dsl_sdk::boxes::pad;
use dsl_sdk::image::Window;
use dsl_sdk::picture_set::{Fitting, OnError, Pictures};
use dsl_sdk::random::SampleRng;
use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Host,
    PluginError,
};

use crate::config::DataConfig;
use crate::regions::{Moved, check_inside, in_sample};
use source::Source;

mod coco;
pub(crate) mod source;

/// The column with the pictures.
pub(crate) const IMAGE: &str = "image";
/// The column with the captions.
pub(crate) const CAPTION: &str = "caption";
/// The column with the boxes.
pub(crate) const BOXES: &str = "boxes";
/// The column with what is in the boxes.
pub(crate) const PHRASES: &str = "phrases";
/// The column that says which boxes there are.
pub(crate) const BOXES_MASK: &str = "boxes_mask";

/// The column with the boxes drawn as a picture.
pub(crate) const LAYOUT_MAP: &str = "layout_map";

/// How often a batch asks for a stop, in samples.
const STOP_EVERY: usize = 16;

/// Pictures with captions and boxes. `[any thread]`
#[derive(Debug)]
pub struct LayoutImages {
    config: DataConfig,
    source: Source,
    pictures: Pictures,
    host: Host,
}

impl LayoutImages {
    /// Makes the samples of `source` ready; under `on_error: skip` decodes them all once and leaves out those that cannot be, or
    /// have boxes outside of the picture.
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
        let mut pictures = Pictures::new(
            places.collect(),
            source.shards.take(),
            fitting,
            config.cache_mib,
        );
        if config.on_error == OnError::Skip {
            let flaws = pictures.check_all(host, |place, fitted| {
                let sample = &source.samples[place];
                check_inside(&sample.regions, fitted.original, &sample.origin)
            })?;
            let mut keep = vec![true; pictures.len()];
            for (place, error) in &flaws {
                keep[*place] = false;
                source.skipped.add(error);
            }
            let mut kept = keep.iter();
            source
                .samples
                .retain(|_| kept.next().copied().unwrap_or(true));
            pictures.retain(&keep);
            source.check_not_empty()?;
        }
        Ok(Self {
            config: config.clone(),
            source,
            pictures,
            host: host.clone(),
        })
    }

    /// What was left out, and other things for the log.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}

/// The random decisions for one sample. All are drawn whether they are used or not, so that one setting does not change another's
/// numbers.
struct Draws {
    crop_x: f64,
    crop_y: f64,
    flip: f64,
    use_caption: f64,
    caption: f64,
}

impl Draws {
    fn new(index: u64, seed: u64) -> Self {
        let mut rng = SampleRng::new(index, seed);
        Self {
            crop_x: rng.uniform(),
            crop_y: rng.uniform(),
            flip: rng.uniform(),
            use_caption: rng.uniform(),
            caption: rng.uniform(),
        }
    }

    /// The middle, as it is, with the first caption.
    const fn none() -> Self {
        Self {
            crop_x: 0.5,
            crop_y: 0.5,
            flip: 1.0,
            use_caption: 0.0,
            caption: 0.0,
        }
    }
}

/// The columns that condition the network, of any number of samples.
#[derive(Default)]
pub(crate) struct Conditions {
    captions: Vec<String>,
    boxes: Vec<f32>,
    phrases: Vec<String>,
    mask: Vec<f32>,
    maps: Vec<f32>,
}

impl Conditions {
    /// Adds a sample of at most `config.max_boxes` boxes.
    pub(crate) fn push(
        &mut self,
        caption: String,
        boxes: &[([f32; 4], &str)],
        config: &DataConfig,
    ) {
        let most = config.max_boxes as usize;
        let edges: Vec<[f32; 4]> = boxes.iter().map(|(edges, _)| *edges).collect();
        let (values, mask) = pad(&edges, most);
        if config.layout_map {
            let kept = &edges[..edges.len().min(most)];
            self.maps
                .extend(layout_map(kept, config.resolution as usize));
        }
        self.captions.push(caption);
        self.boxes.extend(values);
        self.mask.extend(mask);
        let phrases = boxes.iter().map(|(_, phrase)| (*phrase).to_owned());
        self.phrases
            .extend(phrases.chain(std::iter::repeat(String::new())).take(most));
    }

    /// The columns, as [`columns`] declares them.
    pub(crate) fn into_columns(self, config: &DataConfig) -> Vec<Column> {
        let (rows, most) = (self.captions.len() as u64, u64::from(config.max_boxes));
        let column = |name: &str, data| Column {
            name: name.into(),
            data,
        };
        let floats = |shape: Vec<u64>, values| ColumnData::F32 { shape, values };
        let mut columns = vec![
            column(CAPTION, ColumnData::Text(self.captions)),
            column(BOXES, floats(vec![rows, most, 4], self.boxes)),
            column(PHRASES, ColumnData::Text(self.phrases)),
            column(BOXES_MASK, floats(vec![rows, most], self.mask)),
        ];
        if config.layout_map {
            let side = u64::from(config.resolution);
            columns.push(column(
                LAYOUT_MAP,
                floats(vec![rows, 1, side, side], self.maps),
            ));
        }
        columns
    }
}

/// How much of each pixel lies in a box, 0..1, `[1, side, side]`; where several boxes lie over a pixel, the one that covers most
/// of it counts.
fn layout_map(boxes: &[[f32; 4]], side: usize) -> Vec<f32> {
    let overlap = |from: f32, to: f32, pixel: usize| {
        let (from, to) = (from * side as f32, to * side as f32);
        (to.min(pixel as f32 + 1.0) - from.max(pixel as f32)).clamp(0.0, 1.0)
    };
    let mut map = vec![0.0_f32; side * side];
    for &[left, top, right, bottom] in boxes {
        for (y, row) in map.chunks_mut(side.max(1)).enumerate() {
            let down = overlap(top, bottom, y);
            for (x, value) in row.iter_mut().enumerate() {
                *value = value.max(down * overlap(left, right, x));
            }
        }
    }
    map
}

/// The columns of every batch.
fn columns(config: &DataConfig) -> Vec<ColumnSpec> {
    let side = Some(u64::from(config.resolution));
    let most = Some(u64::from(config.max_boxes));
    let spec = |name: &str, dtype, shape, role| ColumnSpec {
        name: name.into(),
        dtype,
        shape,
        role,
    };
    let mut columns = vec![
        spec(
            IMAGE,
            DType::F32,
            vec![Some(3), side, side],
            ColumnRole::Image,
        ),
        spec(CAPTION, DType::Text, vec![], ColumnRole::Text),
        spec(BOXES, DType::F32, vec![most, Some(4)], ColumnRole::Other),
        spec(PHRASES, DType::Text, vec![most], ColumnRole::Text),
        spec(BOXES_MASK, DType::F32, vec![most], ColumnRole::Other),
    ];
    if config.layout_map {
        let shape = vec![Some(1), side, side];
        columns.push(spec(LAYOUT_MAP, DType::F32, shape, ColumnRole::Other));
    }
    columns
}

impl Dataset for LayoutImages {
    fn len(&self) -> u64 {
        self.pictures.len() as u64
    }

    fn columns(&self) -> Vec<ColumnSpec> {
        columns(&self.config)
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let BatchRequest {
            indices,
            seeds,
            augment,
        } = *request;
        request.check_seeds()?;
        let config = &self.config;
        let (side, most) = (config.resolution, config.max_boxes);
        let mut values = Vec::with_capacity(indices.len() * 3 * side as usize * side as usize);
        let mut conditions = Conditions::default();
        for (row, (&index, &seed)) in indices.iter().zip(seeds).enumerate() {
            if row.is_multiple_of(STOP_EVERY) && self.host.cancelled() {
                return Err(PluginError::cancelled());
            }
            let place = self.pictures.place(index)?;
            let sample = &self.source.samples[place];
            let fitted = self.pictures.fitted(place)?;
            check_inside(&sample.regions, fitted.original, &sample.origin)?;
            let draws = if augment {
                Draws::new(index, seed)
            } else {
                Draws::none()
            };
            let picture = &fitted.picture;
            let moved = Moved {
                original: fitted.original,
                resolution: side,
                resize: config.resize,
                window: Window::within(
                    picture.width(),
                    picture.height(),
                    side,
                    side,
                    draws.crop_x,
                    draws.crop_y,
                ),
                flip: draws.flip < config.flip,
            };
            picture.append_chw(moved.window, moved.flip, &mut values);
            let boxes = in_sample(&sample.regions, moved, config.min_box_area, most as usize);
            let chosen = (draws.caption * sample.texts.len() as f64) as usize;
            let caption = match sample.texts.get(chosen) {
                Some(text) if !augment || draws.use_caption < config.prob_use_caption => {
                    text.clone()
                }
                _ => String::new(),
            };
            conditions.push(caption, &boxes, &self.config);
        }
        let shape = vec![indices.len() as u64, 3, u64::from(side), u64::from(side)];
        let mut columns = vec![Column {
            name: IMAGE.into(),
            data: ColumnData::F32 { shape, values },
        }];
        columns.extend(conditions.into_columns(&self.config));
        Ok(Batch { columns })
    }
}

#[cfg(test)]
mod tests {
    use super::layout_map;

    #[test]
    fn a_layout_map_holds_the_share_of_each_pixel() {
        // Columns 0.5 to 2 of row 1 alone, and a corner that overlaps it.
        let boxes = [[0.125, 0.25, 0.5, 0.5], [0.0, 0.25, 0.25, 0.375]];
        let map = layout_map(&boxes, 4);
        let expected = [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 0.0, 0.0];
        assert_eq!(map[..8], expected);
        assert!(map[8..].iter().all(|share| *share == 0.0));
    }
}
