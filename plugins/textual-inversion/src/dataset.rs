//! The dataset of one split: a view of the thing, and a caption with its word.
//!
//! In train, sample `i` is view `i mod views`, with a template that is drawn; without augmentation, and in test, the templates
//! follow each other.

use std::sync::Arc;

use dsl_sdk::image::{Picture, Window};
use dsl_sdk::picture_set::Pictures;
use dsl_sdk::random::SampleRng;
use dsl_sdk::{
    Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, PluginError,
};

use crate::concept::Concept;
use crate::config::DataConfig;

/// The column with the pictures.
pub(crate) const IMAGE: &str = "image";
/// The column with the captions.
pub(crate) const CAPTION: &str = "caption";

/// Views of one thing with captions. `[any thread]`
#[derive(Clone, Debug)]
pub struct ConceptViews {
    config: Arc<DataConfig>,
    concept: Arc<Concept>,
    pictures: Arc<Pictures>,
    len: u64,
}

impl ConceptViews {
    /// The views of `pictures`, each `repeats` times.
    pub(crate) fn new(
        pictures: Pictures,
        repeats: u64,
        config: &Arc<DataConfig>,
        concept: &Arc<Concept>,
    ) -> Self {
        Self {
            config: Arc::clone(config),
            concept: Arc::clone(concept),
            len: pictures.len() as u64 * repeats,
            pictures: Arc::new(pictures),
        }
    }

    /// Each view once, as the network is to draw it.
    ///
    /// # Errors
    /// A picture that cannot be read.
    pub(crate) fn views(&self) -> Result<Vec<Picture>, PluginError> {
        (0..self.pictures.len())
            .map(|place| {
                let fitted = self.pictures.fitted(place)?;
                Ok(fitted.picture.crop(self.window(&fitted.picture, 0.5, 0.5)))
            })
            .collect()
    }

    fn window(&self, picture: &Picture, x: f64, y: f64) -> Window {
        let side = self.config.resolution;
        Window::within(picture.width(), picture.height(), side, side, x, y)
    }
}

impl Dataset for ConceptViews {
    fn len(&self) -> u64 {
        self.len
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
        ]
    }

    fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
        let BatchRequest {
            indices,
            seeds,
            augment,
        } = *request;
        request.check_seeds()?;
        let (views, templates) = (self.pictures.len() as u64, &self.concept.templates);
        let (mut values, mut captions) = (Vec::new(), Vec::new());
        for (&index, &seed) in indices.iter().zip(seeds) {
            if index >= self.len {
                return Err(PluginError::contract(format!(
                    "index {index} of a dataset of {} samples",
                    self.len
                )));
            }
            let fitted = self.pictures.fitted((index % views) as usize)?;
            let round = (index / views) as usize;
            let (x, y, flip, template) = if augment {
                let mut rng = SampleRng::new(index, seed);
                let (x, y, flip) = (rng.uniform(), rng.uniform(), rng.uniform());
                (x, y, flip < self.config.flip, rng.below(templates.len()))
            } else {
                (0.5, 0.5, false, round % templates.len())
            };
            let window = self.window(&fitted.picture, x, y);
            fitted.picture.append_chw(window, flip, &mut values);
            captions.push(self.concept.caption(&templates[template]));
        }
        let side = u64::from(self.config.resolution);
        let shape = vec![indices.len() as u64, 3, side, side];
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
            ],
        })
    }
}
