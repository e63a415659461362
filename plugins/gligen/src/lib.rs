//! Grounded layout task plugin: captions and boxes with phrases.
