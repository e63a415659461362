//! Trains diffusion models with adversarial objectives on task plugins.

fn main() {}
