//! What a check found.

use std::{fmt, path::Path};

use serde::{Deserialize, Serialize};

use crate::{Case, Status};

/// Lines of output and detail that people see of one case.
const MAX_LINES: usize = 6;

/// How one case ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CaseReport {
    /// Name of the case.
    pub case: String,
    /// The rule that it checks.
    pub rule: String,
    /// How it ended.
    pub status: Status,
    /// What was seen: one line; may be empty for a case that passed.
    pub message: String,
    /// What to do; may be empty.
    pub help: String,
    /// More for developers, such as a backtrace; may be empty.
    pub detail: String,
    /// What the plugin wrote to stdout and stderr during a case that is bad, the last lines; may be empty.
    pub output: String,
    /// How long it took, start of the process included.
    pub seconds: f64,
}

impl CaseReport {
    pub(crate) fn skipped(case: &Case, why: &str) -> Self {
        Self {
            case: case.name.to_owned(),
            rule: case.rule.to_owned(),
            status: Status::Skipped,
            message: why.to_owned(),
            help: String::new(),
            detail: String::new(),
            output: String::new(),
            seconds: 0.0,
        }
    }
}

/// How many cases ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// As it should be.
    pub passed: usize,
    /// A rule is broken.
    pub failed: usize,
    /// The plugin ended the process.
    pub crashed: usize,
    /// Did not apply.
    pub skipped: usize,
    /// Allowed, and likely not what the author wants.
    pub warning: usize,
}

/// Version of the shape of [`Report`] and [`crate::Inspection`] as JSON. It moves when a key goes or changes its meaning, not
/// when one is added.
pub const JSON_FORMAT: u32 = 1;

/// How all chosen cases ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`JSON_FORMAT`].
    pub format: u32,
    /// Path of the plugin's file; what is no text in it is replaced.
    pub plugin: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// Whether no case failed or crashed.
    pub conforms: bool,
    /// How many cases ended how.
    pub counts: Counts,
    /// The cases, in order.
    pub cases: Vec<CaseReport>,
}

impl Report {
    pub(crate) fn new(plugin: &Path, sha256: String, cases: Vec<CaseReport>) -> Self {
        let mut counts = Counts::default();
        for case in &cases {
            *match case.status {
                Status::Passed => &mut counts.passed,
                Status::Failed => &mut counts.failed,
                Status::Crashed => &mut counts.crashed,
                Status::Skipped => &mut counts.skipped,
                Status::Warning => &mut counts.warning,
            } += 1;
        }
        Self {
            format: JSON_FORMAT,
            plugin: plugin.display().to_string(),
            sha256,
            conforms: cases.iter().all(|case| !case.status.is_bad()),
            counts,
            cases,
        }
    }

    /// The report of a case, by name.
    pub fn case(&self, name: &str) -> Option<&CaseReport> {
        self.cases.iter().find(|case| case.case == name)
    }
}

/// One line, and indented below it whatever explains a case that did not pass.
impl fmt::Display for CaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7}  {}", self.status, self.case)?;
        if self.status == Status::Passed {
            if !self.message.is_empty() {
                write!(f, ": {}", self.message)?;
            }
            return Ok(());
        }
        write!(f, "\n         {}", self.message)?;
        if self.status == Status::Skipped {
            return Ok(());
        }
        write!(f, "\n         rule: {}", self.rule)?;
        if !self.help.is_empty() {
            write!(f, "\n         hint: {}", self.help)?;
        }
        for (title, text) in [("said", &self.output), ("detail", &self.detail)] {
            for line in text.lines().take(MAX_LINES) {
                write!(f, "\n         {title} | {line}")?;
            }
            let more = text.lines().count().saturating_sub(MAX_LINES);
            if more > 0 {
                write!(
                    f,
                    "\n         {title} | … {more} more lines, which the JSON has"
                )?;
            }
        }
        Ok(())
    }
}

/// The sum in one line.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} crashed, {} skipped, {} warnings",
            self.passed, self.failed, self.crashed, self.skipped, self.warning
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            writeln!(f, "{case}")?;
        }
        write!(f, "{}", self.counts)
    }
}
