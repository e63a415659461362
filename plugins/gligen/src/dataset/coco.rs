//! COCO: `instances_*.json`, with `captions_*.json` beside where there are captions, or `_annotations.coco.json` in each split's folder.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use dsl_sdk::captions;
use dsl_sdk::image_folder;
use dsl_sdk::picture_set::{PictureRef, TEST_SPLITS};
use dsl_sdk::serde::{Deserialize, de::DeserializeOwned};
use dsl_sdk::serde_json::{self, Map, Value, json};
use dsl_sdk::{Host, PluginError};

use super::source::{Sample, Source};
use crate::config::DataConfig;
use crate::regions::{pseudo_caption, regions_of};

const IN_SPLIT: &str = "_annotations.coco.json";

/// The files of one split.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CocoSplit {
    pub instances: PathBuf,
    captions: Option<PathBuf>,
    pictures: PathBuf,
}

#[derive(Deserialize)]
#[serde(crate = "dsl_sdk::serde")]
struct Instances {
    images: Vec<Picture>,
    annotations: Vec<Annotation>,
    categories: Vec<Category>,
}

#[derive(Deserialize)]
#[serde(crate = "dsl_sdk::serde")]
struct Picture {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
#[serde(crate = "dsl_sdk::serde")]
struct Annotation {
    #[serde(default)]
    id: u64,
    image_id: u64,
    category_id: u64,
    bbox: Value,
    #[serde(default)]
    iscrowd: u8,
}

#[derive(Deserialize)]
#[serde(crate = "dsl_sdk::serde")]
struct Category {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
#[serde(crate = "dsl_sdk::serde")]
struct Captions {
    annotations: Vec<Caption>,
}

#[derive(Deserialize)]
#[serde(crate = "dsl_sdk::serde")]
struct Caption {
    image_id: u64,
    caption: String,
}

/// Train and test of a folder, as far as they are there.
pub(crate) fn splits(root: &Path, config: &DataConfig) -> (Option<CocoSplit>, Option<CocoSplit>) {
    let test = match &config.test_split {
        Some(name) => split(root, name),
        None => TEST_SPLITS.iter().find_map(|name| split(root, name)),
    };
    (split(root, &config.train_split), test)
}

/// The files of the split `name`: `instances_name.json`, or with a year, `instances_name2017.json`.
fn split(root: &Path, name: &str) -> Option<CocoSplit> {
    let beside = root.join(name).join(IN_SPLIT);
    if beside.is_file() {
        return Some(CocoSplit {
            instances: beside,
            captions: None,
            pictures: root.join(name),
        });
    }
    let annotations = root.join("annotations");
    let mut names: Vec<String> = std::fs::read_dir(&annotations)
        .ok()?
        .flatten()
        .filter_map(|item| {
            let file = item.file_name().to_string_lossy().into_owned();
            let full = file.strip_prefix("instances_")?.strip_suffix(".json")?;
            let year = full.strip_prefix(name)?;
            year.chars()
                .all(|c| c.is_ascii_digit())
                .then(|| full.to_owned())
        })
        .collect();
    names.sort();
    let full = names.pop()?;
    let captions = annotations.join(format!("captions_{full}.json"));
    let folders = [
        root.join(&full),
        root.join("images").join(&full),
        root.join("images"),
    ];
    Some(CocoSplit {
        instances: annotations.join(format!("instances_{full}.json")),
        captions: captions.is_file().then_some(captions),
        pictures: folders
            .into_iter()
            .find(|folder| folder.is_dir())
            .unwrap_or_else(|| root.to_owned()),
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, PluginError> {
    let file = File::open(path).map_err(|error| PluginError::io_at("read", path, &error))?;
    serde_json::from_reader(BufReader::new(file)).map_err(|error| {
        PluginError::config(format!("`{}` is not as COCO writes it: {error}", path.display()))
            .with_help("it needs `images` (id, file_name), `annotations` (image_id, category_id, bbox) and `categories` (id, name)")
    })
}

/// The samples of a split, in the order of its `images`. Pictures without a box, and boxes around crowds, are left out.
pub(crate) fn open(
    split: &CocoSplit,
    config: &DataConfig,
    host: &Host,
) -> Result<Source, PluginError> {
    let instances: Instances = read(&split.instances)?;
    let mut texts: HashMap<u64, Vec<String>> = HashMap::new();
    if let Some(path) = &split.captions {
        let captions: Captions = read(path)?;
        for Caption { image_id, caption } in captions.annotations {
            let text = captions::clean(&caption);
            if !text.is_empty() {
                texts.entry(image_id).or_default().push(text);
            }
        }
    }
    let file = split.instances.display();
    let names: HashMap<u64, &str> = (instances.categories.iter())
        .map(|category| (category.id, category.name.as_str()))
        .collect();
    let mut annotations: HashMap<u64, Vec<&Annotation>> = HashMap::new();
    for annotation in instances.annotations.iter().filter(|a| a.iscrowd == 0) {
        let of_picture = annotations.entry(annotation.image_id).or_default();
        of_picture.push(annotation);
    }
    let mut source = Source::default();
    let total = instances.images.len();
    for (index, picture) in instances.images.iter().enumerate() {
        super::source::report(host, index, total)?;
        let Some(annotations) = annotations.remove(&picture.id) else {
            source.without_boxes += 1;
            continue;
        };
        let ids: Vec<String> = annotations.iter().map(|a| a.id.to_string()).collect();
        let origin = format!(
            "{file}, image {} (`{}`, annotations {})",
            picture.id,
            picture.file_name,
            ids.join(", ")
        );
        let path = match image_folder::inside(&picture.file_name) {
            Ok(path) => split.pictures.join(path),
            Err(why) => {
                // Not a flaw to be skipped, but an attempt.
                return Err(PluginError::config(format!("{origin}: `file_name`: {why}")));
            }
        };
        let unknown = annotations
            .iter()
            .find(|a| !names.contains_key(&a.category_id));
        let sample = match unknown {
            Some(annotation) => Err(PluginError::config(format!(
                "{file}, annotation {}: `category_id` {} is not among the categories",
                annotation.id, annotation.category_id
            ))),
            None => {
                let boxes: Vec<&Value> = annotations.iter().map(|a| &a.bbox).collect();
                let names: Vec<&str> = annotations.iter().map(|a| names[&a.category_id]).collect();
                let mut record = Map::new();
                record.insert(
                    "objects".to_owned(),
                    json!({"bbox": boxes, "categories": names}),
                );
                regions_of(&record, &origin).map(|regions| Sample {
                    texts: texts.remove(&picture.id).unwrap_or_else(|| {
                        vec![pseudo_caption(
                            regions.iter().map(|region| region.phrase.as_str()),
                        )]
                    }),
                    regions,
                    picture: PictureRef::File(path),
                    origin,
                })
            }
        };
        source.add(config, sample)?;
    }
    Ok(source)
}
