//! Tests of the networks, in one binary.

mod autoencoder;
mod clip;
mod clip_tokenizer;
mod features;
mod fixture;
mod folders;
mod init;
mod key_lists;
mod lora;
mod single_file;
mod text;
mod unet;
mod weights;
