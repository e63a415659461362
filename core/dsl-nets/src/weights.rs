//! Weight files: safetensors with diffusers' names.
//!
//! A key is a parameter's path. Linear layers hold their weight transposed in memory (`[d_input, d_output]`); files hold
//! `[d_output, d_input]`, as PyTorch does. Adapters are not part of these files: see [`crate::lora::peft`].

mod apply;
mod extend;
mod file;
mod numbers;
mod pickle;
mod report;
mod set;
mod write;

pub use apply::{compare, load, load_complete, load_set, save};
pub(crate) use apply::{complete, file_tensors, prefixed};
pub use extend::{Extension, TaskShare, load_extending, load_set_extending};
pub use file::{FileTensor, WeightFile};
pub(crate) use numbers::transpose;
pub use report::{LoadReport, MissingKey, ShapeMismatch};
pub(crate) use set::Renamed;
pub use set::WeightSet;
pub use write::WeightDType;
pub(crate) use write::{write_atomically, write_sharded, write_tensors};
