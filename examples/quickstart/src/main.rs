//! `cargo quickstart`: builds dsl-host and the t2i plugin, and trains the model inside the plugin further, by denoising
//! score matching and by discrepancy-aware score learning, on the emoji inside it.
//!
//! Both runs start from the same weights and see the same batches. The end is a table of the two and a list of the files.

mod build;
mod summary;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

use build::{Built, Profile};
use summary::RunSummary;

const HELP: &str = "\
Builds dsl-host and the t2i plugin, then trains by both objectives from the same model

Usage: cargo quickstart [--out FOLDER] [--dev] [OPTIONS OF `dsl-host run`]

  --out FOLDER  Folder of the two runs [default: runs/quickstart; where it exists, the next number]
  --dev         Build in the dev profile: quick where the tests were built, slower to train
  --help        This text

Everything else goes to both runs: `cargo quickstart --set train.steps=20`
";

/// The two runs, by objective: name of the folder and value of `objective.kind`, which is all that differs.
const RUNS: [&str; 2] = ["dsm", "dsl"];

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.iter().any(|given| given == "--help" || given == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match Arguments::read(given).and_then(|arguments| quickstart(&arguments)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the user asked for.
#[derive(Debug, PartialEq)]
struct Arguments {
    profile: Profile,
    out: Option<PathBuf>,
    /// Goes to both runs.
    passed_on: Vec<String>,
}

impl Arguments {
    fn read(given: Vec<String>) -> Result<Self> {
        let mut read = Self {
            profile: Profile::Release,
            out: None,
            passed_on: Vec::new(),
        };
        let mut given = given.into_iter();
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--dev" => read.profile = Profile::Dev,
                "--out" => read.out = Some(given.next().context("`--out` needs a folder")?.into()),
                _ => read.passed_on.push(argument),
            }
        }
        Ok(read)
    }
}

/// Builds, runs, sums up. A run that fails has said why: its exit code is passed on.
fn quickstart(arguments: &Arguments) -> Result<ExitCode> {
    // The user's folder may be any below the workspace; what stands in the README is meant from its top.
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out)?,
        None => PathBuf::from("runs/quickstart"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::set_current_dir(&root)
        .with_context(|| format!("`{}` is not there any more", root.display()))?;
    let built = build::build(arguments.profile)?;
    // Ctrl-C reaches the run as well, which saves and ends: it is waited for.
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, interrupted.clone())?;

    let folder = free_folder(&out);
    let mut runs = Vec::new();
    for name in RUNS {
        eprintln!(
            "\n{} of {}: {name} into {}",
            runs.len() + 1,
            RUNS.len(),
            folder.join(name).display()
        );
        let out = folder.join(name);
        if let Some(code) = train(&built, &out, name, &arguments.passed_on)? {
            return Ok(code);
        }
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        runs.push(RunSummary::read(name, &out)?);
    }
    let [dsm, dsl] = runs.as_slice() else {
        bail!("there are {} runs, expected two", runs.len());
    };
    print!("\n{}", summary::text(dsm, dsl));
    println!(
        "\nMore: {} sample --run {} --prompt \"red apple\" --count 8 --out grid.png",
        built
            .host
            .strip_prefix(std::env::current_dir()?)
            .unwrap_or(&built.host)
            .display(),
        dsl.folder.display()
    );
    Ok(ExitCode::SUCCESS)
}

/// The run of one objective, its progress on this terminal. The exit code of one that failed.
fn train(
    built: &Built,
    out: &Path,
    objective: &str,
    passed_on: &[String],
) -> Result<Option<ExitCode>> {
    // The names of the files come at the end, for both runs together.
    let status = Command::new(&built.host)
        .arg("run")
        .arg("--plugin")
        .arg(&built.plugin)
        .args(["--config", "examples/quickstart/quickstart.yaml"])
        .arg("--set")
        .arg(format!("objective.kind={objective}"))
        .arg("--out")
        .arg(out)
        .args(passed_on)
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("`{}` cannot be started", built.host.display()))?;
    if status.success() {
        return Ok(None);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Some(code.map_or(ExitCode::FAILURE, ExitCode::from)))
}

/// `wanted`, or with `-2`, `-3`, … after it the first that does not exist.
fn free_folder(wanted: &Path) -> PathBuf {
    let mut folder = wanted.to_owned();
    let mut number = 2;
    while folder.exists() {
        folder = PathBuf::from(format!("{}-{number}", wanted.display()));
        number += 1;
    }
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_for_the_command_goes_to_the_runs() {
        let read =
            |given: &[&str]| Arguments::read(given.iter().map(|&given| given.to_owned()).collect());
        let arguments = read(&["--set", "train.steps=2", "--dev", "--out", "a", "-v"]).unwrap();
        assert_eq!(arguments.profile, Profile::Dev);
        assert_eq!(arguments.out, Some("a".into()));
        assert_eq!(arguments.passed_on, ["--set", "train.steps=2", "-v"]);
        assert!(read(&["--out"]).is_err());
    }

    #[test]
    fn a_folder_that_exists_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let wanted = temp.path().join("quickstart");
        assert_eq!(free_folder(&wanted), wanted);
        std::fs::create_dir(&wanted).unwrap();
        let second = temp.path().join("quickstart-2");
        assert_eq!(free_folder(&wanted), second);
        std::fs::create_dir(&second).unwrap();
        assert_eq!(free_folder(&wanted), temp.path().join("quickstart-3"));
    }
}
