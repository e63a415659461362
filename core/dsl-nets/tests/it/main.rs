//! Tests of the networks, in one binary.

mod autoencoder;
mod camera_regression;
mod clip;
mod clip_tokenizer;
mod features;
mod fixture;
mod folders;
mod init;
mod key_lists;
mod lora;
mod multi_view;
mod single_file;
mod text;
mod unet;
mod view_volume;
mod views;
mod weights;
