//! Samples as people look at them: the input view at the left, generated colours in a row, generated normal maps below, and
//! below these the same of the truth.

use dsl_render::protocol::era3d::TARGETS;
use dsl_render::{Pixels, Views};
use dsl_sdk::{Batch, PluginError};

use crate::dataset::{DOMAINS, INPUT_VIEW, VIEWS};

/// The column that the host generates.
pub(crate) const GENERATED: &str = "generated";

/// Rows of pictures for each sample of a batch; rows of truth where the batch has it.
pub(crate) fn blocks(samples: &Batch) -> Result<Vec<Vec<Vec<Option<Pixels>>>>, PluginError> {
    let generated = targets(samples, GENERATED)?;
    let truth = samples
        .column(VIEWS)
        .map(|_| targets(samples, VIEWS))
        .transpose()?;
    let input = samples
        .column(INPUT_VIEW)
        .map(|_| views(samples, INPUT_VIEW))
        .transpose()?;
    let rows = |all: Views<'_>, sample: usize, given: Option<Pixels>| {
        let row = |domain: usize, first: Option<Pixels>| {
            let views =
                (0..TARGETS.len()).map(|view| all.pixels(sample, domain * TARGETS.len() + view));
            std::iter::once(first).chain(views).collect::<Vec<_>>()
        };
        [row(1, given), row(0, None)]
    };
    let block = |sample: usize| {
        let given = input.and_then(|input| input.pixels(sample, 0));
        let truth = truth.map(|truth| rows(truth, sample, None));
        let all = rows(generated, sample, given).into_iter();
        all.chain(truth.into_iter().flatten()).collect()
    };
    Ok((0..generated.objects).map(block).collect())
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

/// A column of views.
pub(crate) fn views<'a>(batch: &'a Batch, name: &str) -> Result<Views<'a>, PluginError> {
    let (shape, values) = batch.f32(name)?;
    Views::new(shape, values).ok_or_else(|| {
        let message =
            format!("column `{name}`: expected views of 3 × side × side, found {shape:?}");
        PluginError::contract(message)
    })
}
