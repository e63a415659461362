//! End-to-end tests: the program and its plugins, as a user runs them.

mod schemas;
mod support;
