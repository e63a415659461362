//! Builds the program and the plugins that the tests run, and runs them.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use dsl_test_support::{Built, says};
use serde_json::Value;

/// Built once for each run of the tests.
static BUILT: LazyLock<Built> = LazyLock::new(|| {
    Built::of(&[
        "dsl-host",
        "era3d",
        "gligen",
        "mixture",
        "stablesr",
        "syncdreamer",
        "t2i",
        "textual-inversion",
        "misbehave",
        "other-abi",
        "rough",
    ])
});

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The file of the program.
pub fn program() -> PathBuf {
    BUILT.program("dsl-host")
}

/// A command line of `dsl-host`, apart from what the tester's environment says.
pub fn dsl_host() -> Command {
    let mut command = Command::new(program());
    for name in [
        "RUST_LOG",
        "DSL_PLUGIN_PATH",
        "DSL_PLUGIN_LOCK",
        "XDG_DATA_HOME",
        "DSL_MISBEHAVE",
        "DSL_ROUGH",
        "DSL_FEATURES_PATH",
    ] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// The built library of a plugin.
pub fn plugin(name: &str) -> PathBuf {
    BUILT.plugin(name)
}

/// `dsl-host` with these arguments, to its end.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    Outcome::of(dsl_host().args(arguments))
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    pub fn of(command: &mut Command) -> Self {
        command.output().unwrap().into()
    }

    /// It did what it was asked to.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// It ended with `code` and one message, which has all of `parts` in it.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) -> Self {
        let text = &self.stderr;
        assert_eq!(self.code, Some(code), "{text}");
        says(text, parts);
        let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!((count("error"), count("thread '")), (1, 0), "{text}");
        self
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The lines of a run's metrics.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All files below a folder: path from there, and contents.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Settings for the plugin `mixture` with which a step takes a millisecond.
pub const SMALL_MIXTURE: &str = "
task: {test_points: 64}
model:
  denoiser: {kind: mlp, hidden_sizes: [16, 16], time_embedding_dim: 8}
train: {steps: 4, batch_size: 16}
sampling: {count: 4, sampler: {num_inference_steps: 4}}
validation: {samples: 16}
";

/// Settings for the plugin `misbehave` with which a step takes a millisecond.
pub const SMALL_LINE: &str = "
model:
  base: none
  denoiser: {kind: mlp, features: 2, hidden_sizes: [16, 16], time_embedding_dim: 8}
objective: {kind: dsm}
train: {steps: 2, batch_size: 4}
logging: {every_steps: 1}
validation: {every_steps: null, samples: 4}
sampling: {every_steps: null, count: 4, sampler: {num_inference_steps: 2}}
";

/// The same for `t2i`; it needs `task.data.path`, for instance of [`pictures`].
pub const SMALL_T2I: &str = "
task:
  data: {resolution: 8, flip: 0.5}
model:
  base: none
  denoiser:
    kind: unet
    block_out_channels: [8, 8]
    down_block_types: [DownBlock2D, CrossAttnDownBlock2D]
    up_block_types: [CrossAttnUpBlock2D, UpBlock2D]
    cross_attention_dim: 8
    attention_head_dim: 2
    norm_num_groups: 4
  text_encoder:
    vocab_size: 300
    hidden_size: 8
    num_hidden_layers: 1
    num_attention_heads: 2
    intermediate_size: 16
    max_position_embeddings: 6
train: {steps: 4, batch_size: 4}
sampling: {count: 4, prompts: [red, green], sampler: {num_inference_steps: 3}}
validation: {samples: 4}
";

/// Makes a folder of six captioned pictures.
pub fn pictures(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for (number, name) in ["red", "green", "blue", "black", "white", "grey"]
        .iter()
        .enumerate()
    {
        let picture = image::RgbImage::from_fn(8, 8, |x, y| {
            let shade = |channel: u32| (40 * number as u32 + 13 * channel * x + 7 * y) as u8;
            image::Rgb([shade(1), shade(2), shade(3)])
        });
        picture.save(folder.join(format!("{name}.png"))).unwrap();
        fs::write(
            folder.join(format!("{name}.txt")),
            format!("a {name} square"),
        )
        .unwrap();
    }
}

/// Writes a configuration file and gives its path.
pub fn config(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}
