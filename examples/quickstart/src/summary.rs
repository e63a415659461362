//! What the two runs gave, side by side, whichever way it fell.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// Name of the error of a run's generator on pictures that it was not trained on.
const GENERATOR: &str = "validation/err/generator";
/// The same of the discriminator.
const DISCRIMINATOR: &str = "validation/err/discriminator";
/// Errors closer than this share of their size are called equal.
const EQUAL: f64 = 1e-3;

/// What a finished run left.
#[derive(Debug)]
pub struct RunSummary {
    /// `dsm` or `dsl`.
    pub name: String,
    /// The run's folder.
    pub folder: PathBuf,
    lines: Vec<Value>,
    batch_size: Option<f64>,
    picture: Option<PathBuf>,
    checkpoint: Option<PathBuf>,
}

impl RunSummary {
    /// Reads the folder of a run.
    pub fn read(name: &str, folder: &Path) -> Result<Self> {
        let read = |file: &str| {
            let path = folder.join(file);
            fs::read_to_string(&path)
                .with_context(|| format!("`{}` cannot be read", path.display()))
        };
        let metrics = read("metrics.jsonl")?;
        let lines = metrics
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        let config: Value = serde_json::from_str(&read("config.json")?)
            .with_context(|| format!("`{}` is not JSON", folder.join("config.json").display()))?;
        Ok(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            lines,
            batch_size: config["train"]["batch_size"].as_f64(),
            picture: last_of(&folder.join("samples"), ".png"),
            checkpoint: last_of(&folder.join("checkpoints"), ""),
        })
    }

    /// Values of one name with their steps, in order.
    fn series(&self, name: &str) -> Vec<(u64, f64)> {
        self.lines
            .iter()
            .filter_map(|line| Some((line["step"].as_u64()?, line[name].as_f64()?)))
            .collect()
    }

    fn last(&self, name: &str) -> Option<f64> {
        self.series(name).last().map(|(_, value)| *value)
    }

    /// The median over the run: a pause of the machine does not count.
    fn seconds_per_step(&self) -> Option<f64> {
        let mut speeds: Vec<f64> = self
            .series("images_per_second")
            .into_iter()
            .map(|(_, speed)| speed)
            .collect();
        speeds.sort_by(f64::total_cmp);
        let speed = *speeds.get(speeds.len() / 2)?;
        Some(self.batch_size? / speed)
    }

    fn peak_memory_bytes(&self) -> Option<f64> {
        self.series("peak_memory_bytes")
            .into_iter()
            .map(|(_, bytes)| bytes)
            .reduce(f64::max)
    }
}

/// The table of both runs, a sentence on which is ahead, and the files.
pub fn text(dsm: &RunSummary, dsl: &RunSummary) -> String {
    let mut text = table(dsm, dsl);
    let _ = writeln!(text, "\n{}", verdict(dsm, dsl));
    for run in [dsm, dsl] {
        let _ = writeln!(text, "\n{}: {}", run.name, run.folder.display());
        let metrics = Some(run.folder.join("metrics.jsonl"));
        let files = [
            ("metrics", &metrics),
            ("samples", &run.picture),
            ("checkpoint", &run.checkpoint),
        ];
        for (what, path) in files {
            if let Some(path) = path {
                let _ = writeln!(text, "  {what:11}{}", path.display());
            }
        }
    }
    text
}

fn table(dsm: &RunSummary, dsl: &RunSummary) -> String {
    let mut rows: Vec<(String, [Option<String>; 2])> = Vec::new();
    let both = |of: &dyn Fn(&RunSummary) -> Option<String>| [of(dsm), of(dsl)];
    let errors = [dsm.series(GENERATOR), dsl.series(GENERATOR)];
    // The first line is the nearest there is to the start.
    let steps: Vec<u64> = errors[0].iter().map(|(step, _)| *step).collect();
    let mut ends: Vec<u64> = steps
        .first()
        .into_iter()
        .chain(steps.last())
        .copied()
        .collect();
    ends.dedup();
    for step in ends {
        let at = |series: &[(u64, f64)]| {
            series
                .iter()
                .find(|(at, _)| *at == step)
                .map(|(_, error)| digits(*error))
        };
        rows.push((
            format!("error on held-out pictures, step {step}"),
            [at(&errors[0]), at(&errors[1])],
        ));
    }
    if let (Some(error), Some(step)) = (dsl.last(DISCRIMINATOR), steps.last()) {
        rows.push((
            format!("  of the discriminator, step {step}"),
            [None, Some(digits(error))],
        ));
    }
    rows.push((
        "seconds per step".to_owned(),
        both(&|run| run.seconds_per_step().map(|s| format!("{s:.2}"))),
    ));
    rows.push((
        "peak memory".to_owned(),
        both(&|run| {
            run.peak_memory_bytes()
                .map(|bytes| format!("{:.0} MB", bytes / 1e6))
        }),
    ));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    let _ = writeln!(text, "{:width$}  {:>10}  {:>10}", "", dsm.name, dsl.name);
    for (name, [left, right]) in rows {
        let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(
            text,
            "{name:width$}  {:>10}  {:>10}",
            cell(left),
            cell(right)
        );
    }
    text
}

/// Which is ahead, in one sentence.
fn verdict(dsm: &RunSummary, dsl: &RunSummary) -> String {
    let (Some(a), Some(b)) = (dsm.last(GENERATOR), dsl.last(GENERATOR)) else {
        return "No error on held-out pictures was measured: nothing says which is ahead."
            .to_owned();
    };
    let cost = match (dsm.seconds_per_step(), dsl.seconds_per_step()) {
        (Some(dsm), Some(dsl)) => format!(
            " A DSL step takes {:.1} times as long as a DSM step.",
            dsl / dsm
        ),
        _ => String::new(),
    };
    let difference = (a - b).abs() / a.max(b);
    let ahead = if difference.is_nan() || difference < EQUAL {
        "At equal steps neither is ahead: the errors are the same within 0.1 %.".to_owned()
    } else {
        let (first, second) = if a < b {
            ("DSM", "DSL")
        } else {
            ("DSL", "DSM")
        };
        format!(
            "At equal steps {first} is ahead: its error is {:.1} % below that of {second}.",
            100.0 * difference
        )
    };
    format!("{ahead}{cost}")
}

/// The last file or folder, by name, that ends in `suffix`. Names carry the step with leading zeros.
fn last_of(folder: &Path, suffix: &str) -> Option<PathBuf> {
    let names = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let last = names
        .filter(|name| name.starts_with("step-") && name.ends_with(suffix))
        .max()?;
    Some(folder.join(last))
}

/// Four digits that mean something.
fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let decimals = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(temp: &Path, name: &str, errors: [f64; 2], images_per_second: f64) -> RunSummary {
        let folder = temp.join(name);
        for made in [
            "samples",
            "checkpoints/step-00000050",
            "checkpoints/step-00000100",
        ] {
            fs::create_dir_all(folder.join(made)).unwrap();
        }
        for file in ["samples/prompts.json", "samples/step-00000100.png"] {
            fs::write(folder.join(file), "").unwrap();
        }
        fs::write(
            folder.join("config.json"),
            r#"{"train": {"batch_size": 16}}"#,
        )
        .unwrap();
        let line = |step: u64, error: f64| {
            serde_json::json!({
                "step": step,
                "images_per_second": images_per_second,
                "peak_memory_bytes": 400_000_000,
                "validation/err/generator": error,
            })
        };
        let half = serde_json::json!({"step": 30, "images_per_second": images_per_second / 3.0});
        let lines = format!(
            "{}\n{half}\n{}\n",
            line(20, errors[0]),
            line(100, errors[1])
        );
        fs::write(folder.join("metrics.jsonl"), lines).unwrap();
        RunSummary::read(name, &folder).unwrap()
    }

    #[test]
    fn the_table_has_both_ends_and_the_cost() {
        let temp = tempfile::tempdir().unwrap();
        let dsm = run(temp.path(), "dsm", [0.125, 0.1], 32.0);
        let dsl = run(temp.path(), "dsl", [0.125, 0.11], 16.0);
        assert_eq!(
            table(&dsm, &dsl),
            [
                "                                             dsm         dsl",
                "error on held-out pictures, step 20       0.1250      0.1250",
                "error on held-out pictures, step 100      0.1000      0.1100",
                "seconds per step                            0.50        1.00",
                "peak memory                               400 MB      400 MB",
                "",
            ]
            .join("\n")
        );
        let text = text(&dsm, &dsl);
        for named in [
            "dsm/metrics.jsonl",
            "dsl/samples/step-00000100.png",
            "dsl/checkpoints/step-00000100",
        ] {
            assert!(text.contains(named), "{named} is not in:\n{text}");
        }
    }

    #[test]
    fn the_verdict_falls_as_the_errors_do() {
        let temp = tempfile::tempdir().unwrap();
        let dsm = run(temp.path(), "dsm", [0.2, 0.1], 32.0);
        for (error, expected) in [
            (
                0.11,
                "DSM is ahead: its error is 9.1 % below that of DSL. A DSL step takes 2.0 times",
            ),
            (0.08, "DSL is ahead: its error is 20.0 % below that of DSM."),
            (0.100_01, "neither is ahead"),
        ] {
            let dsl = run(temp.path(), "dsl", [0.2, error], 16.0);
            let verdict = verdict(&dsm, &dsl);
            assert!(verdict.contains(expected), "{verdict}");
        }
    }

    #[test]
    fn numbers_keep_four_digits() {
        for (value, text) in [
            (0.012_345_6, "0.01235"),
            (1.5, "1.500"),
            (1234.5, "1234"),
            (0.0, "0"),
        ] {
            assert_eq!(digits(value), text);
        }
    }
}
