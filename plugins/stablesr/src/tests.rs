//! Whole data sets, made on disk by the tests and opened through the task.

mod bad_input;
mod forms;
mod measured;
mod samples;
mod set;
mod shown;
