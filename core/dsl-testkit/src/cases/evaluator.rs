//! The evaluator, fed as the host feeds it.

use std::collections::BTreeSet;

use dsl_loader::{
    ErrorCode, EvaluatorHandle, HostArtefact, LoaderError, MetricValue, Requirements, TaskHandle,
};

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::Context,
    feed::{Feed, Leave},
};

const MANY: usize = 96;

pub(super) const CASES: &[Case] = &[
    case(
        "evaluator-requirements",
        "The evaluator asks for a number of samples above 0, of a split that exists",
        requirements,
    ),
    case(
        "evaluator-without-samples",
        "An evaluation without any sample ends with metrics or an error, and no panic",
        without_samples,
    ),
    case(
        "evaluator-one-sample",
        "An evaluation of one sample works",
        one_sample,
    ),
    case(
        "evaluator-many-samples",
        "An evaluation of several batches of different size works; of predictions also without a discriminator",
        many_samples,
    ),
    case(
        "evaluator-as-new-after-finish",
        "After `finish` the evaluator is as new: the same samples give the same metrics",
        as_new,
    ),
    case(
        "evaluator-batches-add-up",
        "One batch and the same samples in several batches give the same metrics, up to rounding",
        batches_add_up,
    ),
    case(
        "metrics-finite-with-directions",
        "Metrics have unique names and are finite when there are samples",
        metrics_finite,
    ),
    case(
        "artefacts-well-formed",
        "Artefacts have plain, unique file names, and their content is what their media type says",
        artefacts,
    ),
    case(
        "evaluator-missing-column",
        "A batch without a column that the evaluator needs is an error, and no panic",
        missing_column,
    ),
];

fn open(context: &Context) -> Result<(TaskHandle, EvaluatorHandle), Verdict> {
    let (_, task) = context.task()?;
    match task.evaluator()? {
        Some(evaluator) => Ok((task, evaluator)),
        None => Err(Verdict::skipped("the task has no evaluator")),
    }
}

fn requirements(context: &Context) -> Outcome {
    let (task, evaluator) = open(context)?;
    let (what, split, count) = match evaluator.requirements() {
        Requirements::NoisePredictions { split, count } => ("noised", split, count),
        Requirements::Samples { split, count } => ("drawn", split, count),
    };
    if !task.splits().contains(split) {
        return Err(Verdict::failed(format!(
            "the evaluator wants the split `{split}`; there are {:?}",
            task.splits()
        )));
    }
    if *count == 0 {
        return Err(Verdict::failed("the evaluator wants 0 samples"));
    }
    Ok(Verdict::passed(format!(
        "{count} {what} samples of `{split}`"
    )))
}

/// The error of a call that may fail, but not by a panic or a broken contract of the boundary.
pub(super) fn no_panic<T>(outcome: Result<T, LoaderError>) -> Result<Option<LoaderError>, Verdict> {
    match outcome {
        Ok(_) => Ok(None),
        Err(
            error @ LoaderError::Plugin {
                code: ErrorCode::Panic,
                ..
            },
        ) => Err(error.into()),
        Err(error @ LoaderError::Contract { .. }) => Err(error.into()),
        Err(error) => Ok(Some(error)),
    }
}

fn without_samples(context: &Context) -> Outcome {
    let (_, mut evaluator) = open(context)?;
    match evaluator.finish() {
        Ok((metrics, _)) => {
            let odd: Vec<_> = (metrics.iter())
                .filter(|metric| !metric.value.is_finite())
                .map(|metric| format!("`{}` is {}", metric.name, metric.value))
                .collect();
            if odd.is_empty() {
                Ok(Verdict::passed(""))
            } else {
                Ok(
                    Verdict::warning(format!("without samples {}", odd.join(", ")))
                        .with_help("leave out metrics that cannot be"),
                )
            }
        }
        Err(error) => {
            no_panic::<()>(Err(error))?;
            Ok(Verdict::passed("an error"))
        }
    }
}

fn one_sample(context: &Context) -> Outcome {
    let (task, mut evaluator) = open(context)?;
    Feed::new(&task, &evaluator, 1)?.feed(&mut evaluator, 0, 1, Leave::Nothing)?;
    let (metrics, _) = evaluator.finish()?;
    Ok(Verdict::passed(format!("{} metrics", metrics.len())))
}

/// Feeds the same samples in batches that end at these places.
fn evaluate(
    feed: &Feed,
    evaluator: &mut EvaluatorHandle,
    ends: &[usize],
    leave: Leave<'_>,
) -> Result<(Vec<MetricValue>, Vec<HostArtefact>), LoaderError> {
    let mut from = 0;
    for &to in ends {
        feed.feed(evaluator, from, to, leave)?;
        from = to;
    }
    evaluator.finish()
}

fn many_samples(context: &Context) -> Outcome {
    let (task, mut evaluator) = open(context)?;
    let feed = Feed::new(&task, &evaluator, MANY)?;
    let (both, _) = evaluate(&feed, &mut evaluator, &[1, 33, MANY], Leave::Nothing)?;
    let (one, _) = evaluate(&feed, &mut evaluator, &[64, MANY], Leave::Discriminator)?;
    if one.is_empty() {
        return Ok(Verdict::warning(
            "without a discriminator, as with the objective DSM, there is no metric at all",
        ));
    }
    Ok(Verdict::passed(format!(
        "{} metrics, {} without a discriminator",
        both.len(),
        one.len()
    )))
}

fn compare(first: &[MetricValue], second: &[MetricValue], tolerance: f64) -> Result<(), Verdict> {
    let names = |metrics: &[MetricValue]| -> Vec<String> {
        metrics.iter().map(|metric| metric.name.clone()).collect()
    };
    if names(first) != names(second) {
        return Err(Verdict::failed(format!(
            "first the metrics {:?}, then {:?}",
            names(first),
            names(second)
        )));
    }
    for (left, right) in first.iter().zip(second) {
        let close = (left.value - right.value).abs() <= tolerance * left.value.abs().max(1e-3);
        if !(close || left.value.is_nan() && right.value.is_nan()) {
            return Err(Verdict::failed(format!(
                "`{}` is first {} and then {}",
                left.name, left.value, right.value
            )));
        }
    }
    Ok(())
}

fn as_new(context: &Context) -> Outcome {
    let (task, mut evaluator) = open(context)?;
    let feed = Feed::new(&task, &evaluator, MANY)?;
    let ends = [17, MANY];
    let (first, _) = evaluate(&feed, &mut evaluator, &ends, Leave::Nothing)?;
    let (second, _) = evaluate(&feed, &mut evaluator, &ends, Leave::Nothing)?;
    compare(&first, &second, 0.0)?;
    Ok(Verdict::passed(""))
}

fn batches_add_up(context: &Context) -> Outcome {
    let (task, mut evaluator) = open(context)?;
    let feed = Feed::new(&task, &evaluator, MANY)?;
    let (first, _) = evaluate(&feed, &mut evaluator, &[MANY], Leave::Nothing)?;
    let (second, _) = evaluate(&feed, &mut evaluator, &[1, 2, 50, MANY], Leave::Nothing)?;
    compare(&first, &second, 1e-3)
        .map_err(|verdict| verdict.with_help("weight each sample alike, and not each batch"))?;
    Ok(Verdict::passed(""))
}

fn metrics_finite(context: &Context) -> Outcome {
    let (task, mut evaluator) = open(context)?;
    let feed = Feed::new(&task, &evaluator, MANY)?;
    let (metrics, _) = evaluate(&feed, &mut evaluator, &[MANY], Leave::Nothing)?;
    if metrics.is_empty() {
        return Err(Verdict::failed("there are no metrics"));
    }
    let names: BTreeSet<_> = metrics.iter().map(|metric| &metric.name).collect();
    if names.len() != metrics.len() || names.iter().any(|name| name.is_empty()) {
        return Err(Verdict::failed(format!(
            "expected unique names, found {names:?}"
        )));
    }
    if let Some(metric) = metrics.iter().find(|metric| !metric.value.is_finite()) {
        return Err(Verdict::failed(format!(
            "`{}` is {}",
            metric.name, metric.value
        )));
    }
    let list: Vec<_> = (metrics.iter())
        .map(|metric| {
            let arrow = match metric.direction {
                dsl_loader::Direction::LowerIsBetter => "↓",
                dsl_loader::Direction::HigherIsBetter => "↑",
            };
            format!("{} {arrow}", metric.name)
        })
        .collect();
    Ok(Verdict::passed(list.join(", ")))
}

fn artefacts(context: &Context) -> Outcome {
    let (task, mut evaluator) = open(context)?;
    let feed = Feed::new(&task, &evaluator, MANY)?;
    // The loader checks names and media types.
    let (_, artefacts) = evaluate(&feed, &mut evaluator, &[MANY], Leave::Nothing)?;
    for artefact in &artefacts {
        let bytes = &artefact.bytes[..];
        let fits = match artefact.media_type.as_str() {
            "image/png" => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
            "image/jpeg" => bytes.starts_with(b"\xff\xd8\xff"),
            "application/json" => serde_json::from_slice::<serde_json::Value>(bytes).is_ok(),
            text if text.starts_with("text/") => std::str::from_utf8(bytes).is_ok(),
            _ => true,
        };
        if !fits {
            return Err(Verdict::failed(format!(
                "the content of `{}` is not {}",
                artefact.name, artefact.media_type
            )));
        }
    }
    match artefacts.len() {
        0 => Ok(Verdict::skipped("the evaluator makes no artefacts")),
        count => Ok(Verdict::passed(format!("{count} files"))),
    }
}

fn missing_column(context: &Context) -> Outcome {
    let (task, mut evaluator) = open(context)?;
    let feed = Feed::new(&task, &evaluator, 4)?;
    let main = feed.main();
    // The others first, for a panic; what is said of this one counts.
    for name in feed.names() {
        no_panic(feed.feed(&mut evaluator, 0, 4, Leave::Column(name)))?;
    }
    let outcome = feed.feed(&mut evaluator, 0, 4, Leave::Main);
    match no_panic(outcome)? {
        Some(error) if !error.to_string().contains(main) => Ok(Verdict::warning(format!(
            "the error does not name the column `{main}`: {error}"
        ))),
        Some(_) => Ok(Verdict::passed("")),
        None => Ok(Verdict::skipped(format!(
            "the evaluator does not need the column `{main}`"
        ))),
    }
}
