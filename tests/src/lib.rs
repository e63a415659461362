//! End-to-end tests of dsl-host.
