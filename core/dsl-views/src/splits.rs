//! Where the objects of a task are, and which to train and to test on.

use std::fmt;
use std::path::Path;

use dsl_render::objects::{Object, Splits, meshes_in, splits};
use dsl_render::{RenderError, furniture};
use dsl_sdk::{PluginError, Requirements};

/// The split to train on.
pub const TRAIN: &str = "train";
/// The split to test on.
pub const TEST: &str = "test";

/// Where objects are, as a configuration says it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// `task.data.path`: a folder of meshes, or one of rendered views. None is the furniture inside.
    pub path: Option<&'a str>,
    /// `task.data.train_split`.
    pub train_split: &'a str,
    /// `task.data.test_split`.
    pub test_split: Option<&'a str>,
}

/// The objects of a task by split; shown, it says how many.
#[derive(Debug, Clone)]
pub struct ObjectSplits {
    train: Vec<Object>,
    test: Option<Vec<Object>>,
    rendered: bool,
}

impl ObjectSplits {
    /// Finds the objects. Of a user's folder `rendered` says whether it holds rendered views in place of meshes, and `list`
    /// finds the objects of one that does.
    ///
    /// # Errors
    /// A folder that cannot be read, splits without objects, and lists of objects that are not there.
    pub fn open(
        source: &Source<'_>,
        rendered: impl FnOnce(&Path) -> bool,
        list: fn(&Path) -> Result<Vec<Object>, RenderError>,
    ) -> Result<Self, PluginError> {
        let (Splits { train, test }, rendered) = match source.path {
            None => (furniture::splits(), false),
            Some(path) => {
                let root = Path::new(path);
                let rendered = rendered(root);
                let list = if rendered { list } else { meshes_in };
                let found = splits(root, source.train_split, source.test_split, list);
                let wrong = |error: RenderError| {
                    PluginError::config(format!("`task.data.path`: {error}"))
                        .with_help(error.help())
                };
                (found.map_err(wrong)?, rendered)
            }
        };
        Ok(Self {
            train,
            test,
            rendered,
        })
    }

    /// Whether objects are folders of rendered views.
    pub fn rendered(&self) -> bool {
        self.rendered
    }

    /// Names of the splits that there are.
    pub fn names(&self) -> Vec<String> {
        let test = self.test.as_ref().map(|_| TEST.to_owned());
        std::iter::once(TRAIN.to_owned()).chain(test).collect()
    }

    /// The objects of a split.
    ///
    /// # Errors
    /// A split that there is not.
    pub fn of(&self, split: &str) -> Result<&[Object], PluginError> {
        match (split, &self.test) {
            (TRAIN, _) => Ok(&self.train),
            (TEST, Some(test)) => Ok(test),
            _ => Err(PluginError::unsupported(format!(
                "there is no split `{split}`; there are: {}",
                self.names().join(", ")
            ))),
        }
    }

    /// Generated views of at most `count` objects of the test split, or of the train split where there is none.
    pub fn to_measure(&self, count: u64) -> Requirements {
        let (split, objects) = match &self.test {
            Some(test) => (TEST, test),
            None => (TRAIN, &self.train),
        };
        Requirements::Samples {
            split: split.to_owned(),
            count: count.min(objects.len() as u64),
        }
    }
}

impl fmt::Display for ObjectSplits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tests = self.test.as_ref().map_or(0, Vec::len);
        write!(
            f,
            "{} objects to train on, {tests} to test on",
            self.train.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use dsl_render::objects::folders_in;
    use dsl_sdk::ErrorCode;

    use super::*;

    fn at(root: Option<&Path>, test_split: Option<&str>) -> Result<ObjectSplits, PluginError> {
        let path = root.map(|root| root.display().to_string());
        let source = Source {
            path: path.as_deref(),
            train_split: "train",
            test_split,
        };
        ObjectSplits::open(
            &source,
            |root| root.join("views").is_dir(),
            |folder| folders_in(folder, |path| path.join("0.png").is_file(), "views"),
        )
    }

    #[test]
    fn without_a_path_there_is_furniture() {
        let splits = at(None, None).unwrap();
        assert_eq!(splits.names(), [TRAIN, TEST]);
        let count = |split: &str| splits.of(split).unwrap().len();
        assert_eq!((count(TRAIN), count(TEST)), (49, 12));
        assert!(!splits.rendered());
        let shown = splits.to_string();
        assert_eq!(shown, "49 objects to train on, 12 to test on");
        let error = splits.of("validation").unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported);
        assert!(
            error
                .message
                .contains("`validation`; there are: train, test")
        );
        let of = |split: &str, count: u64| Requirements::Samples {
            split: split.to_owned(),
            count,
        };
        assert_eq!(splits.to_measure(4), of(TEST, 4));
        assert_eq!(splits.to_measure(40), of(TEST, 12));
        let alone = ObjectSplits {
            test: None,
            ..splits
        };
        assert_eq!(alone.to_measure(100), of(TRAIN, 49));
        assert_eq!(alone.names(), [TRAIN]);
        assert!(alone.of(TEST).is_err());
    }

    #[test]
    fn a_folder_holds_meshes_or_rendered_views() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("a.obj"), "").unwrap();
        let splits = at(Some(root), None).unwrap();
        assert!(!splits.rendered());
        assert_eq!(splits.of(TRAIN).unwrap()[0].uid, "a");
        std::fs::create_dir(root.join("views")).unwrap();
        std::fs::write(root.join("views/0.png"), "").unwrap();
        let splits = at(Some(root), None).unwrap();
        assert!(splits.rendered());
        assert_eq!(splits.of(TRAIN).unwrap()[0].uid, "views");
    }

    #[test]
    fn folders_that_cannot_be_used_name_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |root: &Path, test: Option<&str>, expected: &str| {
            let error = at(Some(root), test).unwrap_err();
            assert_eq!(error.code, ErrorCode::Config);
            assert!(error.message.contains("`task.data.path`"), "{error}");
            assert!(error.message.contains(expected), "{error}");
        };
        refused(folder.path(), None, ".glb");
        refused(&folder.path().join("nowhere"), None, "cannot read");
        std::fs::write(folder.path().join("a.obj"), "").unwrap();
        refused(folder.path(), Some("mine"), "`mine.json`");
    }
}
