//! End-to-end tests: the program and its plugins, as a user runs them.

mod bad_input;
mod buckets;
mod commands;
mod examples;
mod features;
mod fine_tuning;
mod grounding;
mod latents;
mod layering;
mod mixture;
mod plugin_commands;
mod plugin_faults;
mod resume;
mod schemas;
mod support;
mod tasks;
mod text_encoders;
mod wrapping;
