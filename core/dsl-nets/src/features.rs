//! Feature networks and distances that metrics are made of. All are frozen: nothing here has gradients of its own.
//!
//! Each network is one file: what it expects of pictures (`prepare`), how its layers are called in the weight file (`read`),
//! and how it computes (`forward`). Batch norms are folded into the convolutions while a file is read.
//!
//! Widths are those of the published networks. `read_narrow` reads the same networks with every width divided by a number,
//! for tests and experiments.

mod clip;
mod frozen;
mod inception_blocks;
mod inception_v3;
mod lpips;
mod mobilenet_v2;
mod picture_batch;
mod resize;

pub use clip::{ClipImages, ClipVit};
pub use inception_v3::{InceptionV3, InceptionV3Features};
pub use lpips::{Lpips, LpipsDistance, LpipsNet, lpips_layer_distance, lpips_scaling};
pub use mobilenet_v2::MobileNetV2;
pub use picture_batch::PictureBatch;
pub use resize::{Filter, Resample, ResizeMode, resize_plane};
