//! The examples run: their configurations are read as they stand, their scripts are tried at a smaller size.

use std::fs;
use std::path::Path;

use crate::support::{Outcome, dsl_host, plugin, workspace};

/// Which plugin a configuration of `examples/` is for: by its folder, or its own name.
fn plugin_of(file: &Path) -> &'static str {
    let place = file.strip_prefix(workspace()).unwrap_or(file);
    let place = place.to_string_lossy();
    ["mixture", "stablesr"]
        .into_iter()
        .find(|plugin| place.contains(plugin))
        .unwrap_or("t2i")
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
                    .arg(plugin(plugin_of(&file)));
                Outcome::of(command.arg("--config").arg(&file)).ok();
                checked += 1;
            }
        }
    }
    assert!(checked >= 4, "{checked}");
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
