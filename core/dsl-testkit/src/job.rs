//! Children: how they are started, what they are asked, and what they answer.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::TestkitError;

/// Environment variable that makes a process a child, with its [`Job`] as JSON.
pub(crate) const JOB: &str = "DSL_TESTKIT_JOB";

/// How long a child that is out of time has to say so itself, which names the call.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of a child's output that are kept.
const OUTPUT_LINES: usize = 12;

/// What a child is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) question: Question,
    pub(crate) plugin: PathBuf,
    pub(crate) config: Option<Value>,
    pub(crate) soak_batches: u64,
    pub(crate) time_limit_secs: u64,
    pub(crate) memory_limit_bytes: u64,
    /// File for the answer.
    pub(crate) answer: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// A case, by name.
    Case(String),
    /// A hash of what the dataset gives.
    Digest,
    /// Everything that the plugin says of itself.
    Inspect,
    /// Of that, the manifest alone.
    Manifest,
}

/// How this program is started again, to be a child.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Launcher {
    /// This program with these arguments. With them it has to come to [`crate::run_child`], and to do nothing else
    /// before that would write to stdout or load a plugin.
    ///
    /// # Errors
    /// A system that does not tell where the program lies.
    pub fn this_program<A: Into<OsString>>(
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self, TestkitError> {
        Ok(Self {
            program: env::current_exe().map_err(TestkitError::system("find this program"))?,
            arguments: arguments.into_iter().map(Into::into).collect(),
        })
    }

    /// Another program with these arguments, under the same conditions; such as `env`, which sets a variable and goes on
    /// with this one.
    pub fn of<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
        }
    }

    /// As this process was started: for children that start children.
    pub(crate) fn like_this_process() -> Result<Self, TestkitError> {
        Self::this_program(env::args_os().skip(1))
    }
}

/// How a child ended.
pub(crate) struct Ended<T> {
    /// Its last answer, if it gave one.
    pub(crate) answer: Option<T>,
    pub(crate) exit: Exit,
    /// The last lines that it wrote.
    pub(crate) output: String,
    pub(crate) seconds: f64,
}

pub(crate) enum Exit {
    /// By itself.
    Status(ExitStatus),
    /// It was killed after this time.
    OutOfTime(Duration),
}

/// Starts a child and waits for it, no longer than it may take.
pub(crate) fn ask<T: DeserializeOwned>(
    launcher: &Launcher,
    mut job: Job,
) -> Result<Ended<T>, TestkitError> {
    let folder = tempfile::tempdir().map_err(TestkitError::system("make a temporary folder"))?;
    let output = folder.path().join("output");
    job.answer = folder.path().join("answer");
    let open = |path: &Path| {
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(TestkitError::system("make a temporary file"))
    };
    let text = serde_json::to_string(&job)
        .map_err(std::io::Error::from)
        .map_err(TestkitError::system("write a question"))?;
    let begun = Instant::now();
    let mut child = Command::new(&launcher.program)
        .args(&launcher.arguments)
        .env(JOB, text)
        .stdin(Stdio::null())
        .stdout(open(&output)?)
        .stderr(open(&output)?)
        .spawn()
        .map_err(TestkitError::system("start a child process"))?;
    let limit = Duration::from_secs(job.time_limit_secs) + GRACE;
    let mut pause = Duration::from_micros(500);
    let exit = loop {
        if let Some(status) = child
            .try_wait()
            .map_err(TestkitError::system("wait for a child process"))?
        {
            break Exit::Status(status);
        }
        if begun.elapsed() > limit {
            // It may end in this very moment: either is fine.
            let _ = child.kill();
            let _ = child.wait();
            break Exit::OutOfTime(begun.elapsed());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    };
    let seconds = begun.elapsed().as_secs_f64();
    let answer = fs::read(&job.answer)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let said = fs::read(&output).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let output = lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n");
    Ok(Ended {
        answer,
        exit,
        output,
        seconds,
    })
}

/// Writes a child's answer, whole or not at all. A child may answer several times; the last one counts.
pub(crate) fn answer(job: &Job, value: &impl Serialize) -> std::io::Result<()> {
    let part = job.answer.with_extension("part");
    fs::write(&part, serde_json::to_vec(value)?)?;
    fs::rename(part, &job.answer)
}

/// What is said of a child that ended without an answer, or before its last one.
pub(crate) fn describe_end(exit: &Exit, output: &str) -> String {
    // The message of `dsl_loader::explain_crashes` names the call.
    let explained = output
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("error: plugin "));
    if let Some(explained) = explained {
        return format!("the plugin {explained}");
    }
    match exit {
        Exit::OutOfTime(after) => format!(
            "the process did not come back and was killed after {:.0} s",
            after.as_secs_f64()
        ),
        Exit::Status(status) => {
            #[cfg(unix)]
            if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(status) {
                let why = match signal {
                    9 => ", as when memory runs out",
                    7 | 11 => ", a wrong memory access, perhaps to memory that the plugin lent",
                    _ => "",
                };
                return format!("the process was ended by signal {signal}{why}");
            }
            format!("the process ended with {status} and no answer")
        }
    }
}
