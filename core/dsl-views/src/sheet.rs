//! Samples as people look at them: the input view at the left, generated views in rows, and below these the same of the truth.

use std::ops::Range;

use dsl_render::{Pixels, Sheet, Views};
use dsl_sdk::image::Picture;
use dsl_sdk::{Batch, PluginError};

use crate::columns::{GENERATED, INPUT_VIEW, VIEWS, views};

/// Rows of pictures of one sample; nothing leaves a place free.
pub type Block = Vec<Vec<Option<Pixels>>>;

/// Reads a column of target views: [`views`], or what checks more.
pub type ReadTargets = for<'a> fn(&'a Batch, &str) -> Result<Views<'a>, PluginError>;

/// Rows of pictures for each sample of a batch; those of the truth where the batch has it. `rows` says which target views
/// lie in each row.
///
/// # Errors
/// A broken contract, when there are no generated views, or columns hold something else.
pub fn blocks<R: IntoIterator<Item = Range<usize>>>(
    samples: &Batch,
    targets: ReadTargets,
    rows: impl Fn(&Views<'_>) -> R,
) -> Result<Vec<Block>, PluginError> {
    let generated = targets(samples, GENERATED)?;
    let known = |name: &str, read: ReadTargets| {
        let column = samples.column(name);
        column.map(|_| read(samples, name)).transpose()
    };
    let (truth, input) = (known(VIEWS, targets)?, known(INPUT_VIEW, views)?);
    let block = |sample: usize| {
        let mut given = input.and_then(|input| input.pixels(sample, 0));
        [Some(generated), truth]
            .iter()
            .flatten()
            .flat_map(|all| rows(all).into_iter().map(move |row| (all, row)))
            .map(|(all, row)| {
                let views = row.map(|view| all.pixels(sample, view));
                std::iter::once(given.take()).chain(views).collect()
            })
            .collect()
    };
    Ok((0..generated.objects).map(block).collect())
}

/// All samples on one sheet.
pub fn picture(blocks: &[Block]) -> Option<Picture> {
    let sheet = Sheet::new(blocks);
    Picture::from_rgb(sheet.width, sheet.height, sheet.rgb)
}

#[cfg(test)]
mod tests {
    use dsl_sdk::Column;

    use super::*;

    /// Views of one grey each: 0 for the input, then 0.1, 0.2 and so on.
    fn samples() -> Batch {
        let column = |name: &str, views: &[u64], first: u64| {
            let count = 2 * views.iter().product::<u64>();
            let grey = |view: u64| 0.2 * ((first + view % (count / 2)) as f32) - 1.0;
            let values = (0..count).flat_map(|view| [grey(view); 3]).collect();
            let shape = [&[2][..], views, &[3, 1, 1]].concat();
            Column::f32(name, shape, values)
        };
        Batch {
            columns: vec![
                column(INPUT_VIEW, &[], 0),
                column(VIEWS, &[4], 1),
                column(GENERATED, &[4], 5),
            ],
        }
    }

    fn greys(blocks: &[Block]) -> Vec<Vec<Option<i32>>> {
        let grey = |pixels: &Pixels| (pixels.rgb[0][0] * 10.0).round() as i32;
        let row = |row: &Vec<Option<Pixels>>| {
            row.iter().map(|pixels| pixels.as_ref().map(grey)).collect()
        };
        blocks.iter().flatten().map(row).collect()
    }

    #[test]
    fn rows_lie_where_they_should() {
        let mut samples = samples();
        let laid = |samples: &Batch| {
            let blocks = blocks(samples, views, |all| [2..all.views, 0..2]).unwrap();
            assert_eq!(blocks.len(), 2);
            greys(&blocks[1..])
        };
        let generated = [[Some(0), Some(7), Some(8)], [None, Some(5), Some(6)]];
        let truth = [[None, Some(3), Some(4)], [None, Some(1), Some(2)]];
        assert_eq!(laid(&samples), [generated, truth].concat());
        samples.columns.retain(|column| column.name == GENERATED);
        let alone = [[None, Some(7), Some(8)], [None, Some(5), Some(6)]];
        assert_eq!(laid(&samples), alone);
        samples.columns.clear();
        let error = blocks(&samples, views, |_| None).unwrap_err();
        assert!(error.message.contains("`generated`"), "{error}");
    }

    #[test]
    fn a_picture_shows_all_samples() {
        let blocks = blocks(&samples(), views, |all| Some(0..all.views)).unwrap();
        let picture = picture(&blocks).unwrap();
        assert_eq!(
            (picture.width(), picture.height()),
            (5 * 66 + 2, 4 * 66 + 2 + 10)
        );
    }
}
