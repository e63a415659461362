//! Finds, loads, checks and calls task plugins.
