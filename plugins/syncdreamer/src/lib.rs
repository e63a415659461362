//! Multi-view task plugin: one view of an object, and sixteen around it.
