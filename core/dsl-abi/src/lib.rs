//! The frozen contract between dsl-host and its task plugins.
