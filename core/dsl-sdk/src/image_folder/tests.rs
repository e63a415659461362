use std::fs;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn names(read: &ImageFolder, root: &Path) -> Vec<String> {
    read.entries
        .iter()
        .map(|entry| {
            entry
                .image
                .strip_prefix(root)
                .unwrap()
                .display()
                .to_string()
        })
        .collect()
}

/// Opens a folder of these files and expects an error whose message holds all of `parts`.
#[track_caller]
fn check_error(files: &[(&str, &str)], parts: &[&str]) {
    let folder = folder(files);
    let error = ImageFolder::open(folder.path(), None).unwrap_err();
    for part in parts {
        assert!(
            error.message.contains(part),
            "`{part}` is not in: {}",
            error.message
        );
    }
}

#[test]
fn metadata_keeps_the_order_of_its_lines_and_its_other_columns() {
    let line = "{\"file_name\": \"b.png\", \"text\": \"bee\", \"n\": 3}\n\n{\"file_name\": \"sub/a.png\", \"text\": \"ay\"}\n";
    let folder = folder(&[
        ("metadata.jsonl", line),
        ("b.png", ""),
        ("sub/a.png", ""),
        ("c.png", ""),
    ]);
    let read = ImageFolder::open(folder.path(), None).unwrap();
    assert_eq!(read.reading, Reading::Metadata);
    assert_eq!(names(&read, folder.path()), ["b.png", "sub/a.png"]);
    assert_eq!(read.entries[0].fields["n"], 3);
    assert!(!read.entries[0].fields.contains_key("file_name"));
    assert!(
        read.entries[1].origin.ends_with("metadata.jsonl, line 3"),
        "{}",
        read.entries[1].origin
    );
    assert_eq!(read.unlisted, [folder.path().join("c.png")]);
}

#[test]
fn nested_metadata_names_files_beside_itself() {
    let folder = folder(&[
        ("x/metadata.jsonl", "{\"file_name\": \"1.png\"}"),
        ("y/metadata.jsonl", "{\"file_name\": \"./deep/2.png\"}"),
    ]);
    let read = ImageFolder::open(folder.path(), None).unwrap();
    assert_eq!(names(&read, folder.path()), ["x/1.png", "y/deep/2.png"]);
}

#[test]
fn a_root_metadata_serves_its_splits() {
    let lines = "{\"file_name\": \"train/1.png\"}\n{\"file_name\": \"test/2.png\"}\n";
    let folder = folder(&[
        ("metadata.jsonl", lines),
        ("train/1.png", ""),
        ("test/2.png", ""),
    ]);
    let read = ImageFolder::open(&folder.path().join("test"), Some(folder.path())).unwrap();
    assert_eq!(
        (read.reading, names(&read, folder.path())),
        (Reading::Metadata, vec!["test/2.png".to_owned()])
    );
}

#[test]
fn sidecars_are_found_and_missing_ones_are_none() {
    let files = [
        ("b.JPG", ""),
        ("b.txt", "bee"),
        ("a/a.webp", ""),
        ("a/a.caption", "x"),
        ("c.png", ""),
        (".c.txt", ""),
        ("._b.png", ""),
    ];
    let folder = folder(&files);
    let read = ImageFolder::open(folder.path(), None).unwrap();
    assert_eq!(read.reading, Reading::Sidecar);
    assert_eq!(names(&read, folder.path()), ["a/a.webp", "b.JPG", "c.png"]);
    let sidecars: Vec<_> = read
        .entries
        .iter()
        .map(|entry| entry.sidecar.is_some())
        .collect();
    assert_eq!(sidecars, [true, true, false]);
}

#[test]
fn two_readings_are_told() {
    let folder = folder(&[
        ("metadata.jsonl", "{\"file_name\": \"a.png\"}"),
        ("a.png", ""),
        ("a.txt", ""),
    ]);
    let ambiguity = ImageFolder::open(folder.path(), None)
        .unwrap()
        .ambiguity
        .unwrap();
    assert!(
        ambiguity.contains("metadata.jsonl were taken"),
        "{ambiguity}"
    );
}

#[test]
fn a_record_cannot_leave_its_folder() {
    for name in ["../x.png", "a/../../x.png", "/etc/x.png", "..\\\\x.png"] {
        check_error(
            &[(
                "metadata.jsonl",
                &format!("\n{{\"file_name\": \"{name}\"}}"),
            )],
            &["metadata.jsonl, line 2", "`file_name` is"],
        );
    }
}

#[test]
fn broken_records_name_their_line() {
    check_error(
        &[("metadata.jsonl", "{\"file_name\": \"a.png\"}\n{\"file_na")],
        &["line 2, column 9", "not JSON"],
    );
    check_error(&[("metadata.jsonl", "[1]")], &["line 1", "no object"]);
    check_error(
        &[("metadata.jsonl", "{\"image\": \"a.png\", \"text\": \"\"}")],
        &["`file_name` is missing", "`image`, `text`"],
    );
    check_error(
        &[("metadata.jsonl", "{\"file_name\": 7}")],
        &["line 1", "must be a text"],
    );
    check_error(
        &[("metadata.jsonl", "{\"file_name\": \"\"}")],
        &["it is empty"],
    );
    check_error(
        &[("metadata.jsonl", "\n"), ("a.png", "")],
        &["names no picture"],
    );
}

#[test]
fn empty_and_missing_folders() {
    check_error(&[], &["no pictures in", "the folder is empty"]);
    check_error(
        &[("a/notes.md", ""), ("b.gif", "")],
        &["no pictures in", "2 files of other kinds, such as"],
    );
    let folder = folder(&[("file", "")]);
    let missing = ImageFolder::open(&folder.path().join("nowhere"), None).unwrap_err();
    assert!(missing.message.contains("nowhere") && !missing.help.is_empty());
    assert!(
        ImageFolder::open(&folder.path().join("file"), None)
            .unwrap_err()
            .message
            .contains("is a file")
    );
}

#[cfg(unix)]
#[test]
fn a_link_to_a_parent_does_not_go_round() {
    let folder = folder(&[("sub/a.png", ""), ("sub/a.txt", "")]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("sub/up")).unwrap();
    let read = ImageFolder::open(folder.path(), None).unwrap();
    assert_eq!(names(&read, folder.path()), ["sub/a.png"]);
}
