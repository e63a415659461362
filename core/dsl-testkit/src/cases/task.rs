//! A task and the data that it opens.

use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use dsl_loader::{ColumnRole, DType, ErrorCode, HostColumnData, LoaderError, Plugin};

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::{Context, Stopping, affordable, columns_of, seeds, some_indices, together},
};

/// A stop is honoured within this time.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// A stop in the middle of a call comes after this time.
const STOP_AFTER: Duration = Duration::from_millis(75);

pub(super) const CASES: &[Case] = &[
    case(
        "description-fits-columns",
        "In every split the target and the columns of the conditioning are there, of the kind that they need",
        description_fits,
    ),
    case(
        "splits-named",
        "The names of the splits are unique and not empty, `train` first",
        splits_named,
    ),
    case(
        "unknown-split-refused",
        "An unknown split is an error that names it, and no panic",
        unknown_split,
    ),
    case(
        "train-not-empty",
        "The split `train` has samples",
        train_not_empty,
    ),
    case(
        "columns-agree-with-batches",
        "Batches of every split have the declared columns, with the declared types and shapes",
        columns_agree,
    ),
    case(
        "same-columns-at-every-call",
        "Length and columns of a split are the same each time that it is opened",
        same_columns,
    ),
    case(
        "values-in-range",
        "Numbers are finite, and pictures lie in −1..1",
        values_in_range,
    ),
    case(
        "cancellation-honoured",
        "When the host asks for a stop, before a call or in the middle of it, opening and batches come back within 5 s, done \
         or with the code `cancelled`",
        cancellation,
    ),
    case(
        "two-tasks-at-once",
        "Two tasks of one plugin can be open at once and give the same samples",
        two_tasks,
    ),
];

fn description_fits(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    for split in task.splits() {
        task.dataset(split)?;
    }
    let description = task.describe();
    Ok(Verdict::passed(format!(
        "target `{}`, {} ways of conditioning",
        description.target,
        description.injections.len()
    )))
}

fn splits_named(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    let names: BTreeSet<_> = task.splits().iter().collect();
    if names.len() != task.splits().len() || task.splits().iter().any(String::is_empty) {
        return Err(Verdict::failed(format!(
            "expected unique names, found {:?}",
            task.splits()
        )));
    }
    if task.splits().len() == 1 {
        return Ok(Verdict::warning("there is no split beside `train`")
            .with_help("held-out samples in a split `test` let the host validate"));
    }
    Ok(Verdict::passed(task.splits().join(", ")))
}

fn unknown_split(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    let name = "no-such-split";
    match task.dataset(name) {
        Ok(_) => Err(Verdict::failed(format!(
            "there is a dataset for the split `{name}`"
        ))),
        Err(LoaderError::Plugin {
            code: ErrorCode::Panic,
            message,
            ..
        }) => Err(Verdict::failed(message)),
        Err(LoaderError::Plugin { message, .. }) if message.contains(name) => {
            Ok(Verdict::passed(""))
        }
        Err(error) => Ok(Verdict::warning(format!(
            "the error does not name the split: {error}"
        ))),
    }
}

fn train_not_empty(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    match task.dataset("train")?.len() {
        0 => Err(Verdict::failed("the split `train` is empty").with_help(
            "an empty data set is an error of `Task::open` that says where samples were looked for",
        )),
        count => Ok(Verdict::passed(format!("{count} samples"))),
    }
}

fn columns_agree(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    let mut batches = 0;
    for split in task.splits() {
        let dataset = task.dataset(split)?;
        if dataset.is_empty() {
            continue;
        }
        for most in [1, 2, 7] {
            let indices = some_indices(&dataset, most);
            for augment in [false, true] {
                // The loader compares names, types, shapes, lengths and alignment with the declaration.
                dataset.batch(&indices, &seeds(&indices, 3), augment)?;
                batches += 1;
            }
        }
    }
    Ok(Verdict::passed(format!("{batches} batches")))
}

fn same_columns(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    for split in task.splits() {
        let (first, second) = (task.dataset(split)?, task.dataset(split)?);
        if first.len() != second.len() {
            return Err(Verdict::failed(format!(
                "split `{split}` has {} samples, and then {}",
                first.len(),
                second.len()
            )));
        }
        if first.columns() != second.columns() {
            return Err(Verdict::failed(format!(
                "the columns of split `{split}` change"
            )));
        }
    }
    Ok(Verdict::passed(""))
}

fn values_in_range(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    for split in task.splits() {
        let dataset = task.dataset(split)?;
        if dataset.is_empty() {
            continue;
        }
        let indices = some_indices(&dataset, 32);
        for augment in [false, true] {
            let columns = dataset.batch(&indices, &seeds(&indices, 5), augment)?;
            for column in &columns {
                let HostColumnData::Tensor(tensor) = &column.data else {
                    continue;
                };
                let Some(values) = tensor.as_f32() else {
                    continue;
                };
                let name = &column.name;
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    return Err(Verdict::failed(format!(
                        "column `{name}` of split `{split}` has the value {value}"
                    )));
                }
                let is_picture = (dataset.columns().iter()).any(|spec| {
                    spec.name == *name && spec.role == ColumnRole::Image && spec.dtype == DType::F32
                });
                let out = values.iter().find(|value| value.abs() > 1.0001);
                if let Some(value) = out.filter(|_| is_picture) {
                    return Err(Verdict::failed(format!(
                        "picture `{name}` of split `{split}` has the value {value}, expected −1..1"
                    )));
                }
            }
        }
    }
    Ok(Verdict::passed(""))
}

fn cancellation(context: &Context) -> Outcome {
    let host = context.host();
    let plugin = Plugin::open(context.path(), host.clone())?;
    let config = context.config(&plugin)?;
    let task = plugin.open_task(&config)?;
    let dataset = task.dataset("train")?;
    if dataset.is_empty() {
        return Ok(Verdict::skipped("the split `train` is empty"));
    }
    let count = affordable(&dataset, 4096)?;
    let together = together(&dataset);
    let indices: Vec<u64> = (0..count as u64).map(|place| together.at(place)).collect();
    let what = format!("a batch of {count}");
    let mut said = Vec::new();
    let mut late = false;
    for after in [Duration::ZERO, STOP_AFTER] {
        let batch = stopped(&host, after, || {
            dataset.batch(&indices, &seeds(&indices, 0), true).map(drop)
        })?;
        let open = stopped(&host, after, || plugin.open_task(&config).map(drop))?;
        let when = match after {
            Duration::ZERO => "before",
            _ => "meanwhile",
        };
        for (name, (end, took)) in [(what.as_str(), batch), ("opening", open)] {
            late |= took > STOP_LIMIT;
            let seconds = took.as_secs_f64();
            said.push(format!("{name} {end} {seconds:.1} s after a stop {when}"));
        }
    }
    let message = said.join(", ");
    if late {
        return Err(Verdict::failed(message).with_help(
            "ask `Host::cancelled` between samples, and end with `PluginError::cancelled`",
        ));
    }
    Ok(Verdict::passed(message))
}

/// Makes a call, asks for a stop some time after it began, and says how it ended and how long that took from the stop on.
fn stopped(
    host: &Stopping,
    after: Duration,
    call: impl FnOnce() -> Result<(), LoaderError>,
) -> Result<(&'static str, Duration), Verdict> {
    let stop = || {
        host.stop.store(true, Ordering::SeqCst);
        Instant::now()
    };
    let (outcome, took) = std::thread::scope(|scope| {
        let early = after.is_zero().then(stop);
        let later = early.is_none().then(|| {
            scope.spawn(|| {
                std::thread::sleep(after);
                stop()
            })
        });
        let outcome = call();
        let ended = Instant::now();
        let late = later.and_then(|thread| thread.join().ok());
        let took =
            (early.or(late)).map_or(Duration::ZERO, |stop| ended.saturating_duration_since(stop));
        (outcome, took)
    });
    host.stop.store(false, Ordering::SeqCst);
    match outcome {
        Ok(()) => Ok(("done", took)),
        Err(error) if error.is_cancelled() => Ok(("stopped", took)),
        Err(error) => Err(error.into()),
    }
}

fn two_tasks(context: &Context) -> Outcome {
    let plugin = context.plugin()?;
    let config = context.config(&plugin)?;
    let (first, second) = (plugin.open_task(&config)?, plugin.open_task(&config)?);
    let (first, second) = (first.dataset("train")?, second.dataset("train")?);
    if first.is_empty() {
        return Ok(Verdict::skipped("the split `train` is empty"));
    }
    let indices = some_indices(&first, 4);
    let of = |dataset: &dsl_loader::DatasetHandle| {
        let columns = dataset.batch(&indices, &seeds(&indices, 2), true)?;
        Ok::<_, LoaderError>(crate::context::rows(&columns_of(dataset), &columns))
    };
    match crate::context::first_difference(&indices, &of(&first)?, &of(&second)?) {
        None => Ok(Verdict::passed("")),
        Some(difference) => Err(Verdict::failed(difference)),
    }
}
