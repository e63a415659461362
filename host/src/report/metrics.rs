//! `metrics.jsonl`: one JSON object per logged step, `step` first.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::append::AppendFile;
use crate::run_dir::{RunDirError, write_atomic_with};

/// Keys in the order in which a line has them; others follow in the order in which they were set.
const KEY_ORDER: &[&str] = &[
    "epoch",
    "loss/generator",
    "loss/discriminator",
    "loss/hinge",
    "hinge/active_fraction",
    "err/generator",
    "err/discriminator",
    "gap",
    "margin",
    "grad_norm/generator",
    "grad_norm/discriminator",
    "learning_rate",
    "images_per_second",
    "data_wait_fraction",
    "peak_memory_bytes",
];

/// One value of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// A measurement. JSON has no NaN and no infinities: a line has `null` for them, which means
    /// "measured, and not a finite number". What was not measured is not in the line.
    Real(f64),
    /// A whole number, printed as one.
    Count(u64),
}

impl Scalar {
    /// The value as a real number.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Real(value) => value,
            Self::Count(value) => value as f64,
        }
    }
}

impl From<f64> for Scalar {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<f32> for Scalar {
    /// Exact: the widened value is printed, so that reading it as f64 and narrowing gives it back.
    fn from(value: f32) -> Self {
        Self::Real(value.into())
    }
}

impl From<u64> for Scalar {
    fn from(value: u64) -> Self {
        Self::Count(value)
    }
}

impl From<usize> for Scalar {
    fn from(value: usize) -> Self {
        Self::Count(value as u64)
    }
}

/// The values of one step, by name. Names are paths such as `loss/generator`; before the slash is
/// what TensorBoard groups them by.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(Vec<(String, Scalar)>);

impl Metrics {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value; a second one under the same name replaces the first.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Scalar>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    /// Sets a value if there is one.
    pub fn set_some(&mut self, name: impl Into<String>, value: Option<impl Into<Scalar>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }

    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_f64())
    }

    /// Names and values, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Scalar)> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The line of a step, with its newline.
    fn line(&self, step: u64) -> String {
        let mut sorted: Vec<_> = self.0.iter().collect();
        let place = |name: &str| KEY_ORDER.iter().position(|key| *key == name);
        sorted.sort_by_key(|(name, _)| place(name).unwrap_or(KEY_ORDER.len()));
        let mut object = Map::new();
        object.insert("step".into(), step.into());
        for (name, value) in sorted {
            let value = match *value {
                Scalar::Real(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
                Scalar::Count(value) => value.into(),
            };
            object.insert(name.clone(), value);
        }
        let mut line = Value::Object(object).to_string();
        line.push('\n');
        line
    }
}

impl<N: Into<String>, V: Into<Scalar>> FromIterator<(N, V)> for Metrics {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(values: I) -> Self {
        let mut metrics = Self::new();
        for (name, value) in values {
            metrics.set(name, value);
        }
        metrics
    }
}

/// Writes `metrics.jsonl`.
///
/// For a resume to give the lines of an uninterrupted run, the line of step `k` is appended before
/// the checkpoint of step `k` is saved.
#[derive(Debug)]
pub struct MetricsWriter(AppendFile);

impl MetricsWriter {
    /// Begins a new file.
    ///
    /// # Errors
    /// [`RunDirError::Io`], also when there is a file already.
    pub fn create(path: &Path) -> Result<Self, RunDirError> {
        AppendFile::create(path).map(Self)
    }

    /// Goes on after step `step`: lines of later steps, which the resumed run writes again, are
    /// dropped, and so is what a killed process left of its last line. Lines that cannot be read
    /// are dropped with a warning. The file is replaced in one piece.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`]; the file is then as it was before.
    pub fn resume(path: &Path, step: u64) -> Result<Self, RunDirError> {
        if !path.exists() {
            tracing::warn!("`{}` is missing: a new one begins", path.display());
            return Self::create(path);
        }
        let file = File::open(path).map_err(|source| RunDirError::io("open", path, source))?;
        let size = file.metadata().map(|found| found.len()).ok();
        let mut lines = BufReader::new(file);
        write_atomic_with(path, size, |kept| {
            let mut line = Vec::new();
            let mut number = 0u64;
            loop {
                line.clear();
                if lines.read_until(b'\n', &mut line)? == 0 {
                    return Ok(());
                }
                number += 1;
                match step_of(&line) {
                    Some(found) if found <= step => {
                        if line.last() != Some(&b'\n') {
                            line.push(b'\n');
                        }
                        kept.write_all(&line)?;
                    }
                    Some(_) => {}
                    None if line.last() == Some(&b'\n') => tracing::warn!(
                        "`{}`, line {number} is no line of metrics: dropped",
                        path.display()
                    ),
                    None => tracing::debug!("dropping a half-written line of metrics"),
                }
            }
        })?;
        AppendFile::open(path).map(Self)
    }

    /// Appends the line of a step. It is with the system when this returns, and survives a killed
    /// process.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`]; nothing of the line is then in the file.
    pub fn append(&mut self, step: u64, metrics: &Metrics) -> Result<(), RunDirError> {
        self.0.append(metrics.line(step).as_bytes())
    }

    /// Brings the lines to disk. To be called before a checkpoint is saved, so that a loss of power
    /// does not leave a checkpoint whose lines are gone.
    ///
    /// # Errors
    /// [`RunDirError::DiskFull`] or [`RunDirError::Io`].
    pub fn sync(&self) -> Result<(), RunDirError> {
        self.0.sync()
    }
}

#[derive(Deserialize)]
struct Line {
    step: u64,
}

fn step_of(line: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Line>(line)
        .ok()
        .map(|line| line.step)
}

/// Reads `metrics.jsonl`: step and values, line by line. `null` reads as NaN; a last line without
/// its end, which another process may be writing, is left out.
///
/// # Errors
/// [`RunDirError::Io`], or [`RunDirError::Damaged`] naming the line.
pub fn read_metrics(path: &Path) -> Result<Vec<(u64, Metrics)>, RunDirError> {
    let read = |source: io::Error| RunDirError::io("read", path, source);
    let mut lines = BufReader::new(File::open(path).map_err(read)?);
    let mut found = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        lines.read_line(&mut line).map_err(read)?;
        if !line.ends_with('\n') {
            break;
        }
        let parsed = parse_line(&line).map_err(|reason| RunDirError::Damaged {
            path: path.into(),
            reason: format!("line {number}: {reason}"),
        })?;
        found.push(parsed);
    }
    Ok(found)
}

fn parse_line(line: &str) -> Result<(u64, Metrics), String> {
    let object: Map<String, Value> = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let step = object
        .get("step")
        .and_then(Value::as_u64)
        .ok_or("no `step`")?;
    let mut metrics = Metrics::new();
    for (name, value) in object {
        if name == "step" {
            continue;
        }
        let value = match &value {
            Value::Null => Scalar::Real(f64::NAN),
            Value::Number(number) => match number.as_u64() {
                Some(count) => Scalar::Count(count),
                None => Scalar::Real(number.as_f64().unwrap_or(f64::NAN)),
            },
            other => return Err(format!("`{name}` is {other}, not a number")),
        };
        metrics.set(name, value);
    }
    Ok((step, metrics))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn loss(value: f64) -> Metrics {
        Metrics::from_iter([("loss/generator", value)])
    }

    #[test]
    fn a_line_has_the_step_first_and_known_keys_in_order() {
        let mut metrics = Metrics::new();
        metrics.set("validation/err", 0.5);
        metrics.set("peak_memory_bytes", 812_345_344u64);
        metrics.set("margin", f64::NAN);
        metrics.set("loss/generator", 0.1f32);
        metrics.set("score_error", 1e-7);
        metrics.set("epoch", 3u64);
        metrics.set_some("gap", None::<f64>);
        metrics.set_some("loss/hinge", Some(0.0));
        assert_eq!(
            metrics.line(12),
            "{\"step\":12,\"epoch\":3,\"loss/generator\":0.10000000149011612,\"loss/hinge\":0.0,\
             \"margin\":null,\"peak_memory_bytes\":812345344,\"validation/err\":0.5,\
             \"score_error\":1e-7}\n"
        );
    }

    #[test]
    fn every_number_comes_back_bit_for_bit() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("metrics.jsonl");
        let mut writer = MetricsWriter::create(&path).unwrap();
        // A spread of bit patterns, not only numbers that are easy to print.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut values = vec![
            0.0,
            -0.0,
            f64::MIN_POSITIVE,
            f64::MAX,
            5e-324,
            f64::from(f32::MIN_POSITIVE),
            f64::from(0.1f32),
        ];
        while values.len() < 2000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let value = f64::from_bits(state);
            if value.is_finite() {
                values.push(value);
            }
            let value = f32::from_bits((state >> 32) as u32);
            if value.is_finite() {
                values.push(value.into());
            }
        }
        for (step, value) in values.iter().enumerate() {
            writer.append(step as u64, &loss(*value)).unwrap();
        }
        let read = read_metrics(&path).unwrap();
        assert_eq!(read.len(), values.len());
        for (step, (found, expected)) in read.iter().zip(&values).enumerate() {
            let value = found.1.get("loss/generator").unwrap();
            assert_eq!(value.to_bits(), expected.to_bits(), "{step}: {expected:e}");
        }
    }

    #[test]
    fn resuming_drops_later_lines_and_the_torn_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("metrics.jsonl");
        let mut writer = MetricsWriter::create(&path).unwrap();
        for step in 1..=7 {
            writer.append(step, &loss(step as f64)).unwrap();
        }
        let whole = fs::read(&path).unwrap();
        let upto5: Vec<u8> = whole
            .split_inclusive(|byte| *byte == b'\n')
            .take(5)
            .flatten()
            .copied()
            .collect();

        // The kill may have come at any byte of the writing.
        for cut in upto5.len() - 1..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut writer = MetricsWriter::resume(&path, 5).unwrap();
            assert_eq!(fs::read(&path).unwrap(), upto5, "cut at {cut}");
            writer.append(6, &loss(6.0)).unwrap();
            writer.append(7, &loss(7.0)).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn resuming_leaves_out_what_it_cannot_read() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("metrics.jsonl");
        fs::write(&path, b"{\"step\":1}\n\0\0\0\n[]\n{\"step\":2}\n").unwrap();
        MetricsWriter::resume(&path, 9).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"{\"step\":1}\n{\"step\":2}\n");
        // And begins anew where there is nothing.
        let other = temp.path().join("other.jsonl");
        let mut writer = MetricsWriter::resume(&other, 9).unwrap();
        writer.append(10, &loss(1.0)).unwrap();
        assert_eq!(read_metrics(&other).unwrap().len(), 1);
    }

    #[test]
    fn reading_names_the_bad_line_and_leaves_out_an_unfinished_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":1,\"gap\":null}\n{\"step\":2,\"ga").unwrap();
        let read = read_metrics(&path).unwrap();
        assert_eq!(read.len(), 1);
        assert!(read[0].1.get("gap").unwrap().is_nan());
        fs::write(&path, "{\"step\":1}\n{\"gap\":1}\n").unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(message.contains("line 2: no `step`"), "{message}");
    }
}
