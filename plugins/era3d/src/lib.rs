//! Multi-view task plugin: one view at an unknown camera, and six of colour and normals.
