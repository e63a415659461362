//! Tests of the networks, in one binary.

mod features;
mod fixture;
mod init;
mod lora;
mod text;
mod unet;
mod weights;
