//! Runs the cases, each in a child.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use serde_json::Value;

use crate::{
    Case, CaseReport, Launcher, Report, TestkitError, all_cases,
    case::Verdict,
    digest::file_sha256,
    job::{self, Exit, Job, Question},
};

/// The case that the others build on.
pub(crate) const LOADS: &str = "loads-with-all-symbols";

/// What is checked, and how.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Only cases with this in their name.
    pub filter: Option<String>,
    /// Changes to the plugin's default configuration, which a task needs that cannot open without the user's data.
    pub config: Option<Value>,
    /// SHA-256 in hexadecimal that the file has to have; without it, the one that it has when the questions begin. A file
    /// that is another one later is refused.
    pub sha256: Option<String>,
    /// Limit for each case in seconds, in place of its own.
    pub time_limit_secs: Option<u64>,
    /// Limit for the memory that a child allocates, in bytes.
    pub memory_limit_bytes: u64,
    /// Batches of the case `memory-returned`.
    pub soak_batches: u64,
    /// Children at once.
    pub jobs: usize,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            filter: None,
            config: None,
            sha256: None,
            time_limit_secs: None,
            memory_limit_bytes: 8 << 30,
            soak_batches: 10_000,
            jobs: thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl CheckOptions {
    /// A question about the file at a canonical path.
    pub(crate) fn job(&self, file: &Asked, question: Question, time_limit_secs: u64) -> Job {
        Job {
            question,
            plugin: file.path.clone(),
            sha256: file.sha256.clone(),
            config: self.config.clone(),
            soak_batches: self.soak_batches,
            time_limit_secs: self.time_limit_secs.unwrap_or(time_limit_secs),
            memory_limit_bytes: self.memory_limit_bytes,
            folder: PathBuf::new(),
        }
    }
}

/// The file that is asked about.
pub(crate) struct Asked {
    pub(crate) path: PathBuf,
    pub(crate) sha256: String,
}

impl Asked {
    pub(crate) fn new(plugin: &Path, options: &CheckOptions) -> Result<Self, TestkitError> {
        let unreadable = |source| TestkitError::Unreadable {
            path: plugin.to_owned(),
            source,
        };
        let path = plugin.canonicalize().map_err(unreadable)?;
        let sha256 = match &options.sha256 {
            Some(sha256) => sha256.clone(),
            None => file_sha256(&path).map_err(unreadable)?,
        };
        Ok(Self { path, sha256 })
    }
}

/// Puts all chosen cases to a plugin. `heard` hears of each case as it ends, in any order; the report has them in theirs.
/// None of the plugin's code runs in this process.
///
/// # Errors
/// A file that cannot be read, a filter that no case fits, children that cannot be started.
pub fn check(
    launcher: &Launcher,
    plugin: &Path,
    options: &CheckOptions,
    heard: &(dyn Fn(&CaseReport) + Sync),
) -> Result<Report, TestkitError> {
    let file = Asked::new(plugin, options)?;
    let filter = options.filter.as_deref().unwrap_or_default();
    let cases: Vec<Case> = all_cases()
        .into_iter()
        .filter(|case| case.name.contains(filter))
        .collect();
    if cases.is_empty() {
        return Err(TestkitError::NoCase {
            filter: filter.to_owned(),
        });
    }
    let mut reports = vec![None; cases.len()];
    // A plugin that does not load would fail every other case in the same words.
    let mut first = 0;
    if cases[0].name == LOADS {
        let report = run_case(launcher, &file, options, &cases[0])?;
        heard(&report);
        let loads = !report.status.is_bad();
        reports[0] = Some(report);
        first = 1;
        if !loads {
            for (slot, case) in reports.iter_mut().zip(&cases).skip(1) {
                let report = CaseReport::skipped(case, "the plugin does not load");
                heard(&report);
                *slot = Some(report);
            }
            first = cases.len();
        }
    }
    let next = Mutex::new(first..cases.len());
    let reports: Mutex<Vec<Option<CaseReport>>> = Mutex::new(reports);
    let failure: Mutex<Option<TestkitError>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, cases.len()) {
            scope.spawn(|| {
                loop {
                    let Some(index) = lock(&next).next() else {
                        return;
                    };
                    match run_case(launcher, &file, options, &cases[index]) {
                        Ok(report) => {
                            heard(&report);
                            lock(&reports)[index] = Some(report);
                        }
                        Err(error) => {
                            *lock(&next) = 0..0;
                            *lock(&failure) = Some(error);
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = lock(&failure).take() {
        return Err(error);
    }
    let reports = std::mem::take(&mut *lock(&reports));
    Ok(Report::new(
        &file.path,
        file.sha256,
        reports.into_iter().flatten().collect(),
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run_case(
    launcher: &Launcher,
    file: &Asked,
    options: &CheckOptions,
    case: &Case,
) -> Result<CaseReport, TestkitError> {
    let job = options.job(
        file,
        Question::Case(case.name.to_owned()),
        case.time_limit_secs,
    );
    let ended = job::ask::<Verdict>(launcher, job)?;
    let end = ended.describe();
    let verdict = match (ended.answer, &ended.exit) {
        (Some(verdict), _) => verdict,
        (None, Exit::OutOfTime(_)) => Verdict::failed(end),
        (None, Exit::Status(_)) => Verdict::crashed(end)
            .with_help("in a run this ends the training, which goes on from its last checkpoint"),
    };
    Ok(CaseReport {
        case: case.name.to_owned(),
        rule: case.rule.to_owned(),
        output: if verdict.status.is_bad() {
            ended.output
        } else {
            String::new()
        },
        status: verdict.status,
        message: verdict.message,
        help: verdict.help,
        detail: verdict.detail,
        seconds: ended.seconds,
    })
}
