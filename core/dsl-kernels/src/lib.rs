//! The operations that decide how fast a network trains on the CPU, each behind one function on burn's tensors.
//!
//! On burn's CPU backend, in float32, they run here: forward and backward passes of our own, in as few passes over memory
//! as we know how, on the vector instructions that the processor turns out to have. On every other device and type the same
//! functions call burn's operations. Callers see no difference but the time.
//!
//! Three promises:
//! - **Same numbers.** Values and gradients are burn's, up to float32 rounding.
//! - **Repeatable.** The bits do not depend on the number of threads, see [`sequential`]. They do depend on the processor's
//!   vectors: convolutions and products sum in another order where those have another width.
//! - **Nothing in vain.** Frozen layers have no weight gradients and keep no inputs for them; where nothing upstream
//!   learns, there are no input gradients.
//!
//! How fast they are, and what was tried: `docs/performance.md` and `cargo bench -p dsl-kernels`.

mod activation;
mod add;
mod attention;
mod buffer;
mod conv;
mod layer;
mod linear;
mod matrix;
mod memory;
mod norm;
mod parallel;
mod route;
mod scalar;
mod scratch;
mod simd;
mod update;
mod upsample;

pub use activation::{geglu, gelu, silu};
pub use add::{add, add_per_channel};
pub use attention::attention;
pub use conv::{conv2d, upsample_conv2d};
pub use linear::{linear, linear_from_pixels, linear_to_pixels};
pub use memory::{give_back_freed_memory, keep_freed_memory};
pub use norm::{group_norm, group_norm_silu, layer_norm};
pub use parallel::{sequential, together, together_on};
pub use update::{AdamW, Moved, moving_average, sum_of_squares};
pub use upsample::interpolate_nearest;
