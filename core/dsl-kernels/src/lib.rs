//! The operations that decide how fast a network trains on the CPU, each behind one function on burn's tensors.
//!
//! On burn's CPU backend, in float32, they run here: forward and backward passes of our own, in as few passes over memory
//! as we know how, on the vector instructions that the processor turns out to have. On every other device and type the same
//! functions call burn's operations. Callers see no difference but the time.
//!
//! Three promises:
//! - **Same numbers.** Values and gradients are burn's, up to float32 rounding.
//! - **Repeatable.** The bits do not depend on the number of threads: work is cut by shapes alone, see [`sequential`].
//! - **Nothing in vain.** A backward pass computes those gradients that somebody waits for: no weight gradients of frozen
//!   layers, no input gradients where nothing upstream learns.
//!
//! How fast they are, and what was tried: `docs/performance.md` and `cargo bench -p dsl-kernels`.

mod activation;
mod attention;
mod buffer;
mod conv;
mod linear;
mod matrix;
mod norm;
mod parallel;
mod route;
mod scalar;
mod scratch;
mod update;
mod upsample;

pub use activation::{geglu, gelu, silu};
pub use attention::attention;
pub use conv::conv2d;
pub use linear::linear;
pub use norm::{group_norm, group_norm_silu, layer_norm};
pub use parallel::sequential;
pub use update::{AdamW, Moved, moving_average, sum_of_squares};
pub use upsample::interpolate_nearest;
