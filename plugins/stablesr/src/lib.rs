//! Super-resolution task plugin: pictures and their degraded versions.
