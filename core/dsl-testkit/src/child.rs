//! The child's side.

use std::{env, process::exit, thread, time::Duration};

use dsl_loader::{calls_in_progress, end_process, explain_crashes};

use crate::{
    all_cases,
    case::Verdict,
    cases::resources,
    context::Context,
    digest, inspect,
    job::{JOB, Job, Question, answer},
};

/// Exit code of a child that is out of time.
pub(crate) const OUT_OF_TIME: u8 = 3;

/// Whether this process was started as a child, and has to go to [`run_child`].
pub fn is_child() -> bool {
    env::var_os(JOB).is_some()
}

/// Does what this process was started for, and ends it.
pub fn run_child() -> ! {
    let Some(job) = Job::of_this_process() else {
        eprintln!("error: {JOB} is set, and names no question of this version of dsl-testkit");
        exit(2)
    };
    // First, since the limits below may leave nothing for a thread.
    watch_time(job.clone());
    limit_memory(job.memory_limit_bytes);
    // An existing subscriber stays.
    let _ = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .try_init();
    if job.question == Question::End {
        end(&job);
    }
    explain_crashes("this is a mistake in the plugin");
    let answered = match &job.question {
        Question::Case(name) => answer(&job, &run_case(name, &job)),
        Question::Digest => answer(&job, &digest::digest(&context(&job))),
        Question::End => Ok(()),
        Question::Inspect | Question::Manifest => inspect::run(&context(&job)),
    };
    match answered {
        // Not by returning from `main`: what a plugin does when the process ends in order is a question of its own.
        Ok(()) => end_process(0),
        Err(error) => {
            eprintln!("cannot write the answer: {error}");
            end_process(2)
        }
    }
}

/// Lets the plugin work, answers, and ends this process in order.
fn end(job: &Job) -> ! {
    let verdict = resources::work(&context(job));
    let answered = answer(job, &verdict);
    exit(match answered {
        Ok(()) => 0,
        Err(_) => 2,
    })
}

fn context(job: &Job) -> Context {
    Context {
        path: job.plugin.clone(),
        config: job.config.clone(),
        soak_batches: job.soak_batches,
        job: job.clone(),
    }
}

fn run_case(name: &str, job: &Job) -> Verdict {
    let cases = all_cases();
    match cases.iter().find(|case| case.name == name) {
        Some(case) => (case.run)(&context(job)).unwrap_or_else(|verdict| verdict),
        None => Verdict::skipped("this program does not know the case"),
    }
}

/// Ends the process when it is out of time, with the call that did not come back.
fn watch_time(job: Job) {
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(job.time_limit_secs));
        let limit = job.time_limit_secs;
        let calls: Vec<String> = calls_in_progress()
            .into_iter()
            .map(|call| format!("`{}`", call.call))
            .collect();
        let message = if calls.is_empty() {
            format!("not done within {limit} s, though every call came back")
        } else {
            format!(
                "the call {} did not come back within {limit} s",
                calls.join(" and the call ")
            )
        };
        let verdict = Verdict::failed(message)
            .with_help("a call that takes long asks `Host::cancelled` from time to time");
        if matches!(job.question, Question::Inspect | Question::Manifest) {
            // The answers so far stay; this line is found in the output.
            eprintln!("\nerror: plugin hangs: {}", verdict.message);
        } else {
            let _ = answer(&job, &verdict);
        }
        end_process(OUT_OF_TIME)
    });
}

/// A plugin that asks for more fails here, and not the machine. Only what it allocates counts, not files that it maps.
/// A crash, which is an answer as others are, leaves no dump of that memory on the disk.
fn limit_memory(bytes: u64) {
    #[cfg(unix)]
    for (resource, limit) in [(rlimit::Resource::DATA, bytes), (rlimit::Resource::CORE, 0)] {
        if let Err(error) = rlimit::setrlimit(resource, limit, limit) {
            tracing::debug!("{resource:?} cannot be limited: {error}");
        }
    }
    #[cfg(not(unix))]
    let _ = bytes;
}
