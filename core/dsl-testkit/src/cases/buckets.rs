//! Targets of several shapes.

use dsl_loader::{DatasetHandle, ErrorCode, LoaderError};

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::{Context, seeds},
};

pub(super) const CASES: &[Case] = &[
    case(
        "buckets-fit-samples",
        "Every sample has a bucket of its dataset, and comes in its shape, where there are buckets at all",
        fit_batches,
    ),
    case(
        "buckets-do-not-change",
        "The buckets of a split are the same each time that it is opened",
        same,
    ),
    case(
        "mixed-buckets-refused",
        "A batch of samples of two buckets is an error, and no panic",
        mixed,
    ),
];

/// Samples of each bucket that are looked at.
const SAMPLES: usize = 3;

fn none() -> Verdict {
    Verdict::skipped("the dataset has no buckets in this configuration")
}

/// The first samples of each bucket that has any.
fn by_bucket(dataset: &DatasetHandle) -> Vec<Vec<u64>> {
    let Some(buckets) = dataset.buckets() else {
        return Vec::new();
    };
    let mut samples = vec![Vec::new(); buckets.shapes().len()];
    for (index, &bucket) in (0_u64..).zip(buckets.of_sample()) {
        let of_bucket: &mut Vec<u64> = &mut samples[bucket as usize];
        if of_bucket.len() < SAMPLES {
            of_bucket.push(index);
        }
    }
    samples.retain(|samples| !samples.is_empty());
    samples
}

fn fit_batches(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    let mut there = 0;
    for split in task.splits() {
        let dataset = task.dataset(split)?;
        for indices in by_bucket(&dataset) {
            for augment in [false, true] {
                // The loader compares the target with the bucket's shape.
                dataset.batch(&indices, &seeds(&indices, 4), augment)?;
            }
            there += 1;
        }
    }
    match there {
        0 => Ok(none()),
        _ => Ok(Verdict::passed(format!("{there} buckets"))),
    }
}

fn same(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    let mut there = false;
    for split in task.splits() {
        let (first, second) = (task.dataset(split)?, task.dataset(split)?);
        there |= first.buckets().is_some();
        if first.buckets() != second.buckets() {
            return Err(Verdict::failed(format!(
                "the buckets of split `{split}` change"
            )));
        }
    }
    match there {
        true => Ok(Verdict::passed("")),
        false => Ok(none()),
    }
}

fn mixed(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let [first, second, ..] = &by_bucket(&dataset)[..] else {
        return Ok(Verdict::skipped("there are not two buckets with samples"));
    };
    let indices = [first[0], second[0]];
    match dataset.batch(&indices, &[0, 0], false) {
        Ok(_) => Err(Verdict::failed(format!(
            "batch({indices:?}) gives samples, which are of different buckets"
        ))),
        Err(
            error @ LoaderError::Plugin {
                code: ErrorCode::Panic,
                ..
            },
        ) => Err(error.into()),
        Err(_) => Ok(Verdict::passed("")),
    }
}
