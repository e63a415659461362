//! Small networks, points of the plane to train them on, and what several tests look at.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use dsl_engine::objective::{DiscriminatorTrainable, DslConfig, DsmConfig, MarginSource};
use dsl_engine::rng::{Stream, Streams};
use dsl_engine::trainer::AdamWConfig;
use dsl_engine::{
    Conditions, EngineError, NoiseScheduleConfig, ObjectiveConfig, PredictionType, SampleSource,
    Samples, StepReport, TrainConfig, TrainableConfig, Trainer, TrainerConfig,
};
use dsl_nets::{DenoiserConfig, MlpConfig, Model, ModelConfig, named_parameters};

/// Points on a ring of eight blobs; several in a row can be views of one object.
pub struct Points {
    values: Vec<f32>,
    views: usize,
}

impl Points {
    pub fn new(count: usize) -> Self {
        let noise = Streams::new(99).normal(Stream::new("points"), 0, 0, [count, 2, 1, 1]);
        let values = noise.chunks(2).enumerate().flat_map(|(i, noise)| {
            let (sin, cos) = (i as f32 * std::f32::consts::FRAC_PI_4).sin_cos();
            [cos + 0.1 * noise[0], sin + 0.1 * noise[1]]
        });
        Self {
            values: values.collect(),
            views: 1,
        }
    }

    pub fn with_views(self, views: usize) -> Self {
        Self { views, ..self }
    }

    /// The `size` objects of step `step` (from 0), in `parts` micro-batches.
    pub fn batch(&self, step: u64, size: usize, parts: usize) -> Vec<Samples> {
        let indices: Vec<u64> = (0..size as u64)
            .map(|i| (step * size as u64 + i) % self.len())
            .collect();
        indices
            .chunks(size / parts)
            .map(|part| self.samples(part).unwrap())
            .collect()
    }
}

impl SampleSource for Points {
    fn len(&self) -> u64 {
        (self.values.len() / 2 / self.views) as u64
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        let object = 2 * self.views;
        let rows = indices
            .iter()
            .flat_map(|&i| &self.values[i as usize * object..][..object]);
        let x_0 = TensorData::new(
            rows.copied().collect::<Vec<f32>>(),
            [indices.len() * self.views, 2, 1, 1],
        );
        Ok(Samples {
            x_0,
            conditions: Conditions::default(),
            views: self.views,
            domains: 1,
        })
    }
}

pub fn mlp(seed: u64) -> Model {
    let mlp = MlpConfig {
        features: 2,
        hidden_sizes: vec![24, 24],
        time_embedding_dim: 8,
    };
    ModelConfig {
        denoiser: DenoiserConfig::Mlp(mlp),
        text_encoder: None,
        pipeline_text: None,
    }
    .init(seed, &Device::flex())
    .unwrap()
}

/// A captioned UNet small enough to train in a test.
pub fn tiny_unet(seed: u64) -> Model {
    let config: ModelConfig = serde_json::from_value(serde_json::json!({
        "denoiser": {
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
        },
        "text_encoder": {
            "vocab_size": 30,
            "hidden_size": 12,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "max_position_embeddings": 8
        }
    }))
    .unwrap();
    config.init(seed, &Device::flex()).unwrap()
}

/// Captioned pictures for [`tiny_unet`].
pub struct Pictures(pub u64);

impl SampleSource for Pictures {
    fn len(&self) -> u64 {
        self.0
    }

    fn samples(&self, indices: &[u64]) -> Result<Samples, EngineError> {
        let pixels = indices
            .iter()
            .flat_map(|&i| Streams::new(5).normal(Stream::new("pictures"), 0, i, [1, 3, 8, 8]));
        let tokens = indices
            .iter()
            .flat_map(|&i| (0..6).map(move |k| ((7 * i + 3 * k) % 30) as i64));
        Ok(Samples {
            x_0: TensorData::new(
                pixels.map(|p| p.tanh()).collect::<Vec<f32>>(),
                [indices.len(), 3, 8, 8],
            ),
            conditions: Conditions::of_token_ids(TensorData::new(
                tokens.collect::<Vec<i64>>(),
                [indices.len(), 6],
            )),
            views: 1,
            domains: 1,
        })
    }
}

pub const BATCH: usize = 8;

pub fn config(objective: ObjectiveConfig) -> TrainerConfig {
    TrainerConfig {
        objective,
        loss: Default::default(),
        train: TrainConfig {
            steps: 100,
            batch_size: BATCH,
            learning_rate: 1e-2,
            seed: 7,
            ..TrainConfig::default()
        },
        noise_schedule: NoiseScheduleConfig::default(),
        prediction_type: PredictionType::Epsilon,
        trainable: TrainableConfig::All,
    }
}

pub fn dsm() -> TrainerConfig {
    config(ObjectiveConfig::Dsm(DsmConfig {}))
}

/// DSL with the changes that `change` makes to the defaults.
pub fn dsl(change: impl FnOnce(&mut DslConfig)) -> TrainerConfig {
    let mut dsl = DslConfig::default();
    dsl.discriminator.learning_rate = Some(1e-2);
    change(&mut dsl);
    config(ObjectiveConfig::Dsl(dsl))
}

/// A full twin that the optimiser treats as it treats the generator.
pub fn full_twin(dsl: &mut DslConfig) {
    dsl.discriminator.trainable = DiscriminatorTrainable::Full;
    dsl.discriminator.learning_rate = None;
    dsl.discriminator.weight_decay = AdamWConfig::default().weight_decay;
}

pub fn constant_margin(dsl: &mut DslConfig, margin: f64) {
    dsl.margin.source = MarginSource::Constant;
    dsl.margin.value = Some(margin);
}

pub fn dsl_of(config: &TrainerConfig) -> DslConfig {
    match &config.objective {
        ObjectiveConfig::Dsl(dsl) => dsl.clone(),
        ObjectiveConfig::Dsm(_) => panic!("not DSL"),
    }
}

pub fn trainer(config: TrainerConfig) -> Trainer {
    Trainer::new(config, mlp(3), &Device::flex()).unwrap()
}

/// Trains on `set` for `steps` steps of [`BATCH`] objects.
pub fn train(trainer: &mut Trainer, set: &Points, steps: u64) -> Vec<StepReport> {
    (0..steps)
        .map(|_| {
            trainer
                .step(&set.batch(trainer.step_count(), BATCH, 1), set)
                .unwrap()
        })
        .collect()
}

/// Values of one name over several reports.
#[track_caller]
pub fn series(reports: &[StepReport], name: &str) -> Vec<f64> {
    reports
        .iter()
        .map(|report| report.get(name).unwrap_or_else(|| panic!("no `{name}`")))
        .collect()
}

/// All parameters by path.
pub fn weights<M: Module>(module: &M) -> Vec<(String, Vec<f32>)> {
    named_parameters(module)
        .into_iter()
        .map(|parameter| (parameter.path, parameter.values))
        .collect()
}

/// Everything that a run has learned.
pub fn state(trainer: &Trainer) -> impl PartialEq + std::fmt::Debug + use<> {
    let adversary = trainer
        .adversary()
        .map(|a| (weights(a.network()), a.margins().clone(), a.updates()));
    (
        trainer.step_count(),
        weights(trainer.generator()),
        weights(&trainer.sampling_model()),
        adversary,
    )
}

/// Parameters that are not adapters'.
pub fn base_weights<M: Module>(module: &M) -> Vec<(String, Vec<f32>)> {
    named_parameters(module)
        .into_iter()
        .filter(|p| !p.is_adapter())
        .map(|p| (p.path, p.values))
        .collect()
}

pub fn adapter_weights<M: Module>(module: &M) -> Vec<(String, Vec<f32>)> {
    named_parameters(module)
        .into_iter()
        .filter(|p| p.is_adapter())
        .map(|p| (p.path, p.values))
        .collect()
}

/// Gradients by path, of the parameters that have one.
pub fn gradients<M: Module>(module: &M, gradients: &Gradients) -> Vec<(String, Vec<f32>)> {
    struct Collect<'a>(&'a Gradients, Vec<Option<Vec<f32>>>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.1.push(param.val().grad(self.0).map(values));
        }
    }
    let mut collected = Collect(gradients, Vec::new());
    module.visit(&mut collected);
    let paths = named_parameters(module)
        .into_iter()
        .map(|parameter| parameter.path);
    paths
        .zip(collected.1)
        .filter_map(|(path, gradient)| Some((path, gradient?)))
        .collect()
}

/// Ids of the parameters that train.
pub fn trainable_ids<M: Module>(module: &M) -> BTreeSet<ParamId> {
    named_parameters(module)
        .into_iter()
        .filter(|p| p.require_grad)
        .map(|p| p.id)
        .collect()
}

/// Largest difference between two sets of weights.
pub fn largest_difference(a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).flat_map(|((_, a), (_, b))| a.iter().zip(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// `module` with every parameter at zero.
pub fn zeroed<M: Module>(module: M) -> M {
    struct Zero;
    impl ModuleMapper for Zero {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|tensor| tensor.zeros_like())
        }
    }
    module.map(&mut Zero)
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// Numbers that differ from call to call only by `name`.
pub fn normal(name: &'static str, shape: [usize; 4], device: &Device) -> Tensor<4> {
    Tensor::from_data(
        TensorData::new(
            Streams::new(1).normal(Stream::new(name), 0, 0, shape),
            shape,
        ),
        device,
    )
}

#[track_caller]
pub fn assert_near(what: &str, found: f64, expected: f64, relative: f64) {
    let allowed = relative * expected.abs().max(1e-12);
    assert!(
        (found - expected).abs() <= allowed,
        "{what}: {found}, expected {expected}"
    );
}
