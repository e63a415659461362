//! Where plugins are looked for.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{MAIN_SEPARATOR, Path, PathBuf},
};

use crate::{LoaderError, file};

/// The folders in which a bare name is looked for, each with the words that explain it to the user.
pub(crate) struct Places(Vec<(PathBuf, &'static str)>);

impl Places {
    /// In order: `DSL_PLUGIN_PATH`, the user's data folder, the folder of the program, `../lib/dsl/plugins` beside it.
    pub(crate) fn of_this_process() -> Self {
        Self::new(|name| env::var_os(name), env::current_exe().ok().as_deref())
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>, program: Option<&Path>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut places = Vec::new();
        for folder in env::split_paths(&set("DSL_PLUGIN_PATH").unwrap_or_default()) {
            if !folder.as_os_str().is_empty() {
                places.push((folder, "DSL_PLUGIN_PATH"));
            }
        }
        if let Some(data) = base_folder(&variable, "XDG_DATA_HOME", ".local/share") {
            places.push((data.join("dsl/plugins"), "the user's data folder"));
        }
        if let Some(folder) = program.and_then(Path::parent) {
            places.push((folder.to_owned(), "beside the program"));
            if let Some(prefix) = folder.parent() {
                places.push((prefix.join("lib/dsl/plugins"), "the installation"));
            }
        }
        Self(places)
    }
}

/// Where caches of plugins belong, if anywhere.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    base_folder(&|name: &str| env::var_os(name), "XDG_CACHE_HOME", ".cache")
        .map(|folder| folder.join("dsl/plugins"))
}

/// A folder of the XDG Base Directory Specification, which has relative paths ignored.
fn base_folder(
    variable: &impl Fn(&str) -> Option<OsString>,
    name: &str,
    below_home: &str,
) -> Option<PathBuf> {
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute(name).or_else(|| absolute("HOME").map(|home| home.join(below_home)))
}

/// A file that may be a plugin, and why it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// Why its folder is searched, such as `DSL_PLUGIN_PATH`.
    pub place: &'static str,
    /// An earlier place has a file of the same name, so that a bare name finds that one.
    pub shadowed: bool,
}

/// All files with the entry point of a plugin in the folders where bare names are looked for, in that order. None of
/// their code runs; some may be built for another version of the interface.
pub fn all_plugins() -> Vec<Found> {
    plugins_in(&Places::of_this_process())
}

fn plugins_in(places: &Places) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for (folder, place) in &places.0 {
        let mut files: Vec<PathBuf> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == env::consts::DLL_EXTENSION)
                    && file::inspect(path).is_ok()
            })
            .collect();
        files.sort();
        for path in files {
            let shadowed = found
                .iter()
                .any(|earlier| earlier.path.file_name() == path.file_name());
            if !found.iter().any(|earlier| earlier.path == path) {
                found.push(Found {
                    path,
                    place,
                    shadowed,
                });
            }
        }
    }
    found
}

/// File names that a plugin name may stand for, the name as given first: `era3d.so`, `libera3d.so` and `era3d` are the
/// same plugin.
fn candidates(name: &str) -> Vec<String> {
    let extension = env::consts::DLL_EXTENSION;
    let stem = name.strip_suffix(&format!(".{extension}")).unwrap_or(name);
    let bare = stem.strip_prefix("lib").unwrap_or(stem);
    // A crate `my-task` builds `libmy_task.so`.
    let underscored = bare.replace('-', "_");
    let mut names = vec![
        name.to_owned(),
        format!("{stem}.{extension}"),
        format!("lib{bare}.{extension}"),
        format!("{bare}.{extension}"),
        format!("lib{underscored}.{extension}"),
    ];
    let mut seen = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(name.clone());
            true
        }
    });
    names
}

/// Finds the file of a plugin. A name with a separator is a path and is looked for there alone; a bare file name with
/// the extension of a library is looked for in the current folder first.
pub(crate) fn find(name_or_path: &str, places: &Places) -> Result<PathBuf, LoaderError> {
    let path = Path::new(name_or_path);
    let is_path = name_or_path.contains(MAIN_SEPARATOR) || name_or_path.contains('/');
    let file_name = path.file_name().and_then(|name| name.to_str());
    let Some(file_name) = file_name.filter(|_| !name_or_path.ends_with('/')) else {
        return Err(LoaderError::NotFound {
            name: name_or_path.to_owned(),
            looked_for: vec!["a plugin's name, where this is none".to_owned()],
        });
    };
    let names = candidates(file_name);
    let folders: Vec<(PathBuf, &str)> = if is_path {
        vec![(
            path.parent().unwrap_or(Path::new("")).to_owned(),
            "as given",
        )]
    } else {
        let is_file_name = path
            .extension()
            .is_some_and(|extension| extension == env::consts::DLL_EXTENSION);
        let current = is_file_name.then(|| (PathBuf::from("."), "the current folder"));
        current
            .into_iter()
            .chain(places.0.iter().map(|(folder, why)| (folder.clone(), *why)))
            .collect()
    };
    for (folder, _) in &folders {
        // A folder of that name is not a plugin, unless it is all that was asked for: then opening it says so.
        if let Some(found) = names
            .iter()
            .map(|name| folder.join(name))
            .find(|candidate| candidate.is_file())
        {
            return Ok(found);
        }
    }
    if is_path && path.exists() {
        return Ok(path.to_owned());
    }
    let mut looked_for = vec![format!("the files {}", names.join(" or "))];
    looked_for.extend(folders.iter().map(|(folder, why)| {
        let absent = if folder.is_dir() || folder.as_os_str().is_empty() {
            ""
        } else {
            ", which does not exist"
        };
        format!("in {} ({why}{absent})", folder.display())
    }));
    Err(LoaderError::NotFound {
        name: name_or_path.to_owned(),
        looked_for,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folders: &[&Path]) -> Places {
        Places(
            folders
                .iter()
                .map(|folder| (folder.to_path_buf(), "a test folder"))
                .collect(),
        )
    }

    #[test]
    fn every_spelling_finds_the_same_plugin() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libera3d.so");
        fs::write(&file, "").unwrap();
        for name in ["era3d.so", "libera3d.so", "era3d", "libera3d"] {
            assert_eq!(
                find(name, &places(&[folder.path()])).unwrap(),
                file,
                "{name}"
            );
            let path = folder.path().join(name);
            assert_eq!(
                find(path.to_str().unwrap(), &places(&[])).unwrap(),
                file,
                "{}",
                path.display()
            );
        }
    }

    #[test]
    fn a_file_without_lib_is_found_as_well_and_hyphens_become_underscores() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plain.so"), "").unwrap();
        fs::write(folder.path().join("libmy_task.so"), "").unwrap();
        let places = places(&[folder.path()]);
        assert_eq!(
            find("libplain.so", &places).unwrap(),
            folder.path().join("plain.so")
        );
        assert_eq!(
            find("my-task", &places).unwrap(),
            folder.path().join("libmy_task.so")
        );
    }

    #[test]
    fn the_first_folder_wins() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(second.path().join("libx.so"), "").unwrap();
        let both = places(&[first.path(), second.path()]);
        assert_eq!(find("x", &both).unwrap(), second.path().join("libx.so"));
        fs::write(first.path().join("x.so"), "").unwrap();
        assert_eq!(find("x", &both).unwrap(), first.path().join("x.so"));
    }

    #[test]
    fn the_error_lists_everywhere_it_looked() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        let message = find("era3d.so", &places(&[folder.path(), &absent]))
            .unwrap_err()
            .to_string();
        for part in [
            "no plugin `era3d.so`",
            "era3d.so or libera3d.so",
            "in . (the current folder)",
            &format!("in {} (a test folder)", folder.path().display()),
            &format!(
                "in {} (a test folder, which does not exist)",
                absent.display()
            ),
        ] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        for nothing in ["", "/", "plugins/", ".."] {
            assert!(
                find(nothing, &places(&[])).is_err(),
                "{nothing:?} was found"
            );
        }
    }

    #[test]
    fn places_follow_the_environment() {
        let set = |name: &str| match name {
            "DSL_PLUGIN_PATH" => Some("/a::/b".into()),
            "HOME" => Some("/home/someone".into()),
            _ => None,
        };
        let folders = |places: Places| -> Vec<String> {
            places
                .0
                .iter()
                .map(|(folder, _)| folder.display().to_string())
                .collect()
        };
        assert_eq!(
            folders(Places::new(set, Some(Path::new("/opt/dsl/bin/dsl-host")))),
            [
                "/a",
                "/b",
                "/home/someone/.local/share/dsl/plugins",
                "/opt/dsl/bin",
                "/opt/dsl/lib/dsl/plugins"
            ]
        );
        let xdg = |name: &str| (name == "XDG_DATA_HOME").then(|| "/data".into());
        assert_eq!(folders(Places::new(xdg, None)), ["/data/dsl/plugins"]);
    }

    #[test]
    fn folders_of_the_user_are_absolute() {
        let set = |values: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = values.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(*value))
            }
        };
        let cache = |values| base_folder(&set(values), "XDG_CACHE_HOME", ".cache");
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]),
            Some("/c".into())
        );
        assert_eq!(
            cache(&[("XDG_CACHE_HOME", "rel"), ("HOME", "/h")]),
            Some("/h/.cache".into())
        );
        assert_eq!(cache(&[("XDG_CACHE_HOME", "rel")]), None);
        assert_eq!(cache(&[("XDG_CACHE_HOME", ""), ("HOME", "rel")]), None);
    }
}
