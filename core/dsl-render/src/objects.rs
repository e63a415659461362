//! Sets of objects on the disk: folders of meshes or of rendered views, and their splits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::RenderError;
use crate::mesh::{EXTENSIONS, Mesh, Normalization};

/// Names of folders or lists that are taken for the test split where none is named.
pub const TEST_NAMES: [&str; 6] = ["test", "validation", "val", "valid", "dev", "eval"];

/// An object: a mesh, or a folder of its views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its name in the set: the path below the set's folder, without the ending.
    pub uid: String,
    /// The file or folder.
    pub path: PathBuf,
    /// The file's bytes, where they are part of the program.
    pub bytes: Option<&'static [u8]>,
}

impl Object {
    /// Reads the mesh and brings it to a size.
    ///
    /// # Errors
    /// Those of [`Mesh::open`] and [`Mesh::normalized`].
    pub fn mesh(&self, to: Normalization) -> Result<Mesh, RenderError> {
        let mesh = match self.bytes {
            Some(bytes) => Mesh::from_bytes(bytes, &self.path)?,
            None => Mesh::open(&self.path)?,
        };
        mesh.normalized(to, &self.path)
    }
}

/// A set, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    /// Objects to train on, at least one.
    pub train: Vec<Object>,
    /// Objects to test on, at least one.
    pub test: Option<Vec<Object>>,
}

/// Splits a set: by folders `train` and `test` (the names are the caller's); or by lists `train.json`, `train.txt`,
/// `test.json`, `test.txt` of uids, as a JSON array or one a line; of a set with a test list alone, the rest is trained on.
/// Without any of these everything is. `list` finds the objects of a folder.
///
/// # Errors
/// Folders that cannot be read, splits without objects, and uids that are not there.
pub fn splits(
    root: &Path,
    train: &str,
    test: Option<&str>,
    list: impl Fn(&Path) -> Result<Vec<Object>, RenderError>,
) -> Result<Splits, RenderError> {
    std::fs::read_dir(root).map_err(|error| RenderError::io(root, error))?;
    let test_names: Vec<&str> = test.map_or(TEST_NAMES.to_vec(), |name| vec![name]);
    if root.join(train).is_dir() {
        let folder = (test_names.iter())
            .map(|name| root.join(name))
            .find(|folder| folder.is_dir());
        if let (None, Some(name)) = (&folder, test) {
            return Err(RenderError::layout(
                root,
                "there is no folder for the test split",
                name,
            ));
        }
        return Ok(Splits {
            train: list(&root.join(train))?,
            test: folder.map(|folder| list(&folder)).transpose()?,
        });
    }
    let all = list(root)?;
    let find = |name: &str| {
        ["json", "txt"]
            .map(|ending| root.join(format!("{name}.{ending}")))
            .into_iter()
            .find(|path| path.is_file())
    };
    let test_list = test_names.iter().find_map(|name| find(name));
    if let (None, Some(name)) = (&test_list, test) {
        let expected = format!("`{name}`, `{name}.json` or `{name}.txt`");
        return Err(RenderError::layout(
            root,
            "there is no test split",
            expected,
        ));
    }
    let chosen = test_list.map(|path| choose(&all, &path)).transpose()?;
    let train = match (find(train), &chosen) {
        (Some(path), _) => choose(&all, &path)?,
        (None, Some(test)) => {
            let rest: Vec<Object> = (all.iter().filter(|object| !test.contains(object)))
                .cloned()
                .collect();
            if rest.is_empty() {
                return Err(RenderError::layout(
                    root,
                    "all objects are in the test split",
                    "some to train on",
                ));
            }
            rest
        }
        (None, None) => all,
    };
    Ok(Splits {
        train,
        test: chosen,
    })
}

/// The objects that a list names, in its order.
fn choose(all: &[Object], path: &Path) -> Result<Vec<Object>, RenderError> {
    let text = std::fs::read_to_string(path).map_err(|error| RenderError::io(path, error))?;
    let uids: Vec<String> = if path.extension().is_some_and(|ending| ending == "json") {
        serde_json::from_str(&text)
            .map_err(|error| RenderError::layout(path, error, "a JSON array of uids"))?
    } else {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.map(str::to_owned).collect()
    };
    let known: BTreeMap<&str, &Object> = all
        .iter()
        .map(|object| (object.uid.as_str(), object))
        .collect();
    let chosen = uids.iter().map(|uid| {
        known
            .get(uid.as_str())
            .map(|&object| object.clone())
            .ok_or_else(|| {
                let like = all.first().map_or("", |object| object.uid.as_str());
                RenderError::layout(
                    path,
                    format!("there is no object `{uid}`"),
                    format!("a uid such as `{like}`"),
                )
            })
    });
    let chosen = chosen.collect::<Result<Vec<Object>, RenderError>>()?;
    if chosen.is_empty() {
        return Err(RenderError::layout(path, "the list is empty", "uids"));
    }
    Ok(chosen)
}

/// The meshes of a folder and of the folders in it, by uid.
///
/// # Errors
/// A folder that cannot be read, or holds none.
pub fn meshes_in(folder: &Path) -> Result<Vec<Object>, RenderError> {
    let is_mesh = |path: &Path| {
        path.extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
    };
    let mut found = Vec::new();
    walk(folder, &mut |path| {
        if is_mesh(path) && path.is_file() {
            found.push(object(folder, &path.with_extension(""), path));
        }
        Ok(path.is_dir())
    })?;
    finish(folder, found, "meshes (.glb, .gltf, .obj, .ply)")
}

/// The folders below one that `is_object` takes, by uid.
///
/// # Errors
/// A folder that cannot be read, or holds none; `expected` says what was looked for.
pub fn folders_in(
    folder: &Path,
    is_object: impl Fn(&Path) -> bool,
    expected: &str,
) -> Result<Vec<Object>, RenderError> {
    let mut found = Vec::new();
    walk(folder, &mut |path| {
        let is_object = is_object(path);
        if is_object {
            found.push(object(folder, path, path));
        }
        Ok(!is_object && path.is_dir())
    })?;
    finish(folder, found, expected)
}

fn object(folder: &Path, name: &Path, path: &Path) -> Object {
    let uid = name.strip_prefix(folder).unwrap_or(name);
    Object {
        uid: uid.to_string_lossy().replace('\\', "/"),
        path: path.to_owned(),
        bytes: None,
    }
}

fn finish(
    folder: &Path,
    mut found: Vec<Object>,
    expected: &str,
) -> Result<Vec<Object>, RenderError> {
    if found.is_empty() {
        return Err(RenderError::layout(
            folder,
            "nothing to train on is there",
            expected,
        ));
    }
    found.sort_by(|a, b| a.uid.cmp(&b.uid));
    Ok(found)
}

/// Shows each entry to `visit`, which says whether to go into it. Names that begin with a dot are left out.
fn walk(
    folder: &Path,
    visit: &mut dyn FnMut(&Path) -> Result<bool, RenderError>,
) -> Result<(), RenderError> {
    let io = |error| RenderError::io(folder, error);
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let path = entry.path();
        // A link to a folder might lead back.
        let is_link = entry.file_type().map_err(io)?.is_symlink() && path.is_dir();
        if entry.file_name().to_string_lossy().starts_with('.') || is_link {
            continue;
        }
        if visit(&path)? {
            walk(&path, visit)?;
        }
    }
    Ok(())
}
