//! Whole data sets, made on disk by the tests and opened through the task.

mod bad_input;
mod buckets;
mod forms;
mod only;
mod samples;
mod set;
