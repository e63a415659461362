//! The forms of a user's data.

use dsl_sdk::Task;
use dsl_sdk::image::Window;
use dsl_sdk::serde_json::json;

use super::set::*;
use crate::{DataConfig, Format};

const THING: Window = Window {
    left: 8,
    top: 4,
    width: 16,
    height: 8,
};

#[test]
fn pixels_and_shares_say_the_same() {
    let pixels = folder_with(
        json!({"text": "a box", "objects": {"bbox": [[8, 4, 16, 8]], "categories": ["box"]}}),
    );
    let shares = folder_with(
        json!({"caption": "a box", "boxes": [{"xyxy": [0.25, 0.125, 0.75, 0.375], "phrase": " box\n"}]}),
    );
    let [first, second] = [&pixels, &shares]
        .map(|folder| all(&open(config(folder.path())).unwrap(), "train").unwrap());
    assert_eq!(first, second);
    assert_eq!(
        boxes(&first),
        [([0.25, 0.125, 0.75, 0.375], "box".to_owned())]
    );
    assert_eq!(first.texts("caption").unwrap(), ["a box"]);
}

#[test]
fn without_a_caption_the_phrases_are_one() {
    let list = json!([{"xyxy": [0, 0, 0.5, 1], "phrase": "dog"}, {"xyxy": [0.5, 0, 1, 1], "phrase": "cat"},
        {"xyxy": [0, 0, 1, 0.5], "phrase": "dog"}]);
    let folder = folder_with(json!({"boxes": list}));
    let batch = all(&open(config(folder.path())).unwrap(), "train").unwrap();
    assert_eq!(batch.texts("caption").unwrap(), ["dog, cat"]);
}

#[test]
fn coco_with_captions_and_without() {
    let folder = tempfile::tempdir().unwrap();
    for (split, id) in [("train2017", 7), ("val2017", 8)] {
        let name = format!("{id:012}.png");
        write(
            folder.path(),
            &format!("{split}/{name}"),
            picture(32, 32, THING),
        );
        let instances = json!({
            "info": {"year": 2017},
            "images": [{"id": id, "file_name": name, "width": 32, "height": 32}, {"id": 99, "file_name": "none.png"}],
            "annotations": [
                {"id": 1, "image_id": id, "category_id": 18, "bbox": [8, 4, 16, 8], "iscrowd": 0, "segmentation": []},
                {"id": 2, "image_id": id, "category_id": 18, "bbox": [0, 0, 32, 32], "iscrowd": 1, "segmentation": {}},
            ],
            "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
        });
        write(
            folder.path(),
            &format!("annotations/instances_{split}.json"),
            instances.to_string(),
        );
    }
    let captions =
        json!({"annotations": [{"image_id": 7, "id": 1, "caption": "A dog\n on a wall. "}]});
    write(
        folder.path(),
        "annotations/captions_train2017.json",
        captions.to_string(),
    );
    for format in [Format::Auto, Format::Coco] {
        let task = open(DataConfig {
            format,
            ..config(folder.path())
        })
        .unwrap();
        assert_eq!(task.splits(), ["train", "test"]);
        let train = all(&task, "train").unwrap();
        assert_eq!(train.texts("caption").unwrap(), ["A dog on a wall."]);
        let place = ([0.25, 0.125, 0.75, 0.375], "dog".to_owned());
        assert_eq!(boxes(&train), std::slice::from_ref(&place));
        let test = all(&task, "test").unwrap();
        assert_eq!(test.texts("caption").unwrap(), ["dog"]);
        assert_eq!(boxes(&test), [place]);
    }
    // A file that lies with the pictures of its split, as some tools export it.
    let other = tempfile::tempdir().unwrap();
    write(other.path(), "train/a.png", picture(32, 32, THING));
    let instances = json!({"images": [{"id": 0, "file_name": "a.png"}],
        "annotations": [{"id": 5, "image_id": 0, "category_id": 1, "bbox": [8, 4, 16, 8]}],
        "categories": [{"id": 1, "name": "box"}]});
    write(
        other.path(),
        "train/_annotations.coco.json",
        instances.to_string(),
    );
    let task = open(config(other.path())).unwrap();
    assert_eq!(task.splits(), ["train"]);
    assert_eq!(boxes(&all(&task, "train").unwrap()).len(), 1);
}
