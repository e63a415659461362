//! Children: what they are asked, how long they are waited for, and what they answer.

mod group;
mod launcher;
mod tail;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

pub use launcher::Launcher;

use crate::TestkitError;
use group::Group;
use tail::Tail;

/// Environment variable that makes a process a child: the file with its [`Job`], in the folder that is the child's own.
pub(crate) const JOB: &str = "DSL_TESTKIT_JOB";

/// How long a child that is out of time has to say so itself, which names the call.
const GRACE: Duration = Duration::from_secs(5);
/// Lines of a child's output that are kept.
const OUTPUT_LINES: usize = 12;

/// What a child is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) question: Question,
    #[serde(with = "path_bytes")]
    pub(crate) plugin: PathBuf,
    /// SHA-256 that the plugin's file has to have.
    pub(crate) sha256: String,
    pub(crate) config: Option<Value>,
    pub(crate) soak_batches: u64,
    pub(crate) time_limit_secs: u64,
    pub(crate) memory_limit_bytes: u64,
    /// The child's own folder, which goes with it.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// A case, by name.
    Case(String),
    /// A hash of what the dataset gives.
    Digest,
    /// Whether the process ends in order after the plugin has worked.
    End,
    /// Everything that the plugin says of itself.
    Inspect,
    /// Of that, the manifest alone.
    Manifest,
}

impl Job {
    /// The job of this process, which is a child.
    pub(crate) fn of_this_process() -> Option<Self> {
        let file = PathBuf::from(env::var_os(JOB)?);
        let mut job: Self = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        job.folder = file.parent()?.to_owned();
        Some(job)
    }

    fn answer_path(&self) -> PathBuf {
        self.folder.join("answer")
    }
}

/// Paths as bytes, for those that are no text.
mod path_bytes {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_encoded_bytes().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let bytes = Vec::<u8>::deserialize(from)?;
        #[cfg(unix)]
        {
            use std::{ffi::OsString, os::unix::ffi::OsStringExt};
            Ok(OsString::from_vec(bytes).into())
        }
        #[cfg(not(unix))]
        {
            (String::from_utf8(bytes).map(PathBuf::from)).map_err(serde::de::Error::custom)
        }
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
    /// The memory limit, if it asked for more.
    exceeded_bytes: Option<u64>,
}

pub(crate) enum Exit {
    /// By itself.
    Status(ExitStatus),
    /// It was killed after this time.
    OutOfTime(Duration),
}

/// Starts a child and waits for it, no longer than it may take. Whatever it leaves behind is ended.
pub(crate) fn ask<T: DeserializeOwned>(
    launcher: &Launcher,
    mut job: Job,
) -> Result<Ended<T>, TestkitError> {
    let folder = tempfile::tempdir().map_err(TestkitError::system("make a temporary folder"))?;
    job.folder = folder.path().to_owned();
    let file = folder.path().join("job");
    let text = serde_json::to_vec(&job).map_err(io::Error::from);
    text.and_then(|text| fs::write(&file, text))
        .map_err(TestkitError::system("write a question"))?;
    let begun = Instant::now();
    let (mut child, tail) =
        start(launcher, &file).map_err(TestkitError::system("start a child process"))?;
    let group = Group::of(&child);
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
    drop(group);
    let seconds = begun.elapsed().as_secs_f64();
    let answer = fs::read(job.answer_path())
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let said = tail.text();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    // What Rust's allocator says before it aborts.
    let is_out_of_memory = lines
        .iter()
        .any(|line| line.starts_with("memory allocation of "));
    Ok(Ended {
        answer,
        exit,
        output: lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n"),
        seconds,
        exceeded_bytes: is_out_of_memory.then_some(job.memory_limit_bytes),
    })
}

fn start(launcher: &Launcher, job: &Path) -> io::Result<(std::process::Child, Tail)> {
    let (reader, writer) = io::pipe()?;
    let mut command = launcher.command();
    command
        .env(JOB, job)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    Group::prepare(&mut command);
    // The command holds ends of the pipe, which are closed with it.
    Ok((command.spawn()?, Tail::of(reader)))
}

/// Writes a child's answer, whole or not at all. A child may answer several times; the last one counts.
pub(crate) fn answer(job: &Job, value: &impl Serialize) -> io::Result<()> {
    let path = job.answer_path();
    let part = path.with_extension("part");
    fs::write(&part, serde_json::to_vec(value)?)?;
    fs::rename(part, path)
}

impl<T> Ended<T> {
    /// What is said of a child that ended without an answer, or before its last one.
    pub(crate) fn describe(&self) -> String {
        let mut text = self.describe_end();
        if let Some(limit) = self.exceeded_bytes {
            let limit = limit as f64 / 1e6;
            text.push_str(&format!(
                "; it asked for more than the memory limit, {limit:.0} MB, leaves"
            ));
        }
        text
    }

    fn describe_end(&self) -> String {
        // The message of `dsl_loader::explain_crashes` names the call.
        let explained = self
            .output
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("error: plugin "));
        if let Some(explained) = explained {
            return format!("the plugin {explained}");
        }
        match &self.exit {
            Exit::OutOfTime(after) => format!(
                "the process did not come back and was killed after {:.0} s",
                after.as_secs_f64()
            ),
            Exit::Status(status) => {
                #[cfg(unix)]
                if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(status) {
                    let why = match signal {
                        9 => ", as when memory runs out",
                        _ => "",
                    };
                    return format!("the process was ended by signal {signal}{why}");
                }
                format!("the process ended with {status} and no answer")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_the_way_to_a_child() {
        #[cfg(unix)]
        let plugin = {
            use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
            PathBuf::from(OsStr::from_bytes(b"/no text \xff/lib.so"))
        };
        #[cfg(not(unix))]
        let plugin = PathBuf::from("C:/ä/lib.dll");
        let job = Job {
            question: Question::End,
            plugin: plugin.clone(),
            sha256: "00".into(),
            config: None,
            soak_batches: 1,
            time_limit_secs: 2,
            memory_limit_bytes: 3,
            folder: PathBuf::new(),
        };
        let text = serde_json::to_vec(&job).unwrap();
        let job: Job = serde_json::from_slice(&text).unwrap();
        assert_eq!(job.plugin, plugin);
    }
}
