//! The numbers, standardised.

use std::path::Path;

use dsl_sdk::{Host, PluginError};

/// Rows of numbers: each column has mean 0 and standard deviation 1, as the host's noise has.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) names: Vec<String>,
    /// Row after row.
    values: Vec<f32>,
}

impl Rows {
    /// Reads a CSV file.
    pub(crate) fn read(
        path: &Path,
        columns: Option<&[String]>,
        host: &Host,
    ) -> Result<Self, PluginError> {
        let file = path.display();
        let unreadable = |error: csv::Error| {
            PluginError::io(format!("cannot read `task.path`, {file}: {error}"))
                .with_help("it has to be a CSV file with a header line")
        };
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .from_path(path)
            .map_err(unreadable)?;
        let header = reader.headers().map_err(unreadable)?.clone();
        let names: Vec<String> = match columns {
            Some(names) => names.to_vec(),
            None => header.iter().map(str::to_owned).collect(),
        };
        let mut places = Vec::new();
        for name in &names {
            let place = header.iter().position(|column| column == name);
            places.push(place.ok_or_else(|| {
                let known: Vec<_> = header.iter().collect();
                PluginError::config(format!(
                    "`task.columns` names `{name}`, which is no column of {file}"
                ))
                .with_help(format!("there are: {}", known.join(", ")))
            })?);
        }
        let mut values = Vec::new();
        for (number, record) in reader.records().enumerate() {
            // A large file takes a while: the user may stop it, and sees how far it is.
            if number.is_multiple_of(10_000) {
                if host.cancelled() {
                    return Err(PluginError::cancelled());
                }
                host.progress(number as u64, 0, "reading rows");
            }
            let record = record.map_err(unreadable)?;
            for (&place, name) in places.iter().zip(&names) {
                let text = record.get(place).unwrap_or_default();
                let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
                values.push(value.ok_or_else(|| {
                    let line = record.position().map_or(0, csv::Position::line);
                    PluginError::config(format!(
                        "column `{name}` is `{text}` in line {line} of {file}, expected a number"
                    ))
                    .with_help(
                        "leave the column out of `task.columns`, or the line out of the file",
                    )
                })?);
            }
        }
        Self::standardised(names, values)
    }

    /// Brings columns to mean 0 and standard deviation 1.
    pub(crate) fn standardised(names: Vec<String>, values: Vec<f64>) -> Result<Self, PluginError> {
        let (width, count) = (names.len(), values.len() / names.len().max(1));
        if width == 0 || count < 4 {
            return Err(PluginError::config(format!(
                "there are {count} rows of {width} columns, expected at least 4 rows and a column"
            ))
            .with_help("`task.path` names the file, `task.columns` the columns"));
        }
        let mut scaled = vec![0.0; values.len()];
        for (place, name) in names.iter().enumerate() {
            let column = || values.iter().skip(place).step_by(width);
            let mean = column().sum::<f64>() / count as f64;
            let variance = column().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64;
            let deviation = variance.sqrt();
            if !(deviation.is_finite() && deviation > 0.0) {
                return Err(PluginError::config(format!(
                    "column `{name}` has one and the same value everywhere"
                ))
                .with_help("leave it out of `task.columns`"));
            }
            for (row, value) in column().enumerate() {
                scaled[row * width + place] = ((value - mean) / deviation) as f32;
            }
        }
        Ok(Self {
            names,
            values: scaled,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.values.len() / self.names.len()
    }

    pub(crate) fn row(&self, index: usize) -> &[f32] {
        let width = self.names.len();
        &self.values[index * width..(index + 1) * width]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, columns: Option<&[&str]>) -> Result<Rows, PluginError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.csv");
        std::fs::write(&path, text).unwrap();
        let columns: Option<Vec<String>> =
            columns.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        Rows::read(&path, columns.as_deref(), &Host::detached())
    }

    #[test]
    fn columns_are_standardised() {
        let rows = read("a,b,c\n1,x,10\n2,x,10\n3,x,30\n4,x,30\n", Some(&["c", "a"])).unwrap();
        assert_eq!(
            (rows.count(), rows.row(0)[0], rows.row(3)[0]),
            (4, -1.0, 1.0)
        );
        let sum: f32 = (0..4).map(|row| rows.row(row)[1]).sum();
        assert!(sum.abs() < 1e-6);
    }

    #[test]
    fn mistakes_say_where() {
        for (text, columns, expected) in [
            ("a,b\n1,2\n", Some(&["d"][..]), "`d`, which is no column"),
            (
                "a\n1\n2\nthree\n4\n",
                None,
                "column `a` is `three` in line 4",
            ),
            ("a\n1\n2\n", None, "2 rows of 1 columns"),
            ("a\n1\n1\n1\n1\n", None, "the same value everywhere"),
            ("a,b\n1,2\n3\n", None, "cannot read `task.path`"),
        ] {
            let error = read(text, columns).unwrap_err();
            assert!(error.message.contains(expected), "{}", error.message);
            assert!(!error.help.is_empty());
        }
    }
}
