//! The task: finding the objects, describing the conditions, and a user's own picture.

use dsl_render::protocol::syncdreamer as protocol;
use dsl_sdk::image::Picture;
use dsl_sdk::inputs::Inputs;
use dsl_sdk::serde_json::Value;
use dsl_sdk::{
    Batch, Column, Dataset, Evaluator, Host, Injection, PluginError, Task, TaskDescription, tracing,
};
use dsl_views::{
    IMAGE, INPUT_VIEW, ObjectDataset, ObjectSplits, POSE, TRAIN, VIEWS, input_view, try_first,
};

use crate::config::{Format, SyncDreamerConfig};
use crate::dataset::{ObjectViews, PROJECTIONS, projections, views};
use crate::defaults;
use crate::evaluator::ViewScores;
use crate::sheet::blocks;

/// The input of a user that is the elevation of the picture, in degrees.
const ELEVATION: &str = "elevation";

/// One view of an object, and sixteen around it. `[any thread]`
#[derive(Debug)]
pub struct SyncDreamer {
    config: SyncDreamerConfig,
    host: Host,
    splits: ObjectSplits,
}

impl Task for SyncDreamer {
    const ID: &'static str = "syncdreamer";
    const NAME: &'static str = "SyncDreamer";
    const DESCRIPTION: &'static str = "Sixteen views around an object made of one, from meshes, from rendered views, or the furniture inside";

    type Config = SyncDreamerConfig;

    fn host_defaults() -> Value {
        defaults::host_defaults()
    }

    fn open(config: SyncDreamerConfig, host: Host) -> Result<Self, PluginError> {
        config.check()?;
        let data = &config.data;
        let splits = ObjectSplits::open(
            &data.source(),
            |root| match data.format {
                Format::Meshes => false,
                Format::Views => true,
                Format::Auto => views::is_set(root) || views::is_set(&root.join(&data.train_split)),
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
                Injection::ViewVolume {
                    projections: PROJECTIONS.to_owned(),
                    half_side: protocol::HALF_SIDE,
                    depth_range: protocol::DEPTH_RANGE,
                    dropout: dropout.volume,
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
        let views = ObjectViews::new(&self.config.data, objects, self.splits.rendered())?;
        Ok(Box::new(ObjectDataset::new(views, &self.host)))
    }

    fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
        let requirements = self.splits.to_measure(self.config.evaluation.objects);
        Ok(Some(Box::new(ViewScores::new(requirements))))
    }

    fn conditions(&self, inputs: &Value) -> Result<Batch, PluginError> {
        let inputs = Inputs::new(inputs, &[IMAGE, ELEVATION])?;
        let path = inputs.path(IMAGE)?;
        let elevation = inputs
            .number(ELEVATION)?
            .unwrap_or(protocol::TARGET_ELEVATION);
        if !(-90.0..=90.0).contains(&elevation) {
            return Err(PluginError::config(format!(
                "the input `{ELEVATION}` is {elevation}, expected -90 to 90 degrees above the horizon"
            )));
        }
        let (size, count) = (self.config.data.image_size, self.config.data.views);
        let picture = input_view(&path, size, protocol::SUBJECT_SHARE)?;
        let views = u64::from(count);
        let pose = (0..count).flat_map(|view| protocol::pose(view, count, elevation));
        Ok(Batch {
            columns: vec![
                picture,
                Column::f32(POSE, vec![1, views, 4], pose.collect()),
                Column::f32(PROJECTIONS, vec![1, views, 3, 4], projections(count)?),
            ],
        })
    }

    fn picture(&self, samples: &Batch) -> Result<Option<Picture>, PluginError> {
        Ok(dsl_views::picture(&blocks(samples)?))
    }
}
