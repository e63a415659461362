//! An inspection as text for people.

use std::fmt::{Display, Formatter, Result};

use dsl_loader::{ColumnSpec, Direction, Injection, MultiViewAttention, Requirements};

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

/// One way of conditioning, in a line.
fn conditioning(injection: &Injection) -> String {
    let dropped = |dropout: &f64| format!("dropped in {:.0} % of samples", 100.0 * dropout);
    let said = match injection {
        Injection::CrossAttention { column, dropout }
        | Injection::ConcatChannels { column, dropout }
        | Injection::FeaturePyramid { column, dropout }
        | Injection::CameraPose { column, dropout } => {
            format!("from `{column}`, {}", dropped(dropout))
        }
        Injection::ClassLabel {
            column,
            classes,
            dropout,
        } => format!("from `{column}` of {classes} classes, {}", dropped(dropout)),
        Injection::GroundingTokens {
            boxes,
            phrases,
            mask,
            dropout,
        } => format!(
            "from boxes `{boxes}`, phrases `{phrases}` and mask `{mask}`, {}",
            dropped(dropout)
        ),
        Injection::LearnedTokens {
            tokens,
            initializer,
        } => format!("{} from the word `{initializer}`", tokens.join(", ")),
        Injection::ViewVolume {
            projections,
            half_side,
            depth_range: [near, far],
            dropout,
        } => format!(
            "from `{projections}`, cube of half side {half_side}, depths {near} to {far}, {}",
            dropped(dropout)
        ),
        Injection::MultiView { attention, domains } => {
            let attention = match attention {
                MultiViewAttention::Dense => "dense",
                MultiViewAttention::RowWise => "row-wise",
            };
            match domains {
                1 => attention.to_owned(),
                _ => format!("{attention}, {domains} domains"),
            }
        }
        Injection::CameraRegression {
            elevation,
            inverse_focal,
            weight,
        } => format!("of `{elevation}` and `{inverse_focal}`, weight {weight}"),
    };
    format!("{} {said}", injection.kind())
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
                writeln!(f, "  {}", conditioning(injection))?;
            }
        }
        if let Some(evaluator) = &self.evaluator {
            let on = match &evaluator.requirements {
                Requirements::NoisePredictions { split, count } => {
                    format!("{count} noised samples of `{split}`")
                }
                Requirements::Samples { split, count } => {
                    format!("{count} samples drawn under the conditions of `{split}`")
                }
            };
            writeln!(f, "\nMetrics, on {on}")?;
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
