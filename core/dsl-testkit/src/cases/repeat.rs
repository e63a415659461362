//! A sample depends on its index and its seed alone.

use dsl_loader::{DatasetHandle, LoaderError};

use super::case;
use crate::{
    Case, Launcher,
    case::{Outcome, Verdict},
    context::{Context, columns_of, first_difference, rows, seeds, some_indices, together},
    digest,
    job::{self, Job, Question},
};

type Rows = Vec<(String, Vec<Vec<u8>>)>;

const HELP: &str =
    "a sample depends on its index and its seed alone: draw all its randomness from its seed";

pub(super) const CASES: &[Case] = &[
    case(
        "batch-is-concatenation",
        "batch([3, 5]) equals batch([3]) followed by batch([5])",
        concatenation,
    ),
    case(
        "any-order-and-repetition",
        "Indices may come in any order and more than once, and the samples come in that order",
        order,
    ),
    case(
        "same-at-every-call",
        "The same request gives the same batch, also after other requests",
        every_call,
    ),
    case(
        "same-across-threads",
        "Batches asked for on several threads at once equal those of one thread",
        threads,
    ),
    case(
        "same-across-processes",
        "Another process gives the same samples",
        processes,
    ),
    case(
        "seeds-unused-without-augment",
        "With augment off, seeds change nothing",
        seeds_unused,
    ),
    case(
        "seeds-change-augmented-samples",
        "With augment on, other seeds give other samples, where the plugin uses randomness at all",
        seeds_change,
    ),
];

fn ask(
    dataset: &DatasetHandle,
    indices: &[u64],
    salt: u64,
    augment: bool,
) -> Result<Rows, LoaderError> {
    let columns = dataset.batch(indices, &seeds(indices, salt), augment)?;
    Ok(rows(&columns_of(dataset), &columns))
}

fn equal(indices: &[u64], first: &Rows, second: &Rows, what: &str) -> Result<(), Verdict> {
    match first_difference(indices, first, second) {
        None => Ok(()),
        Some(difference) => Err(Verdict::failed(format!("{what}: {difference}")).with_help(HELP)),
    }
}

/// Batches of one, joined.
fn one_by_one(
    dataset: &DatasetHandle,
    indices: &[u64],
    augment: bool,
) -> Result<Rows, LoaderError> {
    let mut joined: Rows = Vec::new();
    for index in indices {
        for (place, (name, rows)) in ask(dataset, &[*index], 0, augment)?.into_iter().enumerate() {
            match joined.get_mut(place) {
                Some((_, all)) => all.extend(rows),
                None => joined.push((name, rows)),
            }
        }
    }
    Ok(joined)
}

fn concatenation(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let indices = some_indices(&dataset, 6);
    for augment in [false, true] {
        let together = ask(&dataset, &indices, 0, augment)?;
        let alone = one_by_one(&dataset, &indices, augment)?;
        let what = format!("batch({indices:?}) and its parts, augment {augment}");
        equal(&indices, &together, &alone, &what)?;
    }
    Ok(Verdict::passed(format!("{} samples", indices.len())))
}

fn order(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let together = together(&dataset);
    let last = together.len() - 1;
    let indices = [last, 0, last, last.min(1), 0].map(|place| together.at(place));
    let together = ask(&dataset, &indices, 0, true)?;
    let alone = one_by_one(&dataset, &indices, true)?;
    equal(
        &indices,
        &together,
        &alone,
        &format!("batch({indices:?}) and its parts"),
    )?;
    Ok(Verdict::passed(""))
}

fn every_call(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let indices = some_indices(&dataset, 4);
    let first = ask(&dataset, &indices, 0, true)?;
    for salt in 1..4 {
        ask(&dataset, &some_indices(&dataset, 9), salt, true)?;
    }
    let again = ask(&dataset, &indices, 0, true)?;
    equal(&indices, &first, &again, "the second time")?;
    Ok(Verdict::passed(""))
}

fn threads(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let indices = some_indices(&dataset, 24);
    let requests: Vec<&[u64]> = indices.chunks(3).collect();
    let expected: Vec<Rows> = requests
        .iter()
        .map(|request| ask(&dataset, request, 0, true))
        .collect::<Result<_, _>>()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (dataset, requests, expected) = (&dataset, &requests, &expected);
                scope.spawn(move || -> Result<(), Verdict> {
                    for round in 0..4 * requests.len() {
                        let place = (round + 2 * thread) % requests.len();
                        let found = ask(dataset, requests[place], 0, true)?;
                        equal(
                            requests[place],
                            &expected[place],
                            &found,
                            "on several threads",
                        )?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => return Err(Verdict::failed("a thread of the check panicked")),
            }
        }
        Ok(())
    })?;
    Ok(Verdict::passed("4 threads"))
}

fn processes(context: &Context) -> Outcome {
    let here = digest::digest(context);
    if here.status.is_bad() {
        return Err(here);
    }
    let unable = |error: crate::TestkitError| Verdict::skipped(error.to_string());
    let job = Job {
        question: Question::Digest,
        ..context.job.clone()
    };
    let launcher = Launcher::like_this_process().map_err(unable)?;
    let ended = job::ask::<Verdict>(&launcher, job).map_err(unable)?;
    let end = ended.describe();
    match ended.answer {
        Some(there) if there.status.is_bad() => Err(there),
        Some(there) if there.message == here.message => Ok(Verdict::passed("")),
        Some(_) => Err(Verdict::failed(
            "another process gives other samples for the same indices and seeds",
        )
        .with_help(
            "hash maps in the order of their keys, times and addresses differ between processes",
        )),
        None => Err(Verdict::crashed(end)),
    }
}

fn seeds_unused(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let indices = some_indices(&dataset, 6);
    let (first, second) = (
        ask(&dataset, &indices, 0, false)?,
        ask(&dataset, &indices, 99, false)?,
    );
    equal(&indices, &first, &second, "other seeds, augment off")?;
    Ok(Verdict::passed(""))
}

fn seeds_change(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let indices = some_indices(&dataset, 16);
    let first = ask(&dataset, &indices, 0, true)?;
    for salt in 1..8 {
        if first_difference(&indices, &first, &ask(&dataset, &indices, salt, true)?).is_some() {
            return Ok(Verdict::passed(""));
        }
    }
    Ok(Verdict::skipped(
        "no sample changes with its seed in this configuration",
    ))
}
