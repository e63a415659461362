//! Samples as the task shows them.

use dsl_loader::{LoaderError, RgbPicture, TaskHandle};

use super::{case, evaluator::no_panic};
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::Context,
    feed::{Feed, Leave},
};

pub(super) const CASES: &[Case] = &[
    case(
        "picture-with-and-without-truth",
        "Samples of any number are shown with the truth and without it",
        truth,
    ),
    case(
        "picture-repeatable",
        "The same samples give the same picture, byte for byte",
        repeatable,
    ),
    case(
        "picture-missing-column",
        "Samples without one of their columns are shown or an error, and no panic",
        missing_column,
    ),
];

/// The task and some samples, if it has a way of its own to show them.
fn open(context: &Context) -> Result<(TaskHandle, Feed), Verdict> {
    const SAMPLES: usize = 5;
    let (_, task) = context.task()?;
    let dataset = task.dataset("train")?;
    if dataset.is_empty() {
        return Err(Verdict::skipped(
            "the split `train` is empty; `train-not-empty` speaks of that",
        ));
    }
    let feed = Feed::drawn(&dataset, &task.describe().target, SAMPLES)?;
    match picture(&task, &feed, SAMPLES, Leave::Nothing)? {
        Some(_) => Ok((task, feed)),
        None => Err(Verdict::skipped(
            "the task has no way of its own to show samples",
        )),
    }
}

/// The picture of the first samples; the loader checks its form.
fn picture(
    task: &TaskHandle,
    feed: &Feed,
    count: usize,
    leave: Leave<'_>,
) -> Result<Option<RgbPicture>, LoaderError> {
    feed.rows(0, count, leave, |samples| task.picture(samples))
        .unwrap_or(Ok(None))
}

fn truth(context: &Context) -> Outcome {
    let (task, feed) = open(context)?;
    let target = Leave::Column(&task.describe().target);
    let mut said = Vec::new();
    for count in [1, 2, 5] {
        for (leave, what) in [(Leave::Nothing, "with"), (target, "without")] {
            let Some(picture) = picture(&task, &feed, count, leave)? else {
                return Err(Verdict::failed(format!(
                    "there is no picture of {count} samples {what} the truth, and one of 5 with it"
                )));
            };
            said.push(format!("{}×{}", picture.width, picture.height));
        }
    }
    Ok(Verdict::passed(said.join(", ")))
}

fn repeatable(context: &Context) -> Outcome {
    let (task, feed) = open(context)?;
    let shown = |task: &TaskHandle| -> Result<_, Verdict> {
        let picture = picture(task, &feed, 3, Leave::Nothing)?;
        Ok(picture.map(|picture| (picture.width, picture.height, picture.bytes)))
    };
    let first = shown(&task)?;
    picture(&task, &feed, 2, Leave::Nothing)?;
    let (_, other) = context.task()?;
    if first != shown(&task)? || first != shown(&other)? {
        return Err(Verdict::failed("the same samples give another picture"));
    }
    Ok(Verdict::passed(""))
}

fn missing_column(context: &Context) -> Outcome {
    let (task, feed) = open(context)?;
    for name in feed.names() {
        no_panic(picture(&task, &feed, 2, Leave::Column(name)))?;
    }
    no_panic(picture(&task, &feed, 2, Leave::AllButMain))?;
    let main = feed.main();
    let of_nothing = [picture(&task, &feed, 2, Leave::Main), task.picture(&[])];
    for outcome in of_nothing {
        if let Ok(Some(_)) = outcome {
            return Err(Verdict::failed(format!(
                "there is a picture of samples without the column `{main}`"
            )));
        }
        if let Some(error) = no_panic(outcome)?
            && !error.to_string().contains('`')
        {
            return Ok(Verdict::warning(format!(
                "the error names no column: {error}"
            )));
        }
    }
    Ok(Verdict::passed(""))
}
