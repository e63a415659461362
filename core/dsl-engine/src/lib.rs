//! The training engine of dsl-host: noise schedules, objectives, samplers, the two-network trainer and its checkpoints.
//!
//! It knows no plugin, no dynamic library and no command line: it is fed plain tensors ([`Samples`]) and tested with
//! plain structs. A step goes through [`Trainer::step`]: draw timesteps and noise, run the networks, take the losses of
//! the objective, move the weights, report.

mod bucket_order;
pub mod checkpoint;
mod conditions;
mod data;
mod ema;
mod error;
pub mod guidance;
pub mod loss_weighting;
pub mod noise_schedule;
pub mod objective;
pub mod parameterization;
pub mod rng;
pub mod sampler;
pub mod setting_error;
mod trainable;
pub mod trainer;
mod weights_by_id;
pub mod wrapping;

pub use dsl_kernels::keep_freed_memory;

pub use bucket_order::{BucketOrder, batches_per_epoch, bucket_sizes};
pub use checkpoint::{Checkpoint, CheckpointConfig, Checkpoints};
pub use conditions::{
    AddedFeatures, Boxes, Camera, Conditions, Features, Phrases, PipelineTexts, Volume,
};
pub use data::{SampleSource, Samples};
pub use ema::{Ema, parameter_data};
pub use error::EngineError;
pub use loss_weighting::LossWeighting;
pub use noise_schedule::{NoiseSchedule, NoiseScheduleConfig};
pub use objective::{ConfigProblem, LossConfig, ObjectiveConfig};
pub use parameterization::{LossSpace, PredictionType};
pub use rng::{Stream, Streams};
pub use setting_error::SettingError;
pub use trainable::{
    BiasNormConfig, LoraTrainableConfig, NamedConfig, TaskModulesOnlyConfig, TrainableConfig,
};
pub use trainer::{StepReport, TrainConfig, Trainer, TrainerConfig, ValidationConfig};
pub use wrapping::{WrappingBatch, WrappingConfig, WrappingTrainer};
