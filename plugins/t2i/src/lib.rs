//! Text-to-image task plugin: captioned images.
