//! A run that is stopped and resumed is the run that was never stopped, bit for bit.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    self, Outcome, SMALL_MIXTURE, SMALL_T2I, config, dsl_host, files, metrics, pictures, run,
};

/// A run to be stopped.
pub struct Case {
    folder: TempDir,
    plugin: &'static str,
    pub sets: Vec<String>,
}

impl Case {
    pub fn new(plugin: &'static str, text: &str, sets: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        config(folder.path(), "run.yaml", text);
        Self {
            folder,
            plugin,
            sets: sets.iter().map(|&set| set.to_owned()).collect(),
        }
    }

    fn mixture_dsm() -> Self {
        Self::new(
            "mixture",
            SMALL_MIXTURE,
            &[
                "objective.kind=dsm",
                "train.steps=30",
                "train.gradient_accumulation_steps=2",
                "train.ema.decay=0.9",
                "checkpoint.every_steps=1",
                "checkpoint.keep=3",
                "logging.every_steps=1",
                "validation.every_steps=4",
                "sampling.every_steps=10",
            ],
        )
    }

    fn mixture_dsl() -> Self {
        Self::new(
            "mixture",
            SMALL_MIXTURE,
            &[
                "objective.warmup_dsm_steps=5",
                "objective.margin.every_steps=4",
                "objective.margin.max_samples=50",
                "objective.discriminator.trainable=lora",
                "objective.discriminator.lora.rank=2",
                "objective.discriminator.base=refresh",
                "objective.discriminator.refresh_every_epochs=1",
                "train.steps_per_epoch=7",
                "train.steps=40",
                "train.ema.decay=0.99",
                "checkpoint.every_steps=2",
                "logging.every_steps=1",
                "validation.every_steps=9",
                "sampling.every_steps=15",
            ],
        )
    }

    fn t2i_dsl() -> Self {
        let mut case = Self::new(
            "t2i",
            SMALL_T2I,
            &[
                "objective.margin.every_steps=5",
                "train.steps=12",
                "train.workers=2",
                "train.ema.decay=0.9",
                "checkpoint.every_steps=3",
                "logging.every_steps=1",
                "validation.every_steps=null",
                "sampling.every_steps=null",
            ],
        );
        let data = case.folder.path().join("pictures");
        pictures(&data);
        case.sets.push(format!("task.data.path={}", data.display()));
        case
    }

    /// Adapters on linear layers and convolutions over a frozen base, and a discriminator on the same base.
    fn t2i_adapters() -> Self {
        let mut case = Self::t2i_dsl();
        case.sets.extend(
            [
                "model.trainable.kind=lora",
                "model.trainable.rank=2",
                "model.trainable.targets=[to_, conv1]",
                "objective.warmup_dsm_steps=4",
            ]
            .map(str::to_owned),
        );
        case
    }

    /// A path beside the configuration.
    pub fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn start(&self, run: &Path) -> Command {
        let mut command = dsl_host();
        command
            .args(["run", "--plugin"])
            .arg(support::plugin(self.plugin));
        command
            .arg("--config")
            .arg(self.run("run.yaml"))
            .arg("--out")
            .arg(run);
        for set in &self.sets {
            command.args(["--set", set]);
        }
        command
    }

    /// What the run is when nothing stops it, and how long it takes.
    fn whole(&self) -> (State, Duration) {
        let path = self.run("whole");
        let mut command = self.start(&path);
        let begun = Instant::now();
        Outcome::of(&mut command).ok();
        (State::of(&path), begun.elapsed())
    }

    /// The run with up to `kills` kills in it. Returns how many there were.
    fn with_kills(&self, path: &Path, whole: Duration, kills: u32, random: &mut Random) -> u32 {
        let mut first = whole;
        let mut killed = 0;
        let mut command = self.start(path);
        loop {
            let moment = match killed {
                0 => Moment::After(first.mul_f64(random.between(0.0, 0.8))),
                _ if killed == kills => Moment::Never,
                _ if killed % 2 == 1 => Moment::Saving,
                _ => Moment::After(whole.mul_f64(random.between(0.05, 0.6))),
            };
            println!("kill {moment:?}");
            let log = self.run("log.txt");
            command
                .stdout(Stdio::null())
                .stderr(File::create(&log).unwrap());
            let mut child = command.spawn().unwrap();
            if !moment.kill(&mut child, path) {
                let status = child.wait().unwrap();
                let log = fs::read_to_string(log).unwrap();
                assert!(status.success(), "{log}");
                assert!(!log.contains("damaged"), "{log}");
                if killed > 0 {
                    return killed;
                }
                // The machine has become faster than it was: once more, with an earlier kill.
                fs::remove_dir_all(path).unwrap();
                first /= 2;
                continue;
            }
            killed += 1;
            // Without its configuration it is no run yet, and is begun again.
            command = match path.join("config.json").exists() {
                true => resume(path),
                false => self.start(path),
            };
        }
    }

    /// The run with this many kills in it is the one that was never stopped.
    pub fn check_kills(&self, kills: u32) -> (PathBuf, State) {
        let (expected, whole) = self.whole();
        let mut random = Random::new();
        let path = self.run("killed");
        let killed = self.with_kills(&path, whole, kills, &mut random);
        println!("{killed} kills");
        expected.check(&path);
        (path, expected)
    }
}

fn resume(run: &Path) -> Command {
    let mut command = dsl_host();
    command.args(["run", "--resume"]).arg(run);
    command
}

/// When a process is killed.
#[derive(Debug)]
enum Moment {
    After(Duration),
    /// As soon as a checkpoint is being written.
    Saving,
    Never,
}

impl Moment {
    /// Kills `child`, unless it ends before. Says whether it was killed.
    fn kill(&self, child: &mut Child, run: &Path) -> bool {
        let begun = Instant::now();
        loop {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            let has_come = match self {
                Self::After(delay) => begun.elapsed() >= *delay,
                Self::Saving => is_saving(run),
                Self::Never => false,
            };
            if has_come {
                child.kill().unwrap();
                return !child.wait().unwrap().success();
            }
            thread::sleep(Duration::from_micros(200));
        }
    }
}

fn is_saving(run: &Path) -> bool {
    let entries = fs::read_dir(run.join("checkpoints"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with(".partial-"))
}

/// What must not depend on how often a run was stopped.
pub struct State {
    metrics: Vec<Value>,
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

impl State {
    fn of(run: &Path) -> Self {
        let mut metrics = metrics(run);
        for line in &mut metrics {
            let line = line.as_object_mut().unwrap();
            line.remove("images_per_second");
            line.remove("data_wait_fraction");
            line.remove("peak_memory_bytes");
        }
        let mut files = files(run);
        // Optimisers are kept in the order of a hash map, so that their files differ from run to run; what they hold
        // shows in the weights of later steps.
        files.retain(|name, _| {
            let text = name.to_string_lossy();
            let is_weights = text.ends_with(".bpk") && !text.ends_with("_optimizer.bpk");
            is_weights || text.ends_with("state.json") || name.starts_with("samples")
        });
        Self { metrics, files }
    }

    #[track_caller]
    fn check(&self, run: &Path) {
        let found = Self::of(run);
        for (expected, found) in self.metrics.iter().zip(&found.metrics) {
            assert_eq!(expected, found);
        }
        assert_eq!(self.metrics.len(), found.metrics.len());
        let names = |state: &Self| state.files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(&found));
        for (name, contents) in &self.files {
            assert!(contents == &found.files[name], "{} differs", name.display());
        }
    }
}

/// Random delays: `DSL_TEST_SEED` repeats those of a failed test, which prints its seed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = || {
            let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            since.as_nanos() as u64
        };
        let seed =
            std::env::var("DSL_TEST_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("DSL_TEST_SEED={seed}");
        Self(seed)
    }

    /// SplitMix64 (Steele et al. 2014).
    fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        low + (high - low) * unit
    }
}

#[test]
fn a_killed_dsm_run_resumes_exactly_also_from_the_checkpoint_before_a_damaged_one() {
    let case = Case::mixture_dsm();
    let (path, expected) = case.check_kills(7);
    for name in ["generator.bpk", "generator_ema.bpk"] {
        let name = format!("checkpoints/step-00000030/{name}");
        assert!(expected.files.contains_key(Path::new(&name)), "{name}");
    }

    let damaged = path.join("checkpoints/step-00000030/generator.bpk");
    let mut bytes = fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let said = Outcome::of(&mut resume(&path)).ok().stderr;
    for part in [
        "step-00000030",
        "`generator.bpk` does not match",
        "the one before it is used",
    ] {
        assert!(said.contains(part), "{said}");
    }
    expected.check(&path);
}

#[test]
fn a_run_without_any_usable_checkpoint_says_so() {
    let case = Case::new(
        "mixture",
        SMALL_MIXTURE,
        &["train.steps=2", "checkpoint.every_steps=1"],
    );
    let path = case.run("run");
    Outcome::of(&mut case.start(&path)).ok();
    for step in ["step-00000001", "step-00000002"] {
        fs::write(path.join("checkpoints").join(step).join("state.json"), "{}").unwrap();
    }
    Outcome::of(&mut resume(&path)).fails(
        1,
        &[
            "no usable checkpoint",
            "step-00000001",
            "step-00000002",
            "`state.json` has 2 bytes",
        ],
    );
}

#[test]
fn a_killed_dsl_run_resumes_exactly() {
    let (_, expected) = Case::mixture_dsl().check_kills(7);
    for name in ["generator.bpk", "generator_ema.bpk", "discriminator.bpk"] {
        let name = format!("checkpoints/step-00000040/{name}");
        assert!(expected.files.contains_key(Path::new(&name)), "{name}");
    }
    let measured = |key: &str| {
        expected
            .metrics
            .iter()
            .filter(|line| line.get(key).is_some())
            .count()
    };
    assert_eq!(measured("margin"), 35);
}

#[test]
fn a_killed_text_to_image_run_resumes_exactly_with_workers() {
    Case::t2i_dsl().check_kills(5);
}

#[test]
fn a_killed_run_of_adapters_resumes_exactly() {
    Case::t2i_adapters().check_kills(5);
}

#[test]
fn a_finished_run_has_nothing_to_resume() {
    let case = Case::new("mixture", SMALL_MIXTURE, &[]);
    let path = case.run("run");
    Outcome::of(&mut case.start(&path)).ok();
    let before = State::of(&path);
    // What a process killed while it removed an old checkpoint leaves.
    let rest = path.join("checkpoints/.partial-removed-step-00000002");
    fs::create_dir(&rest).unwrap();
    fs::write(rest.join("state.json"), "{}").unwrap();
    Outcome::of(&mut resume(&path)).ok();
    before.check(&path);
}

#[cfg(unix)]
mod signals {
    use std::io::{BufRead, BufReader, Read};

    use super::*;

    fn interrupt(child: &Child) {
        let id = child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -INT \"$1\"", "sh", &id])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits until a run has reported `steps` steps.
    fn wait_for(run: &Path, steps: usize, child: &mut Child) {
        let lines =
            || fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count());
        while lines() < steps {
            assert!(
                child.try_wait().unwrap().is_none(),
                "the run ended too early"
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn spawn(mut command: Command) -> Child {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn end(child: Child) -> Outcome {
        child.wait_with_output().unwrap().into()
    }

    fn last_checkpoint(run: &Path) -> Option<u64> {
        let names = fs::read_dir(run.join("checkpoints")).unwrap();
        names
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_prefix("step-")?.parse().ok()
            })
            .max()
    }

    #[test]
    fn an_interrupted_run_saves_and_resumes_exactly() {
        let case = Case::mixture_dsl();
        let (expected, _) = case.whole();
        let path = case.run("interrupted");
        let mut child = spawn(case.start(&path));
        wait_for(&path, 3, &mut child);
        interrupt(&child);
        end(child).fails(
            1,
            &[
                "interrupted after step ",
                "which is saved",
                "`dsl-host run --resume ",
            ],
        );
        let reported = metrics(&path).last().unwrap()["step"].as_u64();
        assert_eq!(reported, last_checkpoint(&path));
        Outcome::of(&mut resume(&path)).ok();
        expected.check(&path);
    }

    #[test]
    fn a_run_that_waits_for_its_data_can_be_interrupted() {
        let case = Case::new(
            "misbehave",
            "model: {base: none, denoiser: {kind: mlp, hidden_sizes: [8]}}",
            &[
                "task.fault=endless-after-four",
                "logging.every_steps=1",
                "objective.kind=dsm",
                "train.batch_size=4",
            ],
        );
        let path = case.run("run");
        let mut child = spawn(case.start(&path));
        wait_for(&path, 4, &mut child);
        thread::sleep(Duration::from_millis(50));
        interrupt(&child);
        end(child).fails(1, &["interrupted after step 4, which is saved", "--resume"]);
        assert_eq!(last_checkpoint(&path), Some(4));
    }

    #[test]
    fn the_second_interrupt_ends_the_process_at_once() {
        let case = Case::new(
            "mixture",
            SMALL_MIXTURE,
            // Steps of a second or two: the second signal arrives in the same one as the first.
            &[
                "train.steps=2",
                "logging.every_steps=1",
                "train.batch_size=20000",
                "model.denoiser.hidden_sizes=[256,256,256]",
            ],
        );
        let path = case.run("run");
        let mut child = spawn(case.start(&path));
        wait_for(&path, 1, &mut child);
        interrupt(&child);
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("stopping after this step") {
            assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
        }
        interrupt(&child);
        lines.read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
        assert_eq!(last_checkpoint(&path), None);
        Outcome::of(&mut resume(&path)).ok();
        assert_eq!(last_checkpoint(&path), Some(2));
    }
}

#[test]
fn a_run_is_resumed_from_any_folder_with_the_plugin_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    let libraries = folder.path().join("plugins");
    fs::create_dir(&libraries).unwrap();
    let copy = libraries.join("copied.so");
    fs::copy(support::plugin("mixture"), &copy).unwrap();
    config(folder.path(), "run.yaml", SMALL_MIXTURE);
    let mut command = dsl_host();
    command.current_dir(folder.path()).args([
        "run",
        "--plugin",
        "plugins/copied.so",
        "--config",
        "run.yaml",
        "--out",
        "run",
    ]);
    Outcome::of(&mut command).ok();
    let path = folder.path().join("run");
    Outcome::of(&mut resume(&path)).ok();

    fs::remove_file(&copy).unwrap();
    run(["run", "--resume", path.to_str().unwrap()])
        .fails(1, &["cannot be loaded again", "copied.so"]);
}
