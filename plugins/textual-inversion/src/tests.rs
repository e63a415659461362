//! The concepts inside, and folders made on disk by the tests, opened through the task.

use std::path::Path;

use dsl_sdk::image::Picture;
use dsl_sdk::serde_json::json;
use dsl_sdk::{
    Artefacts, Batch, BatchRequest, Column, ColumnData, Host, Injection, PluginError, Task,
};

use crate::{
    BundledConcept, DataConfig, LearnableProperty, TextualInversion, TextualInversionConfig,
};

fn open(data: DataConfig) -> Result<TextualInversion, PluginError> {
    let config = TextualInversionConfig {
        data,
        ..TextualInversionConfig::default()
    };
    TextualInversion::open(config, Host::detached())
}

fn batch(
    task: &TextualInversion,
    split: &str,
    indices: &[u64],
    seeds: &[u64],
    augment: bool,
) -> Batch {
    let request = BatchRequest {
        indices,
        seeds,
        augment,
    };
    task.dataset(split).unwrap().batch(&request).unwrap()
}

/// A folder with so many pictures of one colour each.
fn folder(pictures: u8) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for index in 0..pictures {
        let picture = Picture::filled(20, 12, [index * 20, 0, 100]);
        let bytes = picture.to_png().unwrap();
        std::fs::write(folder.path().join(format!("{index}.png")), bytes).unwrap();
    }
    folder
}

fn at(path: &Path) -> DataConfig {
    DataConfig {
        path: Some(path.display().to_string()),
        placeholder_token: Some("<mine>".into()),
        initializer_token: Some("thing".into()),
        ..DataConfig::default()
    }
}

/// Where `DSL_KEEP_PICTURES` names a folder, pictures are left there to look at.
fn keep(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("DSL_KEEP_PICTURES") {
        std::fs::write(Path::new(&folder).join(name), bytes).unwrap();
    }
}

#[test]
fn every_concept_inside_opens_with_its_words() {
    let words = [
        (BundledConcept::Chair, "<concept-chair>", "chair"),
        (BundledConcept::Bear, "<concept-bear>", "bear"),
        (BundledConcept::Plane, "<concept-plane>", "airplane"),
        (BundledConcept::Horse, "<concept-horse>", "horse"),
    ];
    let mut seen = Vec::new();
    for (concept, token, initializer) in words {
        let task = open(DataConfig {
            concept,
            ..DataConfig::default()
        })
        .unwrap();
        let description = task.describe();
        let expected = Injection::LearnedTokens {
            tokens: vec![token.to_owned()],
            initializer: initializer.to_owned(),
        };
        assert_eq!(description.injections[1], expected);
        assert!(
            description
                .sample_prompts
                .iter()
                .all(|prompt| prompt.contains(token))
        );
        assert_eq!(task.splits(), ["train", "test"]);
        assert_eq!(task.dataset("train").unwrap().len(), 500);
        assert_eq!(task.dataset("test").unwrap().len(), 27);
        let first = batch(&task, "train", &[0], &[0], false);
        assert_eq!(first.f32("image").unwrap().0, [1, 3, 32, 32]);
        assert_eq!(
            first.texts("caption").unwrap(),
            [format!("a photo of a {token}")]
        );
        assert!(!seen.contains(&first), "another thing");
        seen.push(first);
    }
    let defaults = TextualInversion::host_defaults();
    assert_eq!(defaults["model"]["trainable"]["kind"], "task_modules");
}

#[test]
fn a_batch_is_its_samples_one_after_the_other() {
    let task = open(DataConfig::default()).unwrap();
    for augment in [false, true] {
        let together = batch(&task, "train", &[3, 105], &[30, 50], augment);
        let apart = [(3, 30), (105, 50)]
            .map(|(index, seed)| batch(&task, "train", &[index], &[seed], augment));
        let values: Vec<f32> = apart
            .iter()
            .flat_map(|batch| batch.f32("image").unwrap().1)
            .copied()
            .collect();
        let captions: Vec<String> = apart
            .iter()
            .flat_map(|batch| batch.texts("caption").unwrap())
            .cloned()
            .collect();
        assert_eq!(together.f32("image").unwrap().1, values);
        assert_eq!(together.texts("caption").unwrap(), captions);
    }
    // Seeds choose the template and the side, not the view.
    let drawn: Vec<Batch> = (0..60)
        .map(|seed| batch(&task, "train", &[7], &[seed], true))
        .collect();
    let mut captions: Vec<&String> = drawn
        .iter()
        .map(|batch| &batch.texts("caption").unwrap()[0])
        .collect();
    captions.sort();
    captions.dedup();
    assert!(captions.len() > 15, "{captions:?}");
    let mut sides: Vec<&[f32]> = drawn
        .iter()
        .map(|batch| batch.f32("image").unwrap().1)
        .collect();
    sides.dedup();
    let plain = sides.iter().filter(|side| **side == sides[0]).count();
    assert!(plain > 1 && plain < sides.len());
}

#[test]
fn held_out_views_are_not_learned_from() {
    for holdout in [1, 2] {
        let task = open(DataConfig {
            holdout,
            ..DataConfig::default()
        })
        .unwrap();
        let views = |split: &str, count: u64| -> Vec<Vec<f32>> {
            (0..count)
                .map(|index| {
                    batch(&task, split, &[index], &[0], false)
                        .f32("image")
                        .unwrap()
                        .1
                        .to_vec()
                })
                .collect()
        };
        let (train, test) = (views("train", 6 - holdout), views("test", holdout));
        assert!(test.iter().all(|view| !train.contains(view)));
        assert_eq!(task.dataset("test").unwrap().len(), 27 * holdout);
    }
    let all = open(DataConfig {
        holdout: 0,
        ..DataConfig::default()
    })
    .unwrap();
    assert_eq!(all.splits(), ["train"]);
    assert_eq!(all.dataset("train").unwrap().len(), 600);
}

#[test]
fn several_embeddings_and_templates_of_ones_own() {
    let views = folder(3);
    let task = open(DataConfig {
        num_vectors: 3,
        templates: vec!["my {} here".into()],
        ..at(views.path())
    })
    .unwrap();
    let caption = "my <mine> <mine>_1 <mine>_2 here";
    assert_eq!(
        batch(&task, "test", &[0], &[0], false)
            .texts("caption")
            .unwrap(),
        [caption]
    );
    for prompt in ["my <mine> here", caption] {
        let conditions = task.conditions(&json!({"prompt": prompt})).unwrap();
        assert_eq!(conditions.texts("caption").unwrap(), [caption]);
    }
    let style = open(DataConfig {
        learnable_property: Some(LearnableProperty::Style),
        ..at(views.path())
    })
    .unwrap();
    let first = batch(&style, "train", &[0], &[0], false);
    assert_eq!(
        first.texts("caption").unwrap(),
        ["a picture in the style of <mine>"]
    );
}

#[test]
fn a_folder_says_what_it_is_of() {
    let views = folder(4);
    let text = json!({"placeholder_token": "<cup>", "initializer": "cup", "template": "style"});
    std::fs::write(views.path().join("concept.json"), text.to_string()).unwrap();
    let plain = DataConfig {
        path: at(views.path()).path,
        ..DataConfig::default()
    };
    let task = open(plain.clone()).unwrap();
    let conditions = batch(&task, "train", &[0], &[0], false);
    assert_eq!(
        conditions.texts("caption").unwrap(),
        ["a picture in the style of <cup>"]
    );
    // The config has the last word.
    let task = open(DataConfig {
        learnable_property: Some(LearnableProperty::Object),
        ..at(views.path())
    })
    .unwrap();
    assert!(task.describe().sample_prompts[0].contains("a photo of a <mine>"));
    std::fs::write(views.path().join("concept.json"), "{\"token\": \"<cup>\"}").unwrap();
    let error = open(plain).unwrap_err();
    assert!(
        error.message.contains("concept.json") && error.message.contains("token"),
        "{error}"
    );
}

#[track_caller]
fn check_error(config: DataConfig, parts: &[&str]) {
    let error = open(config).expect_err("this cannot be");
    for part in parts {
        assert!(
            error.message.contains(part),
            "`{part}` is not in: {}",
            error.message
        );
    }
    assert!(!error.message.contains('\n'), "{}", error.message);
}

#[test]
fn what_cannot_be() {
    let one = folder(1);
    let name = one.path().display().to_string();
    check_error(
        at(one.path()),
        &[&name, "holds 1 picture", "`task.data.holdout` takes 1"],
    );
    let without = DataConfig {
        holdout: 0,
        ..at(one.path())
    };
    assert_eq!(open(without.clone()).unwrap().splits(), ["train"]);
    check_error(at(folder(0).path()), &["no pictures in"]);
    check_error(at(&one.path().join("gone")), &["task.data.path", "gone"]);
    let nameless = DataConfig {
        placeholder_token: None,
        ..without.clone()
    };
    check_error(
        nameless,
        &["`task.data.placeholder_token` is not set", &name],
    );
    let beginless = DataConfig {
        initializer_token: None,
        ..without.clone()
    };
    check_error(beginless, &["`task.data.initializer_token` is not set"]);
    let spaced = DataConfig {
        placeholder_token: Some("my cat".into()),
        ..without.clone()
    };
    check_error(spaced, &["`task.data.placeholder_token` is `my cat`"]);
    let same = DataConfig {
        placeholder_token: Some("thing".into()),
        ..without.clone()
    };
    check_error(same, &["both `thing`"]);
    let gapless = DataConfig {
        templates: vec!["a {}".into(), "a photo".into()],
        ..without.clone()
    };
    check_error(gapless, &["`task.data.templates[1]` is `a photo`"]);
    let none = DataConfig {
        num_vectors: 0,
        ..without.clone()
    };
    check_error(none, &["task.data.num_vectors"]);
    std::fs::write(one.path().join("0.png"), "no picture").unwrap();
    check_error(without, &["0.png"]);
}

#[test]
fn inputs_that_cannot_be() {
    let task = open(DataConfig::default()).unwrap();
    let cases = [
        (json!({}), "`prompt` is missing"),
        (json!({"prompt": 3}), "`prompt` is 3"),
        (
            json!({"prompt": "x", "boxes": ""}),
            "there is no input `boxes`",
        ),
        (json!("x"), "expected an object"),
    ];
    for (inputs, part) in cases {
        let error = task.conditions(&inputs).unwrap_err();
        assert!(error.message.contains(part), "{error}");
        assert!(
            error.help.contains("a photo of a <concept-chair>"),
            "{error}"
        );
    }
}

#[test]
fn given_pictures_stand_above_generated_ones() {
    let task = open(DataConfig::default()).unwrap();
    let request = BatchRequest {
        indices: &[0, 1, 2, 3, 4, 0, 1],
        seeds: &[0; 7],
        augment: false,
    };
    let mut samples = task.dataset("test").unwrap().batch(&request).unwrap();
    let Some(ColumnData::F32 { shape, values }) = samples.column("image").cloned() else {
        panic!("no pictures")
    };
    let values = values.into_iter().map(|value| 0.6 * value).collect();
    let data = ColumnData::F32 { shape, values };
    samples.columns.push(Column {
        name: "generated".into(),
        data,
    });
    let picture = task.picture(&samples).unwrap().unwrap();
    // Five columns, one row of given pictures and two of generated ones, each of 96 pixels.
    assert_eq!(
        (picture.width(), picture.height()),
        (5 * 100 + 4, 3 * 100 + 4)
    );
    keep("textual-inversion.png", &picture.to_png().unwrap());
    assert!(task.picture(&Batch::default()).is_err());

    let mut evaluator = task.evaluator().unwrap().unwrap();
    evaluator.update(&samples, 0).unwrap();
    let mut artefacts = Artefacts::default();
    let metrics = evaluator.finish(&mut artefacts).unwrap();
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(
        names,
        ["psnr_nearest"],
        "a host without networks has no CLIP"
    );
    assert!(
        (5.0..30.0).contains(&metrics[0].value),
        "{}",
        metrics[0].value
    );
    assert!(artefacts.get("concept.png").is_some());
    assert!(
        evaluator
            .finish(&mut Artefacts::default())
            .unwrap()
            .is_empty()
    );
}
