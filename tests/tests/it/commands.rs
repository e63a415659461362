//! The commands, and the ways to say the same thing to them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::support::{
    Outcome, SMALL_MIXTURE, SMALL_T2I, config, dsl_host, files, metrics, pictures, plugin, run,
};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Trains a little in `folder/name`; `sets` are further settings.
fn train(folder: &Path, name: &str, plugin_name: &str, sets: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let (data, settings) = (
        folder.join("pictures"),
        folder.join(format!("{plugin_name}.yaml")),
    );
    let mut command = dsl_host();
    command
        .args(["run", "--plugin"])
        .arg(plugin(plugin_name))
        .arg("--config")
        .arg(&settings);
    match plugin_name {
        "t2i" => {
            pictures(&data);
            fs::write(settings, SMALL_T2I).unwrap();
            command.args(["--set", &format!("task.data.path={}", data.display())]);
        }
        _ => fs::write(settings, SMALL_MIXTURE).unwrap(),
    }
    for set in sets {
        command.args(["--set", set]);
    }
    Outcome::of(command.arg("--out").arg(&path)).ok();
    path
}

/// The picture that `dsl-host sample` makes.
fn sample(run_folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let out = run_folder.with_extension("png");
    let mut all = vec!["sample", "--run", text(run_folder), "--out", text(&out)];
    all.extend(arguments);
    let printed = run(all).ok().stdout;
    assert_eq!(printed.trim_end(), text(&out));
    let bytes = fs::read(&out).unwrap();
    fs::remove_file(out).unwrap();
    bytes
}

fn size(png: &[u8]) -> (u32, u32) {
    let picture = image::load_from_memory_with_format(png, image::ImageFormat::Png).unwrap();
    (picture.width(), picture.height())
}

#[test]
fn a_run_leaves_its_files_and_names_them() {
    let folder = tempfile::tempdir().unwrap();
    config(folder.path(), "run.yaml", SMALL_MIXTURE);
    let mut command = dsl_host();
    command
        .current_dir(folder.path())
        .args([
            "run",
            "--config",
            "run.yaml",
            "--set",
            "logging.every_steps=1",
            "--plugin",
        ])
        .arg(plugin("mixture"));
    let said = Outcome::of(&mut command).ok();
    // Without --out a name under `runs/` is made up.
    let path = PathBuf::from(said.stdout.lines().next().unwrap());
    assert!(path.starts_with("runs"), "{}", said.stdout);
    for named in said.stdout.lines().skip(1) {
        assert!(folder.path().join(named.trim()).exists(), "{named}");
    }
    let path = folder.path().join(path);
    for name in [
        "config.json",
        "run.json",
        "metrics.jsonl",
        "samples/step-00000004.png",
        "samples/prompts.json",
    ] {
        assert!(path.join(name).is_file(), "{name}");
    }
    assert!(
        files(&path.join("tensorboard"))
            .values()
            .all(|events| !events.is_empty())
    );
    let steps: Vec<u64> = metrics(&path)
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [1, 2, 3, 4]);
    let keys = [
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
        "images_per_second",
        "data_wait_fraction",
        "peak_memory_bytes",
    ];
    for key in keys {
        assert!(metrics(&path)[3][key].is_number(), "{key}");
    }
    let record: Value = serde_json::from_slice(&fs::read(path.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["plugin"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(record["sessions"][0]["end"], "finished");
}

#[test]
fn a_dry_run_shows_every_value_with_its_origin_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    config(folder.path(), "run.yaml", "train:\n  steps: 7\n");
    let mut command = dsl_host();
    command
        .current_dir(folder.path())
        .args([
            "run",
            "--dry-run",
            "--config",
            "run.yaml",
            "--set",
            "train.batch_size=8",
            "--plugin",
        ])
        .arg(plugin("mixture"));
    let said = Outcome::of(&mut command).ok().stdout;
    for line in [
        "train.steps = 7  # run.yaml:2:10",
        "train.batch_size = 8  # --set train.batch_size=8",
        "model.denoiser.kind = \"mlp\"  # recommended by plugin mixture",
        "task.components = 8  # default of plugin mixture",
        "device = \"cpu\"  # default",
    ] {
        assert!(
            said.lines().any(|found| found == line),
            "{line} is not in: {said}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_devices_of_this_machine_are_listed() {
    let list: Value = serde_json::from_str(&run(["devices", "--json"]).ok().stdout).unwrap();
    assert_eq!(list["devices"][0]["device"], "cpu");
    let table = run(["devices"]).ok().stdout;
    assert!(table.lines().nth(1).unwrap().starts_with("cpu "), "{table}");
}

#[test]
fn samples_follow_seed_and_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let path = train(folder.path(), "run", "t2i", &[]);
    let base = ["--prompt", "red square", "--count", "3", "--seed", "1"];
    let first = sample(&path, &base);
    // Three pictures of 8 pixels, enlarged 16 times, in two columns, with gaps of 4.
    assert_eq!(size(&first), (4 + 2 * 132, 4 + 2 * 132));
    assert!(first == sample(&path, &base), "the same seed");
    let with = |place: usize, value: &'static str| {
        let mut changed = base;
        changed[place] = value;
        sample(&path, &changed)
    };
    assert!(first != with(5, "2"), "another seed");
    assert!(first != with(1, "green"), "another prompt");
    assert_eq!(size(&with(3, "1")), (4 + 132, 4 + 132));
    let mut unguided = base.to_vec();
    unguided.extend(["--guidance-scale", "1", "--num-inference-steps", "2"]);
    assert!(first != sample(&path, &unguided), "other settings");
}

#[test]
fn points_are_sampled_as_a_plot() {
    let folder = tempfile::tempdir().unwrap();
    let path = train(folder.path(), "run", "mixture", &[]);
    let first = sample(&path, &["--count", "20"]);
    let (width, height) = size(&first);
    assert!(width == height && width >= 256, "{width}");
    assert!(first != sample(&path, &["--count", "20", "--seed", "5"]));
}

#[test]
fn an_exported_generator_is_a_base() {
    let folder = tempfile::tempdir().unwrap();
    let path = train(folder.path(), "run", "t2i", &["train.learning_rate=0.01"]);
    let expected = sample(&path, &["--prompt", "red"]);
    let exported = |name: &str, dtype: &str| {
        let file = folder.path().join(name);
        run([
            "export",
            "--run",
            text(&path),
            "--out",
            text(&file),
            "--dtype",
            dtype,
        ])
        .ok();
        file
    };
    let (whole, half) = (
        exported("model.safetensors", "f32"),
        exported("half.safetensors", "f16"),
    );
    assert!(fs::metadata(&half).unwrap().len() < fs::metadata(&whole).unwrap().len());
    // A rate so small that no weight moves.
    let base = format!("model.base={}", whole.display());
    let still = [
        "train.steps=1",
        "train.learning_rate=1e-30",
        "objective.kind=dsm",
        "train.seed=3",
    ];
    let sets: Vec<&str> = still.iter().copied().chain([base.as_str()]).collect();
    let tuned = train(folder.path(), "tuned", "t2i", &sets);
    assert!(
        expected == sample(&tuned, &["--prompt", "red"]),
        "the base is lost"
    );
    let fresh = train(folder.path(), "fresh", "t2i", &still);
    assert!(expected != sample(&fresh, &["--prompt", "red"]));
    let base = format!("model.base={}", half.display());
    train(folder.path(), "half", "t2i", &["train.steps=1", &base]);
}

#[test]
fn an_exported_unet_is_a_diffusers_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = train(folder.path(), "run", "t2i", &["train.steps=1"]);
    let out = folder.path().join("exported");
    let export = |format: &str| {
        let (path, out) = (text(&path), text(&out));
        run(["export", "--run", path, "--format", format, "--out", out])
    };
    export("diffusers").ok();
    let unet = out.join("unet");
    for file in ["config.json", "diffusion_pytorch_model.safetensors"] {
        assert!(unet.join(file).is_file(), "{file}");
    }
    let scheduler = fs::read_to_string(out.join("scheduler/scheduler_config.json")).unwrap();
    assert!(scheduler.contains("\"beta_schedule\""), "{scheduler}");
    let described = run(["model", "inspect", text(&unet), "--json"]).ok().stdout;
    let json: Value = serde_json::from_str(&described).unwrap();
    assert_eq!(json["kind"], "UNet2DConditionModel folder");
    let part = &json["parts"][0];
    assert!(part["parameters"].as_u64().unwrap() > 10_000, "{part}");
    for what in ["missing", "unknown", "mismatched"] {
        assert_eq!(part[what].as_array().map(Vec::len), Some(0), "{part}");
    }

    // Nothing low-rank was trained.
    for format in ["peft", "kohya"] {
        export(format).fails(2, &["writes an adapter"]);
    }
}

#[test]
fn models_are_looked_into() {
    let fixtures = crate::support::workspace().join("tests/fixtures");
    let inspect = |path: &str| {
        let path = fixtures.join(path);
        run(["model", "inspect", text(&path)]).ok().stdout
    };
    let pipeline = inspect("pipeline_sdxl/pipeline");
    for part in [
        "unet: UNet2DConditionModel",
        "vae: AutoencoderKL",
        "text_encoder_2: ",
    ] {
        assert!(pipeline.contains(part), "{pipeline}");
    }
    assert!(
        pipeline.starts_with("StableDiffusionXLPipeline folder\n"),
        "{pipeline}"
    );
    assert!(!pipeline.contains("missing"), "{pipeline}");
    let unet = inspect("unet_sd15/unet");
    assert!(unet.contains("423,172 parameters"), "{unet}");
    let lora = inspect("lora/kohya/lora.safetensors");
    assert!(lora.contains("low-rank adapter of"), "{lora}");

    let folder = tempfile::tempdir().unwrap();
    run(["model", "inspect", text(folder.path())]).fails(1, &["it is no model's folder"]);
}

#[test]
fn every_spelling_of_a_plugin_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    let built = plugin("mixture");
    let beside = built.with_file_name("mixture.so");
    let dry = |name: &str| run(["run", "--dry-run", "--plugin", name]).ok().stdout;
    let expected = dry(text(&built));
    assert!(expected.contains("task.components"));
    // Beside the program, and by path.
    for name in ["mixture", "mixture.so", "libmixture.so", text(&beside)] {
        assert!(dry(name) == expected, "{name}");
    }
    // In a folder of the environment, and in the current one.
    fs::copy(&built, folder.path().join("libcopied.so")).unwrap();
    let mut command = dsl_host();
    command
        .args(["run", "--dry-run", "--plugin", "copied"])
        .env("DSL_PLUGIN_PATH", folder.path());
    assert!(Outcome::of(&mut command).ok().stdout == expected);
    let mut command = dsl_host();
    command
        .args(["run", "--dry-run", "--plugin", "copied.so"])
        .current_dir(folder.path());
    assert!(Outcome::of(&mut command).ok().stdout == expected);
}

#[test]
fn configurations_in_yaml_toml_and_json_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let forms = [
        (
            "a.yaml",
            "task: {components: 3, test_points: 64}\n\
             train:\n  steps: 1\n  learning_rate: 1e-3\n  batch_size: 4\n\
             objective:\n  kind: dsl\n  lambda: 0.1\n",
        ),
        (
            "b.toml",
            "[task]\ncomponents = 3\ntest_points = 64\n\
             [train]\nsteps = 1\nlearning_rate = 1e-3\nbatch_size = 4\n\
             [objective]\nkind = \"dsl\"\nlambda = 0.1\n",
        ),
        (
            "c.json",
            r#"{"task": {"components": 3, "test_points": 64}, "train": {"steps": 1, "learning_rate": 0.001, "batch_size": 4},
                "objective": {"kind": "dsl", "lambda": 0.1}}"#,
        ),
    ];
    let resolved = |file: &Path| {
        let out = file.with_extension("run");
        let mut command = dsl_host();
        command.args(["run", "--plugin"]).arg(plugin("mixture"));
        command.arg("--config").arg(file).arg("--out").arg(&out);
        Outcome::of(&mut command).ok();
        fs::read_to_string(out.join("config.json")).unwrap()
    };
    let all = forms.map(|(name, text)| resolved(&config(folder.path(), name, text)));
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
    // What a run resolved is a configuration as well.
    let again = config(folder.path(), "d.json", &all[0]);
    assert_eq!(resolved(&again), all[0]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_stops_early_is_no_failure() {
    let mut command = std::process::Command::new("sh");
    command
        .args([
            "-c",
            "{ \"$0\" run --dry-run --plugin \"$1\"; echo \"code $?\" >&2; } | true",
        ])
        .arg(crate::support::program())
        .arg(plugin("mixture"));
    let said = Outcome::of(&mut command).ok().stderr;
    assert_eq!(said, "code 0\n");
}
