//! Tests of the networks, in one binary.

mod fixture;
mod init;
mod lora;
mod text;
mod unet;
mod weights;
