//! What a sample depends on, and that boxes move with their pictures.

use dsl_sdk::image::{Resize, Window};
use dsl_sdk::serde_json::json;
use dsl_sdk::{Batch, ColumnData, Dataset, Task};

use super::set::*;
use crate::{DataConfig, Gligen, GligenConfig};

/// Every random change at once, on the set inside.
fn lively() -> DataConfig {
    DataConfig {
        resize: Resize::RandomCrop,
        resolution: 16,
        ..DataConfig::default()
    }
}

fn train(config: DataConfig) -> Box<dyn Dataset> {
    open(config).unwrap().dataset("train").unwrap()
}

/// The batches one after the other.
fn joined(batches: Vec<Batch>) -> Batch {
    let mut batches = batches.into_iter();
    let mut first = batches.next().unwrap();
    for batch in batches {
        for (column, more) in first.columns.iter_mut().zip(batch.columns) {
            match (&mut column.data, more.data) {
                (ColumnData::Text(texts), ColumnData::Text(more)) => texts.extend(more),
                (
                    ColumnData::F32 { shape, values },
                    ColumnData::F32 {
                        shape: more_shape,
                        values: more,
                    },
                ) => {
                    shape[0] += more_shape[0];
                    values.extend(more);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    first
}

#[test]
fn a_batch_is_its_samples_one_after_the_other() {
    let dataset = train(lively());
    for augment in [false, true] {
        let together = batch(&*dataset, &[3, 5, 3], &[30, 50, 31], augment).unwrap();
        let apart = [(3, 30), (5, 50), (3, 31)]
            .map(|(index, seed)| batch(&*dataset, &[index], &[seed], augment).unwrap());
        assert_eq!(together, joined(apart.into()));
    }
    let uncached = train(DataConfig {
        cache_mib: 0,
        ..lively()
    });
    assert_eq!(
        batch(&*dataset, &[9, 100], &[1, 2], true).unwrap(),
        batch(&*uncached, &[9, 100], &[1, 2], true).unwrap()
    );
}

#[test]
fn the_set_inside_is_whole() {
    let task = Gligen::open(GligenConfig::default(), dsl_sdk::Host::detached()).unwrap();
    assert_eq!(task.splits(), ["train", "test"]);
    for (split, count) in [("train", 602), ("test", 132)] {
        let batch = all(&task, split).unwrap();
        let (shape, values) = batch.f32("image").unwrap();
        assert_eq!(shape, [count, 3, 16, 16]);
        assert!(values.iter().all(|value| (-1.0..=1.0).contains(value)));
        let (shape, edges) = batch.f32("boxes").unwrap();
        assert_eq!(shape, [count, 10, 4]);
        let (_, mask) = batch.f32("boxes_mask").unwrap();
        let phrases = batch.texts("phrases").unwrap();
        for ((edges, &mask), phrase) in edges.chunks(4).zip(mask).zip(phrases) {
            let is_box = edges[0] < edges[2] && edges[1] < edges[3];
            assert!(edges.iter().all(|edge| (0.0..=1.0).contains(edge)));
            assert_eq!((mask == 1.0, mask == 1.0), (is_box, !phrase.is_empty()));
        }
        assert!(
            mask.iter().sum::<f32>() > 2.0 * count as f32,
            "boxes enough"
        );
    }
    assert!(task.describe().sample_prompts.len() > 3);
    assert!(Gligen::host_defaults()["model"]["denoiser"].is_object());
}

/// In every way of fitting, the white part of the picture is where the box says.
#[test]
fn boxes_move_with_their_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let thing = Window {
        left: 12,
        top: 6,
        width: 20,
        height: 12,
    };
    write(folder.path(), "a.png", picture(48, 24, thing));
    let record = json!({"file_name": "a.png", "text": "x", "objects": {"bbox": [[12, 6, 20, 12]], "categories": ["thing"]}});
    write(folder.path(), "metadata.jsonl", record.to_string());
    for resize in [
        Resize::CenterCrop,
        Resize::RandomCrop,
        Resize::Stretch,
        Resize::Pad,
    ] {
        let dataset = train(DataConfig {
            resize,
            flip: 0.5,
            resolution: 24,
            background: [0; 3],
            ..config(folder.path())
        });
        let mut seen = Vec::new();
        for seed in 0..40 {
            let batch = batch(&*dataset, &[0], &[seed], true).unwrap();
            let (_, values) = batch.f32("image").unwrap();
            let is_white = |x: usize, y: usize| values[y * 24 + x] > 0.0;
            let columns: Vec<usize> = (0..24)
                .filter(|&x| (0..24).any(|y| is_white(x, y)))
                .collect();
            let rows: Vec<usize> = (0..24)
                .filter(|&y| (0..24).any(|x| is_white(x, y)))
                .collect();
            let expected = [columns[0], rows[0], columns.len(), rows.len()].map(|n| n as f32);
            let (edges, phrase) = boxes(&batch).remove(0);
            let [left, top, right, bottom] = edges.map(|edge| edge * 24.0);
            let found = [left, top, right - left, bottom - top];
            for (found, expected) in found.into_iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= 1.0,
                    "{resize:?} {seed}: {found} for {expected}"
                );
            }
            assert_eq!(phrase, "thing");
            if !seen.contains(&edges) {
                seen.push(edges);
            }
        }
        let wanted = if resize == Resize::RandomCrop { 8 } else { 2 };
        assert!(
            seen.len() >= wanted,
            "{resize:?}: mirrored, and cut: {seen:?}"
        );
    }
}

#[test]
fn small_boxes_go_and_the_largest_are_kept() {
    let shares = |left: f64, side: f64| json!({"xyxy": [left, 0.0, left + side, side], "phrase": format!("{side}")});
    // 0.09² is below one hundredth.
    let sides = [0.09, 0.2, 0.5, 0.3, 0.4, 0.1];
    let list: Vec<_> = sides.map(|side| shares(0.1, side)).into();
    let folder = folder_with(json!({"text": "x", "boxes": list}));
    let phrases = |config: DataConfig| -> Vec<String> {
        let batch = all(&open(config).unwrap(), "train").unwrap();
        boxes(&batch)
            .into_iter()
            .map(|(_, phrase)| phrase)
            .collect()
    };
    let three = DataConfig {
        max_boxes: 3,
        ..config(folder.path())
    };
    assert_eq!(phrases(three), ["0.5", "0.4", "0.3"]);
    let many = DataConfig {
        max_boxes: 9,
        ..config(folder.path())
    };
    assert_eq!(phrases(many.clone()), ["0.5", "0.4", "0.3", "0.2", "0.1"]);
    let all = DataConfig {
        min_box_area: 0.0,
        ..many
    };
    assert_eq!(phrases(all).len(), 6);
}

#[test]
fn a_caption_is_used_as_often_as_asked_and_always_where_nothing_is_drawn() {
    let folder = folder_with(json!({"text": ["one", "two"], "boxes": []}));
    let dataset = train(DataConfig {
        prob_use_caption: 0.5,
        ..config(folder.path())
    });
    let captions: Vec<String> = (0..200)
        .flat_map(|seed| {
            let batch = batch(&*dataset, &[0], &[seed], true).unwrap();
            batch.texts("caption").unwrap().to_vec()
        })
        .collect();
    let count = |text: &str| captions.iter().filter(|caption| *caption == text).count();
    assert!((70..=130).contains(&count("")), "{}", count(""));
    assert!(count("one") > 20 && count("two") > 20);
    let still = batch(&*dataset, &[0], &[7], false).unwrap();
    assert_eq!(still.texts("caption").unwrap(), ["one"]);
    assert_eq!(boxes(&still), []);
}
