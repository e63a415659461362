//! Sets of objects on the disk, and pictures that users bring.

use std::path::Path;

use dsl_render::objects::{Object, Splits, folders_in, meshes_in, splits};
use dsl_render::{Layer, RenderError, subject};
use tempfile::TempDir;

fn set(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn split(folder: &TempDir, test: Option<&str>) -> Result<Splits, RenderError> {
    splits(folder.path(), "train", test, meshes_in)
}

fn uids(objects: &[Object]) -> Vec<&str> {
    objects.iter().map(|object| object.uid.as_str()).collect()
}

#[test]
fn folders_are_splits() {
    let folder = set(&[
        ("train/b.obj", ""),
        ("train/x/a.GLB", ""),
        ("train/.c.obj", ""),
        ("val/c.ply", ""),
        ("notes.txt", ""),
    ]);
    let found = split(&folder, None).unwrap();
    assert_eq!(uids(&found.train), ["b", "x/a"]);
    assert_eq!(uids(&found.test.unwrap()), ["c"]);
    assert!(
        split(&folder, Some("dev"))
            .unwrap_err()
            .to_string()
            .contains("dev")
    );
}

#[test]
fn lists_are_splits() {
    let meshes = [("a.obj", ""), ("b.obj", ""), ("c.obj", "")];
    let with = |lists: &[(&'static str, &'static str)]| set(&[&meshes[..], lists].concat());
    let found = split(
        &with(&[("train.json", r#"["c", "a"]"#), ("test.txt", "b\n\n")]),
        None,
    )
    .unwrap();
    assert_eq!(
        (uids(&found.train), uids(&found.test.unwrap())),
        (vec!["c", "a"], vec!["b"])
    );
    let found = split(&with(&[("val.txt", "a")]), None).unwrap();
    assert_eq!(uids(&found.train), ["b", "c"]);
    let found = split(&with(&[]), None).unwrap();
    assert_eq!((found.train.len(), found.test), (3, None));
    for (list, text, expected) in [
        ("train.txt", "z", "no object `z`"),
        ("test.txt", "", "empty"),
        ("test.json", "{}", "JSON array"),
        ("test.txt", "a\nb\nc", "all objects"),
    ] {
        let error = split(&with(&[(list, text)]), None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn empty_folders_are_named() {
    let folder = set(&[("train/readme.md", "")]);
    let error = split(&folder, None).unwrap_err().to_string();
    assert!(error.contains("train") && error.contains(".glb"), "{error}");
    let gone = splits(Path::new("/nowhere"), "train", None, meshes_in);
    assert!(gone.unwrap_err().to_string().contains("/nowhere"));
    let found = folders_in(folder.path(), |path| path.join("readme.md").is_file(), "").unwrap();
    assert_eq!(uids(&found), ["train"]);
}

#[test]
fn a_users_picture_is_cut_out_and_centred() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    // A red thing of 40 × 20 pixels, off the centre.
    let thing = |x: u32, y: u32| (50..90).contains(&x) && (10..30).contains(&y);
    let clear = image::RgbaImage::from_fn(100, 60, |x, y| {
        image::Rgba(if thing(x, y) {
            [255, 0, 0, 255]
        } else {
            [0, 0, 0, 0]
        })
    });
    let white = image::RgbImage::from_fn(100, 60, |x, y| {
        image::Rgb(if thing(x, y) { [255, 0, 0] } else { [255; 3] })
    });
    for white_paper in [false, true] {
        if white_paper {
            white.save(&path).unwrap();
        } else {
            clear.save(&path).unwrap();
        }
        let found = subject(&path, 64, 0.5, [1.0; 3]).unwrap();
        let red: Vec<usize> = (0..64 * 64)
            .filter(|&at| found.rgb[at][0] > 0.99 && found.rgb[at][1] < 0.01)
            .collect();
        assert_eq!(red.len(), 32 * 16);
        assert_eq!((red[0] % 64, red[0] / 64), (16, 24));
        assert_eq!(found.rgb[0], [1.0; 3]);
    }
    image::RgbImage::from_pixel(4, 4, image::Rgb([255; 3]))
        .save(&path)
        .unwrap();
    assert!(
        subject(&path, 8, 0.8, [1.0; 3])
            .unwrap_err()
            .to_string()
            .contains("white")
    );
    std::fs::write(&path, "no picture").unwrap();
    assert!(
        subject(&path, 8, 0.8, [1.0; 3])
            .unwrap_err()
            .to_string()
            .contains("a.png")
    );
    assert!(subject(Path::new("/nowhere.png"), 8, 0.8, [1.0; 3]).is_err());
}

#[test]
fn layers_keep_the_colours_of_what_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    // Transparent pixels are black in the file; made smaller, red stays red.
    let picture = image::RgbaImage::from_fn(8, 8, |x, _| {
        image::Rgba(if x < 4 { [255, 0, 0, 255] } else { [0; 4] })
    });
    picture.save(&path).unwrap();
    let layer = Layer::open(&path, 1).unwrap();
    let [red, green, _] = layer.colors.rgb[0];
    assert!((red - 1.0).abs() < 1e-4 && green == 0.0 && (layer.alpha[0] - 0.5).abs() < 0.01);
    let [red, green, _] = layer.over([1.0; 3]).rgb[0];
    assert!((red - 1.0).abs() < 1e-4 && (green - 0.5).abs() < 0.01);
    image::RgbaImage::new(8, 4).save(&path).unwrap();
    assert!(
        Layer::open(&path, 1)
            .unwrap_err()
            .to_string()
            .contains("8 × 4")
    );
}
