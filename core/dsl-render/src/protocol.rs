//! Which cameras look at an object: the protocols of multi-view papers, as data.

pub mod era3d;
pub mod syncdreamer;
