//! The task: finding the objects, describing the conditions, and a user's own picture.

use std::path::Path;

use dsl_render::objects::{Object, Splits, meshes_in, splits};
use dsl_render::protocol::era3d as protocol;
use dsl_render::{Sheet, append_chw, furniture, subject};
use dsl_sdk::image::Picture;
use dsl_sdk::inputs::Inputs;
use dsl_sdk::serde_json::Value;
use dsl_sdk::{
    Batch, Column, Dataset, Evaluator, Host, Injection, MultiViewAttention, PluginError,
    Requirements, Task, TaskDescription, tracing,
};

use crate::config::{Era3dConfig, Format};
use crate::dataset::{
    DOMAINS, ELEVATION, INPUT_VIEW, INVERSE_FOCAL, ObjectViews, POSE, VIEWS, poses, views,
};
use crate::evaluator::ViewScores;
use crate::sheet::blocks;
use crate::{defaults, failed};

const TRAIN: &str = "train";
const TEST: &str = "test";
/// Input of a user: a picture.
const IMAGE: &str = "image";

/// One view of an object at an unknown camera, and six of colour and normals. `[any thread]`
#[derive(Debug)]
pub struct Era3d {
    config: Era3dConfig,
    host: Host,
    train: Vec<Object>,
    test: Option<Vec<Object>>,
    /// Whether objects are folders of rendered views.
    rendered: bool,
}

impl Task for Era3d {
    const ID: &'static str = "era3d";
    const NAME: &'static str = "Era3D";
    const DESCRIPTION: &'static str = "Six views and normal maps of an object made of one view, from meshes, from rendered views, or the furniture inside";

    type Config = Era3dConfig;

    fn host_defaults() -> Value {
        defaults::host_defaults()
    }

    fn open(config: Era3dConfig, host: Host) -> Result<Self, PluginError> {
        config.check()?;
        let (Splits { train, test }, rendered) = match &config.data.path {
            None => (furniture::splits(), false),
            Some(path) => find(Path::new(path), &config)?,
        };
        let tests = test.as_ref().map_or(0, Vec::len);
        tracing::info!("{} objects to train on, {tests} to test on", train.len());
        let task = Self {
            config,
            host,
            train,
            test,
            rendered,
        };
        // What is wrong with the first object is mostly wrong with all; it should be said before any work begins.
        let first = task.train.iter().take(1).cloned().collect();
        let first = ObjectViews::new(&task.config.data, first, rendered, &task.host);
        first.batch(&dsl_sdk::BatchRequest {
            indices: &[0],
            seeds: &[0],
            augment: false,
        })?;
        Ok(task)
    }

    fn describe(&self) -> TaskDescription {
        let dropout = &self.config.dropout;
        TaskDescription {
            target: VIEWS.to_owned(),
            injections: vec![
                Injection::ConcatChannels {
                    column: INPUT_VIEW.to_owned(),
                    dropout: dropout.input_view,
                },
                Injection::CrossAttention {
                    column: POSE.to_owned(),
                    dropout: dropout.pose,
                },
                Injection::MultiView {
                    attention: MultiViewAttention::RowWise,
                    domains: DOMAINS as u64,
                },
                Injection::CameraRegression {
                    elevation: ELEVATION.to_owned(),
                    inverse_focal: INVERSE_FOCAL.to_owned(),
                    weight: self.config.camera_weight,
                },
            ],
            sample_prompts: Vec::new(),
            dropout: self.config.dropout.all,
        }
    }

    fn splits(&self) -> Vec<String> {
        let test = self.test.as_ref().map(|_| TEST.to_owned());
        std::iter::once(TRAIN.to_owned()).chain(test).collect()
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        let objects = match (split, &self.test) {
            (TRAIN, _) => &self.train,
            (TEST, Some(test)) => test,
            _ => {
                return Err(PluginError::unsupported(format!(
                    "there is no split `{split}`; there are: {}",
                    self.splits().join(", ")
                )));
            }
        };
        let (config, rendered) = (&self.config.data, self.rendered);
        Ok(Box::new(ObjectViews::new(
            config,
            objects.clone(),
            rendered,
            &self.host,
        )))
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        let (split, objects) = match &self.test {
            Some(test) => (TEST, test),
            None => (TRAIN, &self.train),
        };
        let requirements = Requirements::Samples {
            split: split.to_owned(),
            count: self.config.evaluation.objects.min(objects.len() as u64),
        };
        Ok(Some(Box::new(ViewScores::new(requirements))))
    }

    fn conditions(&self, inputs: &Value) -> Result<Batch, PluginError> {
        let inputs = Inputs::new(inputs, &[IMAGE])?;
        let path = inputs.path(IMAGE)?;
        let size = self.config.data.image_size;
        let picture = subject(&path, size, protocol::SUBJECT_SHARE, [1.0; 3]).map_err(failed)?;
        let mut values = Vec::new();
        append_chw(&picture, &mut values);
        let (side, rows) = (u64::from(size), (DOMAINS * protocol::TARGETS.len()) as u64);
        Ok(Batch {
            columns: vec![
                Column::f32(INPUT_VIEW, vec![1, 3, side, side], values),
                Column::f32(POSE, vec![1, rows, 4], poses()),
            ],
        })
    }

    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        let sheet = Sheet::new(&blocks(samples)?);
        Ok(Picture::from_rgb(sheet.width, sheet.height, sheet.rgb))
    }
}

/// The objects of a user's folder, and whether they are rendered views.
fn find(root: &Path, config: &Era3dConfig) -> Result<(Splits, bool), PluginError> {
    let data = &config.data;
    let rendered = match data.format {
        Format::Meshes => false,
        Format::Views => true,
        Format::Auto => views::is_set(root, 2),
    };
    let list = if rendered {
        views::objects_in
    } else {
        meshes_in
    };
    let found = splits(root, &data.train_split, data.test_split.as_deref(), list);
    Ok((
        found.map_err(|error| {
            let help = error.help();
            let error = PluginError::config(format!("`task.data.path`: {error}"));
            error.with_help(help)
        })?,
        rendered,
    ))
}
