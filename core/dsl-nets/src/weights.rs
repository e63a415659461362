//! Weight files: safetensors with diffusers' names.
//!
//! A key is a parameter's path. Linear layers hold their weight transposed in memory (`[d_input, d_output]`); files hold
//! `[d_output, d_input]`, as PyTorch does. Adapters are not part of these files: see [`crate::lora::peft`].

mod apply;
mod file;
mod report;

pub use apply::{load, load_complete, save};
pub use file::{FileTensor, WeightDType, WeightFile};
pub(crate) use file::{write_atomically, write_tensors};
pub use report::{LoadReport, MissingKey, ShapeMismatch};
