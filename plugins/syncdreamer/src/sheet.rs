//! Samples as people look at them: the input view at the left, the generated views in a row, the truth below.

use dsl_render::{Pixels, Views};
use dsl_sdk::{Batch, PluginError};

use crate::dataset::{INPUT_VIEW, VIEWS};

/// The column that the host generates.
pub(crate) const GENERATED: &str = "generated";

/// Rows of pictures for each sample of a batch; a row of truth where the batch has it.
pub(crate) fn blocks(samples: &Batch) -> Result<Vec<Vec<Vec<Option<Pixels>>>>, PluginError> {
    let generated = views(samples, GENERATED)?;
    let known = |name: &str| {
        samples
            .column(name)
            .map(|_| views(samples, name))
            .transpose()
    };
    let (truth, input) = (known(VIEWS)?, known(INPUT_VIEW)?);
    let row = |first: Option<Pixels>, all: Views<'_>, sample: usize| {
        let views = (0..all.views).map(|view| all.pixels(sample, view));
        std::iter::once(first).chain(views).collect::<Vec<_>>()
    };
    let block = |sample: usize| {
        let given = input.and_then(|input| input.pixels(sample, 0));
        let truth = truth.map(|truth| row(None, truth, sample));
        std::iter::once(row(given, generated, sample))
            .chain(truth)
            .collect()
    };
    Ok((0..generated.objects).map(block).collect())
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
