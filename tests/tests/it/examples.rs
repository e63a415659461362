//! The examples run: their configurations are read as they stand, their scripts are tried at a smaller size.

use std::fs;
use std::path::Path;

use crate::support::{Outcome, dsl_host, plugin, workspace};

/// Which plugin a configuration of `examples/` is for: by the schema that it names, else by its folder.
fn plugin_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    if let Some((_, schema)) = text.split_once("yaml-language-server: $schema=") {
        let schema = file.with_file_name(schema.lines().next().unwrap().trim());
        assert!(schema.is_file(), "{} names no schema", file.display());
        let name = schema.file_name().unwrap().to_str().unwrap();
        return name.trim_end_matches(".schema.json").replace('-', "_");
    }
    match file.to_string_lossy().contains("mixture") {
        true => "mixture".to_owned(),
        false => "t2i".to_owned(),
    }
}

#[test]
fn every_example_configuration_is_valid() {
    let mut checked = 0;
    for folder in fs::read_dir(workspace().join("examples")).unwrap() {
        let folder = folder.unwrap().path();
        for file in fs::read_dir(&folder).into_iter().flatten() {
            let file = file.unwrap().path();
            if file
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                let mut command = dsl_host();
                command
                    .args(["run", "--dry-run", "--plugin"])
                    .arg(plugin(&plugin_of(&file)));
                Outcome::of(command.arg("--config").arg(&file)).ok();
                checked += 1;
            }
        }
    }
    assert!(checked >= 13, "{checked}");
}

#[cfg(unix)]
#[test]
fn the_comparison_on_the_mixture_prints_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .arg(workspace().join("examples/02-mixture-dsm-dsl/run.sh"))
        .current_dir(folder.path())
        .env("DSL_HOST", crate::support::program())
        .env("PLUGIN", plugin("mixture"))
        .envs([("STEPS", "12"), ("SEEDS", "0 7"), ("OUT", "runs")]);
    let table = Outcome::of(&mut command).ok().stdout;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 2 + 7, "{table}");
    for row in &rows[2..] {
        assert_eq!(row.len(), 6, "{table}");
        let numbers = |cell: &str| {
            cell.split_whitespace()
                .filter(|word| word.parse::<f64>().is_ok())
                .count()
        };
        assert_eq!(numbers(row[2]), 6, "{table}");
        assert_eq!(
            numbers(row[3]),
            if row[0] == "DSM" { 0 } else { 2 },
            "{table}"
        );
    }
}
