//! The furniture set inside the library: 49 meshes to train on and 12 to test on (CC0), described in its README.

use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::objects::{Object, Splits};

static DATA: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/data/furniture");

/// The objects of both splits, by uid; each has its bytes.
pub fn splits() -> Splits {
    Splits {
        train: objects("train"),
        test: Some(objects("test")),
    }
}

fn objects(split: &str) -> Vec<Object> {
    let files = DATA.get_dir(split).into_iter().flat_map(Dir::files);
    let mut objects: Vec<Object> = files
        .filter(|file| {
            file.path()
                .extension()
                .is_some_and(|ending| ending == "glb")
        })
        .map(|file| Object {
            uid: (file.path().file_stem())
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            path: Path::new("furniture").join(file.path()),
            bytes: Some(file.contents()),
        })
        .collect();
    objects.sort_by(|a, b| a.uid.cmp(&b.uid));
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::Normalization;

    #[test]
    fn every_model_can_be_read_and_brought_to_a_size() {
        let splits = splits();
        let test = splits.test.unwrap();
        assert_eq!((splits.train.len(), test.len()), (49, 12));
        let mut faces = 0;
        for object in splits.train.iter().chain(&test) {
            let mesh = object.mesh(Normalization::MaxSide).unwrap();
            let (low, high) = mesh.bounds();
            assert!(
                ((high - low).max_element() - 1.0).abs() < 1e-5,
                "{}",
                object.uid
            );
            assert!((high + low).abs().max_element() < 1e-5);
            faces += mesh.faces.len();
        }
        // The README says 2,273 a model on average.
        assert_eq!((faces as f64 / 61.0).round(), 2273.0);
    }
}
