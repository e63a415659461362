//! What the author of a task plugin depends on: safe Rust traits, one macro, and helpers for images and captions.
//!
//! Used by plugins. It must never depend on anything that trains (a plugin is data, conditioning and evaluation; the
//! host owns the networks), and its API names no type of the binary boundary.
//!
//! `dsl-host plugin new my-task` writes a crate to start from. By hand, a plugin is a library crate of type `cdylib`
//! (with `rlib` beside it, for tests) that depends on this crate alone, in an edition of your choice. This is a complete
//! one, with data, configuration and evaluation:
//!
//! ```
//! use dsl_sdk::{
//!     Artefacts, Batch, BatchRequest, Column, ColumnData, ColumnRole, ColumnSpec, DType, Dataset, Direction,
//!     Evaluator, Host, MetricValue, PluginError, Requirements, Task, TaskDescription,
//!     schemars::JsonSchema,
//!     serde::{Deserialize, Serialize},
//!     serde_json::{Value, json},
//! };
//!
//! /// What a user can set below `task:`. The comments of the fields are what users read.
//! #[derive(Serialize, Deserialize, JsonSchema)]
//! #[serde(crate = "dsl_sdk::serde", default, deny_unknown_fields)]
//! #[schemars(crate = "dsl_sdk::schemars")]
//! struct RingConfig {
//!     /// Radius of the ring.
//!     radius: f32,
//!     /// Greatest random distance from the ring.
//!     width: f32,
//! }
//!
//! impl Default for RingConfig {
//!     fn default() -> Self {
//!         Self { radius: 1.0, width: 0.1 }
//!     }
//! }
//!
//! /// The task: points of a ring in the plane.
//! struct Ring {
//!     config: RingConfig,
//! }
//!
//! impl Task for Ring {
//!     const ID: &'static str = "ring";
//!     const NAME: &'static str = "Ring";
//!     const DESCRIPTION: &'static str = "Points of a ring around the origin";
//!     type Config = RingConfig;
//!
//!     // Which networks the host should train when the user says nothing.
//!     fn host_defaults() -> Value {
//!         json!({"model": {"base": "none", "denoiser": {"kind": "mlp", "features": 2, "hidden_sizes": [64, 64]}}})
//!     }
//!
//!     fn open(config: RingConfig, _host: Host) -> Result<Self, PluginError> {
//!         for (key, value) in [("radius", config.radius), ("width", config.width)] {
//!             if !(value.is_finite() && value > 0.0) {
//!                 return Err(PluginError::config(format!("`task.{key}` is {value}, expected more than 0")));
//!             }
//!         }
//!         Ok(Self { config })
//!     }
//!
//!     fn describe(&self) -> TaskDescription {
//!         TaskDescription { target: "point".into(), injections: vec![], sample_prompts: vec![], dropout: 0.0 }
//!     }
//!
//!     fn splits(&self) -> Vec<String> {
//!         vec!["train".into(), "test".into()]
//!     }
//!
//!     fn dataset(&self, split: &str) -> Result<Box<dyn Dataset>, PluginError> {
//!         let RingConfig { radius, width } = self.config;
//!         match split {
//!             // Held-out points lie between those to train on.
//!             "train" => Ok(Box::new(Points { radius, width, first_degree: 0.0 })),
//!             "test" => Ok(Box::new(Points { radius, width, first_degree: 0.5 })),
//!             other => Err(PluginError::unsupported(format!("there is no split `{other}`; there are: train, test"))),
//!         }
//!     }
//!
//!     fn evaluator(&self) -> Result<Option<Box<dyn Evaluator>>, PluginError> {
//!         Ok(Some(Box::new(NoiseError { sum: 0.0, count: 0 })))
//!     }
//! }
//!
//! struct Points {
//!     radius: f32,
//!     width: f32,
//!     first_degree: f32,
//! }
//!
//! impl Dataset for Points {
//!     fn len(&self) -> u64 {
//!         360
//!     }
//!
//!     fn columns(&self) -> Vec<ColumnSpec> {
//!         vec![ColumnSpec { name: "point".into(), dtype: DType::F32, shape: vec![Some(2)], role: ColumnRole::Vector }]
//!     }
//!
//!     fn batch(&self, request: &BatchRequest<'_>) -> Result<Batch, PluginError> {
//!         let mut values = Vec::with_capacity(2 * request.indices.len());
//!         for (&index, &seed) in request.indices.iter().zip(request.seeds) {
//!             // All randomness of a sample comes from its seed, and there is none without `augment`.
//!             let shift = if request.augment { (seed % 2001) as f32 / 1000.0 - 1.0 } else { 0.0 };
//!             let radius = self.radius + self.width * shift;
//!             let (sin, cos) = (index as f32 + self.first_degree).to_radians().sin_cos();
//!             values.extend([radius * cos, radius * sin]);
//!         }
//!         let data = ColumnData::F32 { shape: vec![request.indices.len() as u64, 2], values };
//!         Ok(Batch { columns: vec![Column { name: "point".into(), data }] })
//!     }
//! }
//!
//! /// Mean squared error of the predicted noise.
//! struct NoiseError {
//!     sum: f64,
//!     count: u64,
//! }
//!
//! impl Evaluator for NoiseError {
//!     fn requirements(&self) -> Requirements {
//!         Requirements::NoisePredictions { split: "test".into(), count: 360 }
//!     }
//!
//!     fn update(&mut self, inputs: &Batch, _first_index: u64) -> Result<(), PluginError> {
//!         let ((_, drawn), (_, predicted)) = (inputs.f32("eps")?, inputs.f32("eps_pred/generator")?);
//!         self.sum += drawn.iter().zip(predicted).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
//!         self.count += drawn.len() as u64;
//!         Ok(())
//!     }
//!
//!     fn finish(&mut self, _artefacts: &mut Artefacts) -> Result<Vec<MetricValue>, PluginError> {
//!         let (sum, count) = (std::mem::take(&mut self.sum), std::mem::take(&mut self.count));
//!         Ok((count > 0)
//!             .then(|| MetricValue {
//!                 name: "noise_error".into(),
//!                 value: sum / count as f64,
//!                 direction: Direction::LowerIsBetter,
//!                 unit: String::new(),
//!             })
//!             .into_iter()
//!             .collect())
//!     }
//! }
//!
//! // Makes the library a plugin.
//! dsl_sdk::export_plugin!(Ring);
//!
//! // Not part of a plugin: what a test of its own may look like. No host is needed.
//! fn main() -> Result<(), PluginError> {
//!     let ring = Ring::open(RingConfig::default(), Host::detached())?;
//!     let batch = ring.dataset("train")?.batch(&BatchRequest { indices: &[0, 90], seeds: &[1, 2], augment: false })?;
//!     let (shape, values) = batch.f32("point")?;
//!     assert_eq!(shape, [2, 2]);
//!     assert!((values[0] - 1.0).abs() < 1e-6 && (values[3] - 1.0).abs() < 1e-6);
//!
//!     let mut evaluator = ring.evaluator()?.expect("there is one");
//!     let column = |name: &str, values: Vec<f32>| Column {
//!         name: name.into(),
//!         data: ColumnData::F32 { shape: vec![1, 2], values },
//!     };
//!     let inputs = Batch { columns: vec![column("eps", vec![1.0, 0.0]), column("eps_pred/generator", vec![0.0, 0.0])] };
//!     evaluator.update(&inputs, 0)?;
//!     assert_eq!(evaluator.finish(&mut Artefacts::default())?[0].value, 0.5);
//!
//!     let refused = Ring::open(RingConfig { radius: -1.0, width: 0.1 }, Host::detached());
//!     assert!(refused.is_err_and(|error| error.message.contains("task.radius")));
//!     Ok(())
//! }
//! ```
//!
//! Then:
//!
//! ```text
//! cargo build --release
//! dsl-host plugin check target/release/libring.so
//! dsl-host run --plugin target/release/libring.so
//! ```
//!
//! # Rules
//! - A sample depends on its index and its seed alone: the batch of `[3, 5]` equals that of `[3]` followed by that of
//!   `[5]`, on any thread and in any process. Hash maps in the order of their keys, the time and counters of calls break
//!   this.
//! - Nothing works before [`Task::open`]: plugins are also loaded to be listed.
//! - Errors say what, where and what to do; see [`PluginError`]. A panic is caught and reported to the host as a mistake
//!   of the plugin, with message, place and backtrace. Never build with `panic = "abort"`: then it ends the host.
//! - Log with [`tracing`]: events go to the host's log, under the plugin's name. A program's stdout belongs to the host:
//!   print nothing there. A subscriber of your own keeps events from the host.
//! - Long work asks [`Host::cancelled`] from time to time, says [`Host::progress`], and shares threads by
//!   [`Host::parallel`] in place of its own.
//!
//! # Threads
//! [`Task`] and [`Dataset`] are called from any thread, several calls at once; an [`Evaluator`] by one thread at a time,
//! not always the same one. Items say so by the tags `[any thread]` and `[one thread at a time]`.
//!
//! # Shapes, ranges and units
//! Tensors are row-major with the batch axis first. Pictures are `f32 [n, channels, height, width]` in −1..1, the views of
//! an object `f32 [n, rows, channels, height, width]`; vectors `f32 [n, dimensions]` of about unit size, since the host adds
//! noise of variance 1. Text is UTF-8: one for each sample, or as many as its column's shape says, sample after sample.
//! [`Injection`] says what each way of conditioning takes. Sizes in names end in `_bytes`, times in `_secs`.
//!
//! # Services of the host
//! | what | how | where there is none |
//! |---|---|---|
//! | log | [`tracing`] macros | nothing is heard |
//! | progress, a stop | [`Host::progress`], [`Host::cancelled`] | never asked to stop |
//! | threads | [`Host::parallel`] | the calling thread does the work |
//! | a folder that stays | [`Host::cache_dir`] | [`ErrorCode::Unsupported`] |
//! | feature networks and distances | [`Host::features`] | [`ErrorCode::Unsupported`], with how to get them |
//!
//! # Helpers
//! [`image`] decodes, resizes, crops and flips; [`buckets`] sorts pictures by aspect ratio; [`boxes`] moves boxes along; [`captions`] reads captions beside pictures;
//! [`image_folder`] lists folders; [`inputs`] reads what users give for a sample; [`webdataset`] reads tar shards; [`picture_set`]
//! finds splits and keeps decoded pictures; [`random`] draws from a sample's seed; with the feature `metrics` there is `metrics`:
//! PSNR, SSIM
//! and more.

mod artefacts;
mod batch;
pub mod boxes;
pub mod buckets;
pub mod captions;
mod error;
mod export;
mod guard;
mod host;
pub mod image;
pub mod image_folder;
pub mod inputs;
mod log;
pub mod picture_set;
pub mod random;
mod task;
pub mod webdataset;

#[cfg(test)]
mod tests;

pub use artefacts::Artefacts;
pub use batch::{Batch, Column, ColumnData};
pub use dsl_abi::declare::{
    ColumnRole, ColumnSpec, DType, Direction, ErrorCode, FeatureInfo, FeatureKind, Injection,
    Manifest, MetricValue, MultiViewAttention, Requirements, TaskDescription,
};
pub use error::PluginError;
pub use host::{Features, Host};
pub use task::{Asset, BatchRequest, Buckets, Dataset, Evaluator, Task};

#[cfg(feature = "metrics")]
pub use dsl_metrics as metrics;
pub use {schemars, serde, serde_json, tracing};

/// What [`export_plugin!`] expands to. Not for direct use, and not covered by any promise.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{Exported, Package};
    pub use dsl_abi::{abi_stable::library::LibHeader, root::header};
}
