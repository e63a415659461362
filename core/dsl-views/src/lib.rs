//! What task plugins for views of objects share: settings, objects and their splits, drawn views, batches, a user's picture,
//! scores, and sheets of pictures.
//!
//! Used by the multi-view plugins, which hold what differs from paper to paper: which cameras there are, which columns are
//! made of their views, and how rendered views lie on the disk. It stands on `dsl-sdk` and `dsl-render` alone and, as they
//! do, knows no network.
//!
//! The way of a plugin: [`settings`] refuses what cannot be, [`ObjectSplits`] finds the objects, an [`ObjectSampler`] makes
//! columns of one object, which [`Objects`] draws, and [`ObjectDataset`] makes batches of these; [`input_view`] reads a
//! user's picture; [`blocks`] lays out samples for people, and [`ColorScores`] measures them.

mod columns;
mod dataset;
mod input;
mod objects;
mod scores;
pub mod settings;
mod sheet;
mod splits;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use columns::{GENERATED, INPUT_VIEW, POSE, VIEWS, column, views};
pub use dataset::{ObjectDataset, ObjectSampler, try_first};
pub use input::{IMAGE, input_view};
pub use objects::{Drawing, Objects};
pub use scores::{ColorScores, alike, metric};
pub use sheet::{Block, ReadTargets, blocks, picture};
pub use splits::{ObjectSplits, Source, TEST, TRAIN};

/// An error of the renderer, for the user.
pub fn failed(error: dsl_render::RenderError) -> dsl_sdk::PluginError {
    dsl_sdk::PluginError::io(error.to_string()).with_help(error.help())
}
