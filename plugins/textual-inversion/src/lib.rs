//! Personalization task plugin: a few pictures of one thing, and a word for it.
