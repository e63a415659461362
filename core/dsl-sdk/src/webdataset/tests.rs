use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// A tar archive of regular files with these names, byte for byte as given.
fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        // Written by hand: the builder itself refuses `..`, which a hostile archive may well hold.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn open_files(folder: &Path, shards: &[(&str, Vec<u8>)]) -> Result<WebDataset, PluginError> {
    let mut sources = Vec::new();
    for (name, bytes) in shards {
        std::fs::write(folder.join(name), bytes).unwrap();
        sources.push(ShardSource::File(folder.join(name)));
    }
    WebDataset::open(sources)
}

fn small() -> Vec<u8> {
    tar_of(&[
        ("b.png", b"B"),
        ("b.txt", b"bee"),
        ("a/b.c/1.seg.png", b"S"),
        ("a/b.c/1.json", b"{}"),
        ("readme", b"x"),
        (".x.txt", b""),
    ])
}

#[test]
fn plain_and_compressed_shards_hold_the_same_samples() {
    let folder = tempfile::tempdir().unwrap();
    let set = open_files(
        folder.path(),
        &[
            ("0.tar", small()),
            ("1.tar.gz", gz(&small())),
            ("2.tar", gz(&small())),
        ],
    )
    .unwrap();
    assert_eq!(set.samples().len(), 6);
    for pair in set.samples().chunks(2) {
        assert_eq!(
            (pair[0].key.as_str(), pair[1].key.as_str()),
            ("b", "a/b.c/1")
        );
        assert_eq!(
            set.read(&pair[0], pair[0].member("txt").unwrap()).unwrap(),
            b"bee"
        );
        assert_eq!(
            set.read(&pair[0], pair[0].member("png").unwrap()).unwrap(),
            b"B"
        );
        assert_eq!(
            set.read(&pair[1], pair[1].member("seg.png").unwrap())
                .unwrap(),
            b"S"
        );
    }
    let sample = &set.samples()[2];
    let origin = set.member_origin(sample, &sample.members[0]);
    assert!(origin.ends_with("1.tar.gz: b.png"), "{origin}");
}

#[test]
fn embedded_shards_are_read_in_place() {
    let plain: &'static [u8] = small().leak();
    let packed: &'static [u8] = gz(&small()).leak();
    for bytes in [plain, packed] {
        let set = WebDataset::open(vec![ShardSource::Embedded {
            name: "inside".into(),
            bytes,
        }])
        .unwrap();
        let sample = &set.samples()[0];
        assert_eq!(
            set.read(sample, sample.member("txt").unwrap()).unwrap(),
            b"bee"
        );
    }
}

#[test]
fn members_of_one_key_may_stand_apart() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = tar_of(&[
        ("1.png", b"1"),
        ("2.png", b"2"),
        ("1.txt", b"one"),
        ("2.TXT", b"two"),
    ]);
    let set = open_files(folder.path(), &[("0.tar", bytes)]).unwrap();
    assert_eq!(
        set.samples()
            .iter()
            .map(|sample| sample.members.len())
            .collect::<Vec<_>>(),
        [2, 2]
    );
    assert!(set.samples()[1].member("txt").is_some());
}

#[test]
fn names_that_climb_are_only_names() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = tar_of(&[("../../etc/x.png", b"inside"), ("/etc/y.png", b"too")]);
    for bytes in [bytes.clone(), gz(&bytes)] {
        let set = open_files(folder.path(), &[("0.tar", bytes)]).unwrap();
        let sample = &set.samples()[0];
        assert_eq!(
            (
                sample.key.as_str(),
                set.read(sample, &sample.members[0]).unwrap()
            ),
            ("../../etc/x", b"inside".to_vec())
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn links_in_an_archive_are_not_followed() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder
        .append_link(&mut header, "1.png", "/etc/passwd")
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = open_files(folder.path(), &[("0.tar", builder.into_inner().unwrap())]).unwrap_err();
    assert!(error.message.contains("no samples"), "{}", error.message);
}

#[test]
fn damaged_shards_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let long = tar_of(&[("1.png", &[7; 5000]), ("2.png", &[8; 5000])]);
    let packed = gz(&long);
    let mut flipped = packed.clone();
    let middle = flipped.len() - 6; // In the checksum of the gzip trailer.
    flipped[middle] ^= 0xFF;
    let cases: [(&str, Vec<u8>); 7] = [
        ("empty.tar", vec![]),
        ("text.tar", b"no archive ".repeat(100)),
        ("cut.tar", long[..7000].to_vec()),
        ("cut-header.tar", long[..5900].to_vec()),
        ("cut.tar.gz", packed[..packed.len() / 2].to_vec()),
        ("flipped.tar.gz", flipped),
        ("zstd.tar", vec![0x28, 0xB5, 0x2F, 0xFD, 0, 0, 0]),
    ];
    for (name, bytes) in cases {
        let error = open_files(folder.path(), &[(name, bytes)]).unwrap_err();
        assert!(
            error.message.contains(name) && !error.help.is_empty(),
            "{name}: {}",
            error.message
        );
    }
    let missing =
        WebDataset::open(vec![ShardSource::File(folder.path().join("nowhere.tar"))]).unwrap_err();
    assert!(
        missing.message.contains("nowhere.tar"),
        "{}",
        missing.message
    );
}

#[test]
fn two_files_of_one_name_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_files(
        folder.path(),
        &[("0.tar", tar_of(&[("1.png", b"a"), ("1.png", b"b")]))],
    )
    .unwrap_err();
    assert!(
        error.message.contains("1.png") && error.message.contains("0.tar"),
        "{}",
        error.message
    );
}

#[test]
fn a_folder_lists_its_shards_by_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.tar", "a.tgz", "c.txt", ".d.tar"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    let names: Vec<_> = shards_in(folder.path())
        .unwrap()
        .iter()
        .map(|path| path.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["a.tgz", "b.tar"]);
}
