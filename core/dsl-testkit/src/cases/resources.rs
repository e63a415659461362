//! What is used, and given back.

use std::time::{Duration, Instant};

use super::case;
use crate::{
    Case, Launcher,
    case::{Outcome, Verdict},
    child::OUT_OF_TIME,
    context::{Context, bytes_of, sample_bytes, seeds, some_indices, together},
    job::{self, Exit, Job, Question},
    listen::listen,
};

/// Growth that the allocator may take, and caches: a twentieth of what batches held, between these two.
const GROWTH_BYTES: std::ops::RangeInclusive<u64> = 8 << 20..=48 << 20;
/// What is forgotten has to show: batches are made so large that together they hold this much.
const MOVED_BYTES: u64 = 32 << 20;
/// The soak ends after this time, with fewer batches.
const SOAK_LIMIT: Duration = Duration::from_secs(60);
/// How long a process may take to end, all that it does before included.
const END_LIMIT_SECS: u64 = 10;
/// Batches before memory is measured for the first time.
const WARM_UP: u64 = 500;

pub(super) const CASES: &[Case] = &[
    Case {
        time_limit_secs: 150,
        ..case(
            "memory-returned",
            "10,000 batches leave nothing behind, once caches are full: at most 5 % of their bytes, and 8 to 48 MB in any case",
            memory,
        )
    },
    case(
        "open-and-close",
        "Opening and closing a task again and again leaves no threads or files behind",
        open_and_close,
    ),
    case(
        "ends-quietly",
        "A process that has used the plugin ends in order and within 10 s",
        ends_quietly,
    ),
    case(
        "no-errors-logged",
        "Opening a task, a batch, an evaluator and releasing all of them logs no error; a panic while something is \
         released is only logged",
        no_errors_logged,
    ),
];

/// Memory of this process that lies in RAM, in bytes.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn memory(context: &Context) -> Outcome {
    let dataset = context.train()?;
    let sample = sample_bytes(&dataset)?;
    let size = (MOVED_BYTES / sample / context.soak_batches.max(1)).clamp(2, 4096);
    let together = together(&dataset);
    let begun = Instant::now();
    let (mut done, mut moved) = (0, 0);
    let mut batches = |count: u64| -> Result<(), Verdict> {
        for number in 0..count {
            let indices: Vec<u64> = (0..size)
                .map(|place| together.at(number * size + place))
                .collect();
            let columns = dataset.batch(&indices, &seeds(&indices, number), true)?;
            moved += bytes_of(&columns);
            done += 1;
            if begun.elapsed() > SOAK_LIMIT {
                break;
            }
        }
        Ok(())
    };
    batches(WARM_UP.min(context.soak_batches))?;
    let mut readings = Vec::new();
    for part in 0..5 {
        if part > 0 {
            batches(context.soak_batches / 4)?;
        }
        let Some(reading) = resident_bytes() else {
            return Ok(Verdict::skipped(
                "this system does not tell the memory of a process",
            ));
        };
        readings.push(reading);
    }
    // Twice the second half: what fills up and then stays is no leak.
    let growth = 2 * readings[4].saturating_sub(readings[2]);
    let limit = (moved / 20).clamp(*GROWTH_BYTES.start(), *GROWTH_BYTES.end());
    let [growth_mb, limit_mb, moved_mb] = [growth, limit, moved].map(|bytes| bytes as f64 / 1e6);
    let message = format!(
        "{growth_mb:.1} MB more after {done} batches of {size} samples, {moved_mb:.0} MB in all; the limit is {limit_mb:.1} MB"
    );
    if growth > limit {
        return Err(Verdict::failed(message)
            .with_help("release what belongs to a batch with the batch, and bound caches"));
    }
    if moved < MOVED_BYTES / 2 {
        return Ok(Verdict::warning(format!("{message}; then time was up")));
    }
    Ok(Verdict::passed(message))
}

/// Opens a task, makes a batch and releases both: what a process has behind it when it ends.
pub(crate) fn work(context: &Context) -> Verdict {
    let work = || -> Outcome {
        let dataset = context.train()?;
        dataset.batch(&[0], &[0], true)?;
        Ok(Verdict::passed(""))
    };
    work().unwrap_or_else(|verdict| verdict)
}

fn ends_quietly(context: &Context) -> Outcome {
    let unable = |error: crate::TestkitError| Verdict::skipped(error.to_string());
    // The case itself has to be there for the answer.
    let limit = (context.job.time_limit_secs / 2).clamp(1, END_LIMIT_SECS);
    let job = Job {
        question: Question::End,
        time_limit_secs: limit,
        ..context.job.clone()
    };
    let launcher = Launcher::like_this_process().map_err(unable)?;
    let ended = job::ask::<Verdict>(&launcher, job).map_err(unable)?;
    let end = ended.describe();
    let hangs = match &ended.exit {
        Exit::OutOfTime(_) => true,
        Exit::Status(status) => status.code() == Some(OUT_OF_TIME.into()),
    };
    let help = "`atexit` and destructors of the library are no place for work: do it when the task is released";
    match (ended.answer, ended.exit) {
        (Some(verdict), Exit::Status(status)) if status.success() => {
            match verdict.status.is_bad() {
                true => Err(verdict),
                false => Ok(verdict),
            }
        }
        _ if hangs => Err(Verdict::failed(format!(
            "the process did not end within {limit} s, when all was done"
        ))
        .with_help(help)),
        _ => Err(Verdict::crashed(format!("when all was done, {end}")).with_help(help)),
    }
}

fn open_and_close(context: &Context) -> Outcome {
    let count = |folder: &str| std::fs::read_dir(folder).ok().map(Iterator::count);
    let plugin = context.plugin()?;
    let config = context.config(&plugin)?;
    let turn = || -> Result<(), Verdict> {
        let task = plugin.open_task(&config)?;
        let dataset = task.dataset("train")?;
        if !dataset.is_empty() {
            let indices = some_indices(&dataset, 2);
            dataset.batch(&indices, &seeds(&indices, 0), true)?;
        }
        Ok(())
    };
    turn()?;
    let (Some(threads), Some(files)) = (count("/proc/self/task"), count("/proc/self/fd")) else {
        return Ok(Verdict::skipped(
            "this system does not count threads and files",
        ));
    };
    for _ in 0..5 {
        turn()?;
    }
    let (threads_after, files_after) = (
        count("/proc/self/task").unwrap_or(threads),
        count("/proc/self/fd").unwrap_or(files),
    );
    // One more may be a pool that was started late; one for each turn is a leak.
    if threads_after >= threads + 5 || files_after >= files + 5 {
        return Err(Verdict::failed(format!(
            "after 5 more tasks threads went from {threads} to {threads_after}, files from {files} to {files_after}"
        )));
    }
    Ok(Verdict::passed(""))
}

fn no_errors_logged(context: &Context) -> Outcome {
    let (result, said) = listen(tracing::Level::ERROR, || -> Result<(), Verdict> {
        let (_, task) = context.task()?;
        let dataset = task.dataset("train")?;
        if !dataset.is_empty() {
            dataset.batch(&[0], &[0], true)?;
        }
        task.evaluator()?;
        Ok(())
    });
    result?;
    match said.lines().next() {
        None => Ok(Verdict::passed("")),
        Some(line) => Err(Verdict::failed(line.trim())),
    }
}
