//! Each task plugin, small: what a run leaves, how it goes on after a stop, and what samples are drawn of. A task is one row
//! of the table; what only one task has is told apart below it.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::resume::Case;
use crate::support::{Outcome, SMALL_MIXTURE, SMALL_T2I, dsl_host, metrics, pictures};

/// A task, made so small that a step takes milliseconds.
struct Small {
    /// File name of its library.
    plugin: &'static str,
    sets: &'static [&'static str],
    /// Whether it has texts, and so a text encoder.
    has_text: bool,
    /// Keys of the metrics that its evaluator, and losses of its own, add.
    keys: &'static [&'static str],
    /// The evaluator's picture.
    sheet: &'static str,
    /// Width and height of the picture of two held-out samples.
    held_out: (u32, u32),
    /// What a user may give, and width and height of the picture of it.
    inputs: (&'static [&'static str], (u32, u32)),
    /// What a user may not give, and what is said.
    refused: &'static [(&'static str, &'static [&'static str])],
}

const GLIGEN: Small = Small {
    plugin: "gligen",
    sets: &["task.data.resolution=16", "task.evaluation.samples=2"],
    has_text: true,
    keys: &["psnr", "ssim", "box_contrast_error"],
    sheet: "layouts.png",
    // Two samples beside each other, generated and true; enlarged to 192 pixels, between narrow and wide gaps.
    held_out: (798, 208),
    inputs: (
        &[
            "caption=an aerial photo",
            "boxes=0.1,0.1,0.5,0.5,tree; 0.6,0.5,0.9,0.9,tree",
        ],
        (208, 208),
    ),
    refused: &[
        ("captions=two trees", &["no input `captions`", "`boxes`"]),
        (
            "boxes=0.5,0.1,0.1,0.5,tree",
            &["`boxes[0]`", "is reversed", "left 0.5"],
        ),
        ("boxes=0.1,0.1,0.5,0.5", &["`boxes[0]`", "has no phrase"]),
        (
            r#"boxes=[{"xyxy": [0.1, 0.1, 0.5, 0.5]}]"#,
            &["`boxes[0].phrase`", "is missing"],
        ),
        (
            "boxes=0.1,0.1,0.5,1.5,tree",
            &["`boxes[0]`", "reaches outside of 0..1"],
        ),
        ("caption", &["--input caption", "is not KEY=VALUE"]),
    ],
};

const STABLESR: Small = Small {
    plugin: "stablesr",
    sets: &["task.data.size=16", "task.evaluation.samples=2"],
    has_text: false,
    keys: &["psnr", "psnr/bicubic", "psnr_gain", "ssim", "ssim/bicubic"],
    sheet: "samples.png",
    // Low resolution, generated, truth: three squares of 128 pixels with gaps around them; two samples below each other.
    held_out: (404, 282),
    // 16 pixels become 64, in tiles of 16; enlarged to 128.
    inputs: (&["image=view.png"], (274, 144)),
    refused: &[
        ("picture=view.png", &["unknown input `picture`", "`image`"]),
        ("image=none.png", &["`image`", "cannot read `none.png`"]),
        ("image=notes.png", &["`image`", "notes.png"]),
        ("image=dot.png", &["dot.png", "2 × 2", "8 × 8"]),
        ("image=long.png", &["long.png", "1100 × 8", "1024"]),
    ],
};

const TEXTUAL_INVERSION: Small = Small {
    plugin: "textual_inversion",
    sets: &[
        "task.data.resolution=8",
        "task.evaluation.samples=2",
        "model.base=base",
    ],
    has_text: false,
    keys: &["psnr_nearest"],
    sheet: "concept.png",
    // The five pictures that are learned from, and generated ones below.
    held_out: (504, 204),
    inputs: (&["prompt=a photo of a <concept-chair>"], (504, 204)),
    refused: &[("caption=a photo", &["no input `caption`", "`prompt`"])],
};

const SYNCDREAMER: Small = Small {
    plugin: "syncdreamer",
    sets: &[
        "task.data.image_size=16",
        "task.data.views=2",
        "task.data.supersampling=1",
        "task.evaluation.objects=2",
        "model.task_modules.view_volume={resolution: 8, depths: 8, channels: [4, 8]}",
    ],
    has_text: false,
    keys: &["psnr", "ssim", "psnr/input_view", "psnr_gain"],
    sheet: "views.png",
    // The input and two views, the truth below.
    held_out: (200, 276),
    inputs: (&["image=view.png", "elevation=20"], (200, 68)),
    refused: &[
        ("image=none.png", &["none.png"]),
        ("image=notes.png", &["notes.png"]),
        ("picture=view.png", &["`picture`", "`image`"]),
    ],
};

const ERA3D: Small = Small {
    plugin: "era3d",
    sets: &[
        "task.data.image_size=16",
        "task.data.supersampling=1",
        "task.evaluation.objects=2",
    ],
    has_text: false,
    keys: &[
        "psnr",
        "ssim",
        "psnr_gain",
        "normal_error",
        "loss/camera_elevation",
        "loss/camera_inverse_focal",
    ],
    sheet: "views.png",
    held_out: (464, 540),
    inputs: (&["image=view.png"], (464, 134)),
    refused: &[
        ("image=none.png", &["none.png"]),
        ("image=notes.png", &["notes.png"]),
        ("picture=view.png", &["`picture`", "`image`"]),
    ],
};

/// The tests of every row.
macro_rules! tasks {
    ($($name:ident: $small:expr,)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn a_run_is_measured_and_shown() {
                $small.is_measured_and_shown();
            }

            #[test]
            fn a_killed_run_resumes_exactly() {
                $small.resumes_exactly();
            }
        }
    )*};
}

tasks! {
    gligen: GLIGEN,
    stablesr: STABLESR,
    textual_inversion: TEXTUAL_INVERSION,
    syncdreamer: SYNCDREAMER,
    era3d: ERA3D,
}

/// For every task: a UNet of two levels, two steps of DSM, two of DSL.
const SETTINGS: &str = "
objective: {kind: dsl, warmup_dsm_steps: 2}
train: {steps: 4, batch_size: 2, workers: 1}
logging: {every_steps: 1}
sampling: {every_steps: 4, count: 2, sampler: {num_inference_steps: 2}}
validation: {every_steps: 4, samples: 4}
checkpoint: {every_steps: 1}
";

const UNET: &str = "model.denoiser={kind: unet, block_out_channels: [8, 8], \
    down_block_types: [DownBlock2D, CrossAttnDownBlock2D], up_block_types: [CrossAttnUpBlock2D, UpBlock2D], \
    cross_attention_dim: 8, attention_head_dim: 2, norm_num_groups: 4}";

const TEXT_ENCODER: &str = "model.text_encoder={vocab_size: 300, hidden_size: 8, num_hidden_layers: 1, \
    num_attention_heads: 2, intermediate_size: 16, max_position_embeddings: 64}";

impl Small {
    /// All settings; `folder` holds a run of t2i to start from, where the task takes one.
    fn all_sets(&self, folder: &Path) -> Vec<String> {
        let mut sets: Vec<String> = self.sets.iter().map(|&set| set.to_owned()).collect();
        let base = sets.iter_mut().find(|set| *set == "model.base=base");
        if let Some(base) = base {
            *base = format!("model.base={}", base_run(folder).display());
            return sets;
        }
        sets.extend(["model.base=none".to_owned(), UNET.to_owned()]);
        if self.has_text {
            sets.push(TEXT_ENCODER.to_owned());
        }
        sets
    }

    fn case(&self) -> Case {
        let mut case = Case::new(self.plugin, SETTINGS, &[]);
        case.sets = self.all_sets(&case.run(""));
        case
    }

    fn is_measured_and_shown(&self) {
        let mut case = self.case();
        let dsl = case.run("dsl");
        Outcome::of(&mut case.start(&dsl)).ok();
        let lines = metrics(&dsl);
        assert_eq!(lines.len(), 4);
        // Its discriminator comes after the warm-up.
        assert!(lines[1].get("loss/discriminator").is_none());
        assert!(lines[2]["loss/discriminator"].is_number());
        let all = [
            "loss/generator",
            "validation/err/generator",
            "validation/conditioning_gain",
        ];
        for key in all.iter().chain(self.keys) {
            assert!(is_finite(&lines[3][key]), "{key}: {}", lines[3]);
        }
        let sheet = dsl.join("evaluation/step-00000004").join(self.sheet);
        assert!(size(&sheet) >= (100, 100), "{:?}", size(&sheet));
        assert_eq!(size(&dsl.join("samples/step-00000004.png")), self.held_out);
        self.is_sampled(case.run("").as_path(), &dsl);

        case.sets.push("objective.kind=dsm".to_owned());
        let dsm = case.run("dsm");
        Outcome::of(&mut case.start(&dsm)).ok();
        let last = &metrics(&dsm)[3];
        assert!(last.get("loss/discriminator").is_none(), "{last}");
        assert!(is_finite(&last["validation/conditioning_gain"]), "{last}");
    }

    fn is_sampled(&self, folder: &Path, run: &Path) {
        picture(&folder.join("view.png"), 16, 16);
        picture(&folder.join("long.png"), 1100, 8);
        picture(&folder.join("dot.png"), 2, 2);
        fs::write(folder.join("notes.png"), "words").unwrap();
        let out = folder.join("out.png");
        let sample = |arguments: &[&str]| {
            let mut command = dsl_host();
            command.current_dir(folder).args(["sample", "--run"]);
            command.arg(run).args(["--out", "out.png"]).args(arguments);
            Outcome::of(&mut command)
        };
        let with = |inputs: &[&str], more: &[&str]| {
            let mut arguments: Vec<&str> = inputs.iter().flat_map(|i| ["--input", i]).collect();
            arguments.extend(more);
            sample(&arguments)
        };
        sample(&["--count", "2"]).ok();
        assert_eq!(size(&out), self.held_out);
        let (inputs, expected) = self.inputs;
        with(inputs, &[]).ok();
        assert_eq!(size(&out), expected);
        let first = fs::read(&out).unwrap();
        with(inputs, &["--seed", "1"]).ok();
        assert!(first != fs::read(&out).unwrap(), "another seed");
        fs::remove_file(&out).unwrap();
        for (input, parts) in self.refused {
            let outcome = with(&[input], &[]);
            let code = outcome.code.unwrap_or_default();
            assert!([1, 2].contains(&code), "{input}: {outcome:?}");
            outcome.fails(code, parts);
            assert!(!out.exists(), "{input}");
        }
    }

    fn resumes_exactly(&self) {
        let (_, whole) = self.case().check_kills(2);
        let generator = Path::new("checkpoints/step-00000004/generator.bpk");
        assert!(whole.files.contains_key(generator));
    }
}

/// A run of t2i whose text encoder has room for a caption.
pub fn base_run(folder: &Path) -> PathBuf {
    let data = folder.join("pictures");
    pictures(&data);
    let mut case = Case::new(
        "t2i",
        SMALL_T2I,
        &[
            "objective.kind=dsm",
            "train.steps=1",
            "model.text_encoder.max_position_embeddings=64",
        ],
    );
    case.sets.push(format!("task.data.path={}", data.display()));
    let run = folder.join("base");
    Outcome::of(&mut case.start(&run)).ok();
    run
}

fn is_finite(value: &Value) -> bool {
    value.as_f64().is_some_and(f64::is_finite)
}

fn size(path: &Path) -> (u32, u32) {
    let picture = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (picture.width(), picture.height())
}

fn picture(path: &Path, width: u32, height: u32) {
    let shades = image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(13 * x) as u8, (29 * y) as u8, (7 * (x + y)) as u8])
    });
    shades.save(path).unwrap();
}

/// Runs a task once more, with further settings.
fn with_sets(case: &mut Case, name: &str, sets: &[&str]) -> Outcome {
    let before = case.sets.len();
    case.sets.extend(sets.iter().map(|&set| set.to_owned()));
    let outcome = Outcome::of(&mut case.start(&case.run(name)));
    case.sets.truncate(before);
    outcome
}

/// `dsl-host` with a folder of runs as the current one.
fn host(folder: &Path, arguments: &[&str]) -> Outcome {
    Outcome::of(dsl_host().current_dir(folder).args(arguments))
}

#[test]
fn a_discriminator_that_cannot_learn_what_a_task_adds_is_refused() {
    let mut case = GLIGEN.case();
    let closed = [
        "objective.warmup_dsm_steps=0",
        "objective.discriminator.trainable=lora",
    ];
    let parts = [
        "objective.warmup_dsm_steps",
        "cannot teach what it cannot represent",
        "grounding_tokens",
        "train_task_modules",
        "hint: ",
    ];
    with_sets(&mut case, "closed", &closed).fails(1, &parts);
    // Each of the ways out that the hint names.
    for (name, way) in [
        ("full", "objective.discriminator.trainable=full"),
        ("own", "objective.discriminator.train_task_modules=true"),
        ("weight", "objective.generator.dsm_weight=0.5"),
    ] {
        let sets = [closed[0], closed[1], way, "train.steps=1"];
        with_sets(&mut case, name, &sets).ok();
    }
}

#[test]
fn a_text_to_image_run_is_a_base_of_layouts() {
    let mut case = Case::new("gligen", SETTINGS, GLIGEN.sets);
    let base = base_run(&case.run(""));
    case.sets.push(format!("model.base={}", base.display()));
    let said = with_sets(&mut case, "run", &["train.steps=1"]).ok().stderr;
    for part in ["the base has no grounding_tokens", "fresh weights for them"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(is_finite(&metrics(&case.run("run"))[0]["loss/generator"]));
}

#[test]
fn a_network_of_points_is_no_base_of_layouts() {
    let points = Case::new("mixture", SMALL_MIXTURE, &["train.steps=1"]);
    Outcome::of(&mut points.start(&points.run("run"))).ok();
    let folder = points.run("");
    let export = ["export", "--run", "run", "--out", "points.safetensors"];
    host(&folder, &export).ok();
    let mut case = Case::new("gligen", SETTINGS, GLIGEN.sets);
    let base = format!("model.base={}", folder.join("points.safetensors").display());
    with_sets(&mut case, "run", &[&base]).fails(2, &["an MLP takes no conditions", "kind: unet"]);
    assert!(!case.run("run").exists());
}

#[test]
fn a_new_word_needs_a_model_that_reads() {
    let mut case = Case::new("textual_inversion", SETTINGS, &[]);
    let fresh = ["model.base=none", UNET, TEXT_ENCODER];
    with_sets(&mut case, "run", &fresh).fails(2, &["new words", "`model.base`", "t2i"]);
    assert!(!case.run("run").exists());
}

#[test]
fn a_new_word_is_all_that_is_trained_and_goes_where_it_is_exported_to() {
    let mut case = TEXTUAL_INVERSION.case();
    let folder = case.run("");
    let two = ["task.data.num_vectors=2", "train.learning_rate=0.1"];
    let said = with_sets(&mut case, "run", &two).ok().stderr;
    // Two rows of eight features.
    assert!(said.contains("16 of them trained"), "{said}");
    assert!(metrics(&case.run("run"))[1]["grad_norm/generator"].as_f64() > Some(0.0));

    let export = |more: &[&str]| {
        let arguments = [&["export", "--run", "run"][..], more].concat();
        host(&folder, &arguments).ok();
    };
    export(&["--format", "embedding", "--out", "word"]);
    let (shapes, rows) = tensors(&folder.join("word/learned_embeds.safetensors"));
    assert_eq!(shapes, [("<concept-chair>".to_owned(), vec![2, 8])]);
    assert!(rows.iter().all(|value| value.is_finite()));
}

/// Names and shapes of a safetensors file, and all of its values.
pub fn tensors(path: &Path) -> (Vec<(String, Vec<usize>)>, Vec<f32>) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let shapes = file.tensors().into_iter();
    let shapes = shapes.map(|(name, view)| (name, view.shape().to_vec()));
    let values = file.tensors().into_iter().flat_map(|(_, view)| {
        let chunks = view.data().chunks_exact(4);
        let values = chunks.map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap()));
        values.collect::<Vec<_>>()
    });
    (shapes.collect(), values.collect())
}
