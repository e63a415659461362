//! The task: finding the objects, describing the conditions, and a user's own picture.

use dsl_render::protocol::era3d as protocol;
use dsl_sdk::image::Picture;
use dsl_sdk::inputs::Inputs;
use dsl_sdk::serde_json::Value;
use dsl_sdk::{
    Batch, Column, Dataset, Evaluator, Host, Injection, MultiViewAttention, PluginError, Task,
    TaskDescription, tracing,
};
use dsl_views::{
    IMAGE, INPUT_VIEW, ObjectDataset, ObjectSplits, POSE, TRAIN, VIEWS, input_view, try_first,
};

use crate::config::{Era3dConfig, Format};
use crate::dataset::{DOMAINS, ELEVATION, INVERSE_FOCAL, ObjectViews, poses, views};
use crate::defaults;
use crate::evaluator::ViewScores;
use crate::sheet::blocks;

/// One view of an object at an unknown camera, and six of colour and normals. `[any thread]`
#[derive(Debug)]
pub struct Era3d {
    config: Era3dConfig,
    host: Host,
    splits: ObjectSplits,
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
        let data = &config.data;
        let splits = ObjectSplits::open(
            &data.source(),
            |root| match data.format {
                Format::Meshes => false,
                Format::Views => true,
                Format::Auto => views::is_set(root, 2),
            },
            views::objects_in,
        )?;
        tracing::info!("{splits}");
        let task = Self {
            config,
            host,
            splits,
        };
        try_first(&*task.dataset(TRAIN)?)?;
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
        self.splits.names()
    }

    fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
        let objects = self.splits.of(split)?;
        let views = ObjectViews::new(&self.config.data, objects, self.splits.rendered());
        Ok(Box::new(ObjectDataset::new(views, &self.host)))
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        let requirements = self.splits.to_measure(self.config.evaluation.objects);
        Ok(Some(Box::new(ViewScores::new(requirements))))
    }

    fn conditions(&self, inputs: &Value) -> Result<Batch, PluginError> {
        let inputs = Inputs::new(inputs, &[IMAGE])?;
        let path = inputs.path(IMAGE)?;
        let size = self.config.data.image_size;
        let picture = input_view(&path, size, protocol::SUBJECT_SHARE)?;
        let rows = (DOMAINS * protocol::TARGETS.len()) as u64;
        Ok(Batch {
            columns: vec![picture, Column::f32(POSE, vec![1, rows, 4], poses())],
        })
    }

    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        Ok(dsl_views::picture(&blocks(samples)?))
    }
}
