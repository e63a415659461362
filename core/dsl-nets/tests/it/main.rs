//! Tests of the networks, in one binary.

mod autoencoder;
mod clip;
mod clip_tokenizer;
mod features;
mod fixture;
mod init;
mod lora;
mod text;
mod unet;
mod weights;
