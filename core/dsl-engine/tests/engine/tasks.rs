//! Networks with what tasks add to them, and samples with what they are told.

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use dsl_engine::rng::{Stream, Streams};
use dsl_engine::trainer::Noised;
use dsl_engine::{
    Boxes, Camera, Checkpoints, Conditions, EngineError, Features, Phrases, PipelineTexts,
    SampleSource, Samples, StepReport, Trainer, TrainerConfig, Volume,
};
use dsl_nets::{Denoiser, Model, ModelConfig, ParameterInit, PipelineText};
use serde_json::{Value, json};

use crate::support::state;

/// A UNet of two levels for pictures of 3 channels and text of 12 features, with these fields in the place of its own.
pub fn unet(fields: Value) -> Model {
    let mut denoiser = json!({
        "kind": "unet",
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": [8, 16],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 2,
        "cross_attention_dim": 12
    });
    for (field, value) in fields.as_object().unwrap() {
        denoiser[field] = value.clone();
    }
    let config: ModelConfig = serde_json::from_value(json!({"denoiser": denoiser})).unwrap();
    config.init(1, &Device::flex()).unwrap()
}

/// A UNet with the text encoder of a pipeline, of 12 features.
pub fn of_pipeline() -> Model {
    let text = json!({
        "vocab_size": 30,
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 8,
        "eos_token_id": 29
    });
    let text = json!({"text_encoder": {"with_projection": false, "text": text}});
    let config = serde_json::from_value(text).unwrap();
    let init = ParameterInit::new(1, &Device::flex()).at("pipeline_text");
    Model {
        pipeline_text: Some(PipelineText::new(&config, &init).unwrap()),
        ..unet(json!({}))
    }
}

/// Texts for its encoder, of five kinds.
pub fn pipeline_texts(rows: &[u64]) -> Conditions {
    let ids = rows.iter().flat_map(|row| [1, 2 + (row % 5) as i64, 29]);
    let ids = TensorData::new(ids.collect::<Vec<i64>>(), [rows.len(), 3]);
    Conditions {
        pipeline_texts: Some(PipelineTexts {
            token_ids: vec![ids],
            kept: None,
            time_ids: None,
        }),
        ..Conditions::default()
    }
}

/// A UNet that reads boxes, with fresh layers: their gates are closed.
pub fn gligen() -> Model {
    unet(json!({"attention_type": "gated"}))
}

/// The same with open gates.
pub fn opened_gligen() -> Model {
    opened(gligen(), &Scenes::new(6, boxes))
}

/// A model after a step of training, which opens what is closed.
pub fn opened(model: Model, set: &Scenes) -> Model {
    let mut config = crate::support::dsm();
    config.train.learning_rate = 1e-3;
    let mut trained = start(&config, model);
    step(&mut trained, set);
    trained.sampling_model()
}

/// Pictures of 3 × 8 × 8 with conditions.
pub struct Scenes {
    /// Number of objects.
    pub count: u64,
    /// Rows of an object.
    pub rows: usize,
    /// Parts of them with a timestep each.
    pub domains: usize,
    /// What is told of rows, given their numbers in the set.
    pub told: fn(&[u64]) -> Conditions,
}

impl Scenes {
    /// Of one row each.
    pub fn new(count: u64, told: fn(&[u64]) -> Conditions) -> Self {
        Self {
            count,
            rows: 1,
            domains: 1,
            told,
        }
    }

    /// Four objects, others at another step, in `parts` micro-batches.
    pub fn batch(&self, step: u64, parts: usize) -> Vec<Samples> {
        let indices: Vec<u64> = (0..4).map(|i| (step + i) % self.count).collect();
        let parts = indices.chunks(4 / parts);
        parts.map(|part| self.samples(part).unwrap()).collect()
    }
}

impl SampleSource for Scenes {
    fn len(&self) -> u64 {
        self.count
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        let per_object = self.rows as u64;
        let rows: Vec<u64> = (indices.iter())
            .flat_map(|i| i * per_object..(i + 1) * per_object)
            .collect();
        let pixels = rows
            .iter()
            .flat_map(|&row| Streams::new(5).normal(Stream::new("scenes"), 0, row, [1, 3, 8, 8]));
        Ok(Samples {
            x_0: TensorData::new(
                pixels.map(f32::tanh).collect::<Vec<f32>>(),
                [rows.len(), 3, 8, 8],
            ),
            conditions: (self.told)(&rows),
            views: self.rows,
            domains: self.domains,
        })
    }
}

/// Numbers between -1 and 1 without a pattern, `[rows, ..shape]`; those of a row are always the same.
pub fn wave(rows: &[u64], shape: &[usize], step: f32) -> TensorData {
    let count: usize = shape.iter().product();
    let values = rows.iter().flat_map(|row| {
        let first = *row as usize * count;
        (first..first + count).map(move |i| (i as f32 * step).sin())
    });
    let mut dims = vec![rows.len()];
    dims.extend(shape);
    TensorData::new(values.collect::<Vec<f32>>(), dims)
}

pub fn text(rows: &[u64]) -> Conditions {
    Conditions {
        features: Some(Features {
            encoder_hidden_states: wave(rows, &[5, 12], 0.73),
            added: None,
        }),
        ..Conditions::default()
    }
}

/// One text for all rows.
pub fn same_text(rows: &[u64]) -> Conditions {
    text(&vec![0; rows.len()])
}

/// One text for all rows, with boxes of their own; one slot is always empty, one is in every other row.
pub fn boxes(rows: &[u64]) -> Conditions {
    let sizes = wave(rows, &[3, 4], 0.11);
    let sizes: Vec<f32> = sizes.iter::<f32>().map(f32::abs).collect();
    let masks = rows.iter().flat_map(|row| [1.0, (row % 2) as f32, 0.0]);
    Conditions {
        boxes: Some(Boxes {
            boxes: TensorData::new(sizes, [rows.len(), 3, 4]),
            masks: TensorData::new(masks.collect::<Vec<f32>>(), [rows.len(), 3]),
            phrases: Phrases::Features(wave(rows, &[3, 12], 0.41)),
        }),
        ..same_text(rows)
    }
}

/// One text, and the camera of each object of four rows, somewhere around 0.5, with the weight 0.5.
pub fn camera(rows: &[u64]) -> Conditions {
    camera_with(rows, 0.5)
}

pub fn camera_with(rows: &[u64], weight: f64) -> Conditions {
    let objects: Vec<u64> = rows.iter().step_by(4).map(|row| row / 4).collect();
    let around = |step| {
        let numbers = wave(&objects, &[], step);
        let numbers = numbers.iter::<f32>().map(|number| 0.5 + 0.1 * number);
        TensorData::new(numbers.collect::<Vec<f32>>(), [objects.len()])
    };
    Conditions {
        camera: Some(Camera {
            elevation: around(0.9),
            inverse_focal: around(1.7),
            weight,
        }),
        ..same_text(rows)
    }
}

/// Everything that the four rows of an object are told together.
pub fn of_objects(rows: &[u64]) -> Conditions {
    let objects = rows.len() / 4;
    // Seen from the side, from far away: x and y of the cube, and a depth around 2.
    let view = [
        1.0, 0.0, 0.5, 1.0, 0.0, 1.0, 0.5, 1.0, 0.0, 0.0, 1.0, 2.0f32,
    ];
    let projections = view.repeat(objects * 4);
    Conditions {
        volume: Some(Volume {
            projections: TensorData::new(projections, [objects, 4, 3, 4]),
            kept: TensorData::new(vec![1.0f32; objects], [objects]),
        }),
        ..camera(rows)
    }
}

pub fn start(config: &TrainerConfig, model: Model) -> Trainer {
    Trainer::new(config.clone(), model, &Device::flex()).unwrap()
}

pub fn step(trainer: &mut Trainer, set: &Scenes) -> StepReport {
    let batch = set.batch(trainer.step_count(), 1);
    trainer.step(&batch, set).unwrap()
}

pub fn steps(trainer: &mut Trainer, set: &Scenes, count: u64) -> Vec<StepReport> {
    (0..count).map(|_| step(trainer, set)).collect()
}

/// What the trainer's next step makes of `samples`, by the streams that its documentation names: a timestep for each domain
/// of each object, noise for each row.
pub fn drawn(trainer: &Trainer, samples: &Samples) -> Noised {
    let shape: [usize; 4] = samples.x_0.shape().dims();
    let together = samples.views / samples.domains;
    let (streams, step) = (trainer.streams(), trainer.step_count());
    let groups = shape[0] / together;
    let drawn = streams.uniform_timesteps(Stream::TIMESTEP, step, 0, groups, 1000);
    let timesteps = (0..shape[0]).map(|row| drawn[row / together]).collect();
    let eps = streams.normal(Stream::NOISE, step, 0, shape);
    noised(trainer, samples, timesteps, eps)
}

pub fn noised(trainer: &Trainer, samples: &Samples, timesteps: Vec<u32>, eps: Vec<f32>) -> Noised {
    Noised::new(
        samples,
        timesteps,
        TensorData::new(eps, samples.x_0.shape().clone()),
        trainer.noise_schedule(),
        trainer.config().prediction_type,
        &trainer.config().loss,
        &Device::flex(),
    )
}

/// The answer of `network` under what `model` makes of `conditions`.
pub fn answer(
    network: &Denoiser,
    model: &Model,
    conditions: &Conditions,
    noised: &Noised,
) -> Tensor<4> {
    let device = Device::flex();
    let conditioning = conditions.conditioning(&model.valid(), &device, DType::F32);
    (network.valid()).forward(
        noised.x_t(&device),
        noised.timesteps(&device),
        &conditioning,
    )
}

/// Mean squared error of an answer.
pub fn error(answer: Tensor<4>, noised: &Noised) -> f64 {
    let difference = answer - noised.target(&Device::flex());
    f64::from(difference.powi_scalar(2).mean().into_scalar::<f32>())
}

/// A run that is stopped after `stops` steps, and goes on from its checkpoint, is the run that is not.
pub fn check_resume(
    what: &str,
    config: &TrainerConfig,
    model: impl Fn() -> Model,
    set: &Scenes,
    stops: &[u64],
    total: u64,
) {
    let mut whole = start(config, model());
    let expected = steps(&mut whole, set, total);
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path(), 1);
    let mut stopped = start(config, model());
    let mut found = Vec::new();
    for &stop in stops.iter().chain([&total]) {
        let missing = stop - stopped.step_count();
        found.extend(steps(&mut stopped, set, missing));
        checkpoints.save(&stopped).unwrap();
        stopped = start(config, model());
        let loaded = checkpoints.load_latest().unwrap();
        stopped.restore(&loaded.checkpoint).unwrap();
    }
    assert_eq!(found, expected, "{what}: reports");
    assert!(state(&stopped) == state(&whole), "{what}: weights");
}
