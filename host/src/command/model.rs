//! `dsl-host model`: what is in a model's file or folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use dsl_nets::{Inspection, PartInspection, WeightFile};

use crate::bridge::model_card;
use crate::failure;

/// Look into model files and folders
#[derive(Debug, Args)]
pub struct ModelArgs {
    #[command(subcommand)]
    command: ModelCommand,
}

#[derive(Debug, Subcommand)]
enum ModelCommand {
    Inspect(InspectArgs),
}

/// Print parts, parameter counts and number formats, and what is missing or unknown
///
/// Takes folders of diffusers and transformers (pipelines and single networks), checkpoints of Stable Diffusion in one file,
/// low-rank adapters, learned embeddings, and what `dsl-host export` writes. No weight is read, so that it takes no time.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  dsl-host model inspect stable-diffusion-v1-5\n  dsl-host model inspect lora.safetensors --json"
)]
struct InspectArgs {
    /// File or folder
    path: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs a command on models.
///
/// # Errors
/// A file or folder that cannot be read, or is no model.
pub fn model(args: &ModelArgs) -> Result<()> {
    match &args.command {
        ModelCommand::Inspect(args) => inspect(args),
    }
}

fn inspect(args: &InspectArgs) -> Result<()> {
    let inspection = look_into(&args.path)?;
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&inspection)?)
    } else {
        describe(&inspection)
    };
    failure::print(&text)
}

fn look_into(path: &Path) -> Result<Inspection> {
    if path.is_file() {
        let file = WeightFile::open(path)?;
        if let Some((card, _)) = model_card::read(&file)? {
            return Ok(dsl_nets::inspect_model(file, &card.model)?);
        }
    }
    Ok(dsl_nets::inspect(path)?)
}

fn describe(inspection: &Inspection) -> String {
    let mut text = format!("{}\n", inspection.kind);
    for part in &inspection.parts {
        describe_part(&mut text, part);
    }
    text
}

fn describe_part(text: &mut String, part: &PartInspection) {
    let name = match part.name.as_str() {
        "" => "-",
        name => name,
    };
    // Writing to a string cannot fail.
    let _ = write!(text, "  {name}: {}", part.class);
    if part.tensors > 0 {
        let dtypes: Vec<&str> = part.dtypes.keys().map(String::as_str).collect();
        let dtypes = match dtypes.is_empty() {
            true => String::new(),
            false => format!(", {}", dtypes.join(" and ")),
        };
        let (parameters, tensors) = (grouped(part.parameters), part.tensors);
        let _ = write!(
            text,
            ", {parameters} parameters in {tensors} tensors{dtypes}"
        );
    }
    text.push('\n');
    for (what, keys) in [
        ("missing", &part.missing),
        ("of another shape", &part.mismatched),
        ("unknown", &part.unknown),
    ] {
        if !keys.is_empty() {
            let _ = writeln!(text, "    {} {what}:", keys.len());
            for key in keys {
                let _ = writeln!(text, "      {key}");
            }
        }
    }
    if let Some(problem) = &part.problem {
        let _ = writeln!(text, "    cannot be used: {problem}");
    }
}

/// 859520964 as 859,520,964.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn digits_are_in_groups_of_three() {
        let check = |number, text: &str| assert_eq!(grouped(number), text);
        check(7, "7");
        check(859_520_964, "859,520,964");
        check(1000, "1,000");
    }
}
