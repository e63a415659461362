//! Whole data sets, made on disk by the tests or inside the plugin, opened through the task.

mod bad_input;
mod forms;
mod looks;
mod samples;
mod set;
