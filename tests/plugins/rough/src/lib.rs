//! A plugin made without the SDK, wrong on purpose in what the SDK would not let through. The environment variable
//! `DSL_ROUGH` says how.

mod batch;
mod entry;

use std::env;

/// Whether this is the fault that the environment asks for.
fn told(fault: &str) -> bool {
    env::var("DSL_ROUGH").is_ok_and(|told| told == fault)
}
