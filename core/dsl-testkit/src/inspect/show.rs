//! An inspection as text for people.

use std::fmt::{Display, Formatter, Result};

use dsl_loader::{ColumnSpec, Direction, Injection, Requirements};

use super::Inspection;

fn shape(column: &ColumnSpec) -> String {
    let axes: Vec<String> = (column.shape.iter())
        .map(|axis| axis.map_or_else(|| "_".to_owned(), |length| length.to_string()))
        .collect();
    format!("[{}]", axes.join(", "))
}

fn rows(f: &mut Formatter<'_>, rows: &[[String; 3]]) -> Result {
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    for [a, b, c] in rows {
        let line = format!("  {a:first$}  {b:second$}  {c}");
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

impl Display for Inspection {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let fact = |name: &str, value: &str| [name.to_owned(), value.to_owned(), String::new()];
        let mut facts = vec![
            fact("file", &self.path),
            fact("bytes", &self.bytes.to_string()),
            fact("sha256", &self.sha256),
        ];
        if let Some(manifest) = &self.manifest {
            writeln!(f, "{} {}: {}", manifest.id, manifest.version, manifest.name)?;
            writeln!(f, "{}\n", manifest.description)?;
            facts.extend([
                fact("authors", &manifest.authors.replace(':', ", ")),
                fact("licence", &manifest.license),
                fact("SDK", &manifest.sdk),
                fact("compiler", &manifest.rustc),
                fact("target", &manifest.target),
                fact("panic", &manifest.panic_strategy),
                fact("interfaces", &manifest.extensions.join(", ")),
            ]);
        }
        rows(f, &facts)?;
        if !self.assets.is_empty() {
            writeln!(f, "\nFiles inside")?;
            let assets: Vec<_> = (self.assets.iter())
                .map(|asset| fact(&asset.name, &format!("{} bytes", asset.bytes)))
                .collect();
            rows(f, &assets)?;
        }
        for split in &self.splits {
            writeln!(f, "\nSplit `{}`: {} samples", split.name, split.samples)?;
            let columns: Vec<_> = (split.columns.iter())
                .map(|column| {
                    let role = serde_json::to_value(column.role).unwrap_or_default();
                    let mut role = role.as_str().unwrap_or_default().to_owned();
                    if self.target.as_ref() == Some(&column.name) {
                        role.push_str(", the target");
                    }
                    [
                        column.name.clone(),
                        format!("{} {}", column.dtype, shape(column)),
                        role,
                    ]
                })
                .collect();
            rows(f, &columns)?;
        }
        if self.target.is_some() {
            writeln!(f, "\nConditioning")?;
            if self.conditioning.is_empty() {
                writeln!(f, "  none")?;
            }
            for injection in &self.conditioning {
                match injection {
                    Injection::CrossAttention { column, dropout } => writeln!(
                        f,
                        "  cross_attention from `{column}`, dropped in {:.0} % of samples",
                        100.0 * dropout
                    )?,
                    other => writeln!(f, "  {}", other.kind())?,
                }
            }
        }
        if let Some(evaluator) = &self.evaluator {
            let (Requirements::NoisePredictions { split, count }
            | Requirements::Samples { split, count }) = &evaluator.requirements;
            writeln!(f, "\nMetrics, on {count} noised samples of `{split}`")?;
            let metrics: Vec<_> = (evaluator.metrics.iter())
                .map(|metric| {
                    let direction = match metric.direction {
                        Direction::LowerIsBetter => "lower is better",
                        Direction::HigherIsBetter => "higher is better",
                    };
                    [
                        metric.name.clone(),
                        direction.to_owned(),
                        metric.unit.clone(),
                    ]
                })
                .collect();
            rows(f, &metrics)?;
            for artefact in &evaluator.artefacts {
                writeln!(f, "  file {artefact}")?;
            }
        }
        if !self.config.is_empty() {
            writeln!(f, "\nConfiguration, below `task`")?;
            let keys: Vec<_> = (self.config.iter())
                .map(|key| {
                    [
                        format!("{} = {}", key.key, key.default),
                        key.kind.clone(),
                        key.description.clone(),
                    ]
                })
                .collect();
            rows(f, &keys)?;
        }
        if let Some(defaults) = (self.host_defaults.as_ref())
            .filter(|defaults| defaults.as_object().is_some_and(|keys| !keys.is_empty()))
        {
            writeln!(f, "\nRecommended for the host\n  {defaults}")?;
        }
        if let Some(problem) = &self.problem {
            writeln!(f, "\nProblem: {problem}")?;
            if let Some(help) = &self.help {
                writeln!(f, "hint: {help}")?;
            }
        }
        Ok(())
    }
}
