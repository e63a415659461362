//! What is used, and given back.

use std::time::{Duration, Instant};

use super::case;
use crate::{
    Case,
    case::{Outcome, Verdict},
    context::{Context, seeds, some_indices},
    listen::listen,
};

/// Growth that caches and the allocator may take.
const MAX_GROWTH_BYTES: u64 = 48 << 20;
/// The soak ends after this time, with fewer batches.
const SOAK_LIMIT: Duration = Duration::from_secs(60);
/// Batches before memory is measured for the first time.
const WARM_UP: u64 = 500;

pub(super) const CASES: &[Case] = &[
    Case {
        time_limit_secs: 150,
        ..case(
            "memory-returned",
            "10,000 batches leave no more than 48 MB behind",
            memory,
        )
    },
    case(
        "open-and-close",
        "Opening and closing a task again and again leaves no threads or files behind",
        open_and_close,
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
    let begun = Instant::now();
    let mut done = 0;
    let batches = |count: u64, done: &mut u64| -> Result<(), Verdict> {
        for number in 0..count {
            let first = number * 2 % dataset.len();
            let indices = [first, (first + 1) % dataset.len()];
            dataset.batch(&indices, &seeds(&indices, number), true)?;
            *done += 1;
            if begun.elapsed() > SOAK_LIMIT {
                break;
            }
        }
        Ok(())
    };
    batches(WARM_UP.min(context.soak_batches), &mut done)?;
    let Some(before) = resident_bytes() else {
        return Ok(Verdict::skipped(
            "this system does not tell the memory of a process",
        ));
    };
    batches(context.soak_batches, &mut done)?;
    let after = resident_bytes().unwrap_or(before);
    let growth = after.saturating_sub(before);
    let message = format!("{:.1} MB more after {done} batches", growth as f64 / 1e6);
    if growth > MAX_GROWTH_BYTES {
        return Err(Verdict::failed(message)
            .with_help("release what belongs to a batch with the batch, and bound caches"));
    }
    if done < context.soak_batches {
        return Ok(Verdict::warning(format!("{message}, then time was up")));
    }
    Ok(Verdict::passed(message))
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
