//! DSM beside DSL where the truth is known: errors of the predicted noise against its exact conditional mean.
//!
//! A shorter form of `examples/02-mixture-dsm-dsl`. DSL from scratch is behind DSM at equal steps, with a discriminator
//! about as good as DSM's generator; figures far from that mean a mistake somewhere.

use std::path::Path;

use crate::support::{Outcome, dsl_host, metrics, plugin};

const STEPS: u32 = 1200;
const SEEDS: [u32; 3] = [0, 1, 2];

/// Score errors of one run.
struct Errors {
    /// At each third.
    generator: [f64; 3],
    /// At the end.
    discriminator: Option<f64>,
    hinge_active: Option<f64>,
}

fn train(out: &Path, sets: &[&str], steps: u32, seed: u32) -> Errors {
    let mut command = dsl_host();
    command
        .args(["--quiet", "run", "--plugin"])
        .arg(plugin("mixture"))
        .arg("--out")
        .arg(out);
    let third = steps / 3;
    let common = [
        format!("train.steps={steps}"),
        format!("train.seed={seed}"),
        // Smaller batches at a higher rate than the plugin's own: as far in a fifth of the time.
        "train.batch_size=64".to_owned(),
        "train.learning_rate=0.005".to_owned(),
        format!("validation.every_steps={third}"),
        "sampling.every_steps=null".to_owned(),
    ];
    for set in common
        .iter()
        .map(String::as_str)
        .chain(sets.iter().copied())
    {
        command.args(["--set", set]);
    }
    Outcome::of(&mut command).ok();
    let lines = metrics(out);
    let at = |step: u32, key: &str| {
        let line = lines.iter().find(|line| line["step"] == step);
        line.and_then(|line| line[key].as_f64())
    };
    let active: Vec<f64> = lines
        .iter()
        .filter_map(|line| line["hinge/active_fraction"].as_f64())
        .collect();
    Errors {
        generator: [third, 2 * third, steps].map(|step| at(step, "score_error/generator").unwrap()),
        discriminator: at(steps, "score_error/discriminator"),
        hinge_active: (!active.is_empty())
            .then(|| active.iter().sum::<f64>() / active.len() as f64),
    }
}

/// The runs of one seed: a table, and what is wrong with it.
fn compare(folder: &Path, seed: u32) -> (String, Vec<String>) {
    let warm_up = format!("objective.warmup_dsm_steps={}", STEPS / 3);
    let rows: [(&str, &[&str], u32); 5] = [
        ("DSM", &["objective.kind=dsm"], STEPS),
        ("DSL", &[], STEPS),
        ("DSL after DSM", &[&warm_up], STEPS),
        (
            "DSL with a DSM share",
            &["objective.generator.dsm_weight=0.5"],
            STEPS,
        ),
        // A step of DSL costs two to two and a half of DSM.
        ("DSL at equal time", &[], STEPS / 2),
    ];
    let (mut table, mut wrong) = (String::new(), Vec::new());
    let mut dsm = f64::NAN;
    for (name, sets, steps) in rows {
        let errors = train(&folder.join(format!("{name} {seed}")), sets, steps, seed);
        let [first, second, last] = errors.generator;
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        table.push_str(&format!(
            "| {name} | {seed} | {first:.4} {second:.4} {last:.4} | {} | {} |\n",
            or_dash(errors.discriminator.map(|error| format!("{error:.4}"))),
            or_dash(
                errors
                    .hinge_active
                    .map(|share| format!("{:.0} %", 100.0 * share))
            ),
        ));
        let mut check = |holds: bool, what: String| {
            if !holds {
                wrong.push(format!("{name}, seed {seed}: {what}"));
            }
        };
        check(
            last < second && last < first,
            "the generator's error does not fall".to_owned(),
        );
        match errors.discriminator {
            None => dsm = last,
            Some(discriminator) if steps == STEPS => {
                let ratio = discriminator / dsm;
                check(
                    (0.7..1.2).contains(&ratio),
                    format!("discriminator {ratio:.2} times DSM"),
                );
                let ratio = last / dsm;
                check(
                    (1.2..5.0).contains(&ratio),
                    format!("generator {ratio:.2} times DSM"),
                );
            }
            Some(_) => {}
        }
    }
    (table, wrong)
}

#[test]
fn dsl_beside_dsm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let compared: Vec<(String, Vec<String>)> = std::thread::scope(|scope| {
        let seeds = SEEDS.map(|seed| scope.spawn(move || compare(path, seed)));
        seeds.into_iter().map(|seed| seed.join().unwrap()).collect()
    });
    println!(
        "| run | seed | generator at 1/3, 2/3, end | discriminator at the end | hinge active |"
    );
    println!("|---|---|---|---|---|");
    for (table, _) in &compared {
        print!("{table}");
    }
    let wrong: Vec<String> = compared.into_iter().flat_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
