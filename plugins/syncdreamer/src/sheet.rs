//! Samples as people look at them: the input view at the left, the generated views in a row, the truth below.

use dsl_sdk::{Batch, PluginError};
use dsl_views::{Block, views};

/// Rows of pictures for each sample of a batch; a row of truth where the batch has it.
pub(crate) fn blocks(samples: &Batch) -> Result<Vec<Block>, PluginError> {
    dsl_views::blocks(samples, views, |all| Some(0..all.views))
}
