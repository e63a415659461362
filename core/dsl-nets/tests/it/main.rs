//! Tests of the networks, in one binary.

mod autoencoder;
mod camera_regression;
mod clip;
mod clip_tokenizer;
mod controllable_features;
mod extending;
mod features;
mod fixture;
mod folders;
mod init;
mod key_lists;
mod learned_tokens;
mod lora;
#[cfg(target_os = "linux")]
mod memory;
mod multi_view;
mod single_file;
mod task_modules;
mod tasks;
mod text;
mod unet;
mod view_volume;
mod views;
mod weights;
