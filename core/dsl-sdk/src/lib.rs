//! What the author of a task plugin depends on.
