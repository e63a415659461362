//! Samples as people look at them: the input view at the left, generated colours in a row, generated normal maps below, and
//! below these the same of the truth.

use dsl_render::Views;
use dsl_render::protocol::era3d::TARGETS;
use dsl_sdk::{Batch, PluginError};
use dsl_views::{Block, views};

use crate::dataset::DOMAINS;

/// Rows of pictures for each sample of a batch; rows of truth where the batch has it.
pub(crate) fn blocks(samples: &Batch) -> Result<Vec<Block>, PluginError> {
    let row = |domain: usize| domain * TARGETS.len()..(domain + 1) * TARGETS.len();
    dsl_views::blocks(samples, targets, |_| [row(1), row(0)])
}

/// A column of target views: six normal maps, then six in colour.
pub(crate) fn targets<'a>(batch: &'a Batch, name: &str) -> Result<Views<'a>, PluginError> {
    let all = views(batch, name)?;
    let expected = DOMAINS * TARGETS.len();
    if all.views == expected {
        return Ok(all);
    }
    let message = format!(
        "column `{name}`: expected {expected} pictures a sample, found {}",
        all.views
    );
    Err(PluginError::contract(message))
}
