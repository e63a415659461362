//! What can be said of a file before any of its code runs: what it is, and its hash.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use dsl_abi::root::ENTRY_SYMBOL;
use memchr::memmem;
use sha2::{Digest, Sha256};

use crate::LoaderError;

const CHUNK_BYTES: usize = 1 << 20;
const BUILD_HELP: &str =
    "give the file that building the plugin makes, such as target/release/libNAME.so";

/// Checks that a file may be a plugin of this machine, without running it, and gives its SHA-256 in hexadecimal.
pub(crate) fn inspect(path: &Path) -> Result<String, LoaderError> {
    let unreadable = |error: io::Error| LoaderError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let not_a_plugin = |found: &str, help: &str| LoaderError::NotAPlugin {
        path: path.to_owned(),
        found: found.to_owned(),
        help: help.to_owned(),
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Err(not_a_plugin("it is a folder", BUILD_HELP));
    }
    if !metadata.is_file() {
        return Err(not_a_plugin("it is not a regular file", BUILD_HELP));
    }
    let mut file = File::open(path).map_err(unreadable)?;
    let mut hasher = Sha256::new();
    let finder = memmem::Finder::new(ENTRY_SYMBOL);
    let overlap = ENTRY_SYMBOL.len() - 1;
    let mut has_entry = false;
    let mut buffer = vec![0; overlap + CHUNK_BYTES];
    // The bytes before `kept` are the end of the chunk before, so that a symbol across the border is found.
    let mut kept = 0;
    let mut is_first = true;
    loop {
        let count = read_full(&mut file, &mut buffer[kept..]).map_err(unreadable)?;
        if is_first {
            if let Some((found, help)) = refuse(&buffer[..count], metadata.len()) {
                return Err(not_a_plugin(&found, help));
            }
            is_first = false;
        }
        if count == 0 {
            break;
        }
        hasher.update(&buffer[kept..kept + count]);
        let end = kept + count;
        has_entry = has_entry || finder.find(&buffer[..end]).is_some();
        let tail = end.saturating_sub(overlap);
        buffer.copy_within(tail..end, 0);
        kept = end - tail;
    }
    if !has_entry {
        return Err(not_a_plugin(
            "it is a library without the entry point of a plugin",
            "a plugin is built with `dsl_sdk::export_plugin!`",
        ));
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What the first bytes of a file say against it: what it is, and what to do.
fn refuse(start: &[u8], length_bytes: u64) -> Option<(String, &'static str)> {
    const OTHER_SYSTEM: &str = "build the plugin for this operating system";
    let known: [(&[u8], &str, &str); 9] = [
        (b"MZ", "it is a Windows program or library", OTHER_SYSTEM),
        (
            b"\xcf\xfa\xed\xfe",
            "it is a macOS program or library",
            OTHER_SYSTEM,
        ),
        (
            b"\xca\xfe\xba\xbe",
            "it is a macOS program or library",
            OTHER_SYSTEM,
        ),
        (
            b"!<arch>\n",
            "it is a static library",
            "set crate-type = [\"cdylib\"] in the plugin's Cargo.toml",
        ),
        (b"PK\x03\x04", "it is a zip archive", BUILD_HELP),
        (b"\x1f\x8b", "it is a gzip archive", BUILD_HELP),
        (b"\x89PNG", "it is a picture", BUILD_HELP),
        (b"#!", "it is a script", BUILD_HELP),
        (b"", "it is empty", BUILD_HELP),
    ];
    if cfg!(target_os = "linux") && start.starts_with(b"\x7fELF") {
        return refuse_elf(start, length_bytes)
            .map(|found| (found, "build the plugin for this machine, as a `cdylib`"));
    }
    if !cfg!(target_os = "linux") && !start.is_empty() {
        // Elsewhere the dynamic linker judges.
        return None;
    }
    let found = known
        .iter()
        .find(|(magic, ..)| start == *magic || (!magic.is_empty() && start.starts_with(magic)));
    Some(match found {
        Some((_, found, help)) => ((*found).to_owned(), *help),
        None if std::str::from_utf8(&start[..start.len().min(64)]).is_ok() => {
            ("it is a text file".to_owned(), BUILD_HELP)
        }
        None => ("it is not a shared library".to_owned(), BUILD_HELP),
    })
}

/// Reads the header of the Executable and Linkable Format: class, byte order, type, machine, and where the file ends.
fn refuse_elf(start: &[u8], length_bytes: u64) -> Option<String> {
    const SHARED: u16 = 3;
    let cut_off = || Some("it is a shared library cut off in its header".to_owned());
    let (Some(&[class, order]), Some(&[type_low, type_high, machine_low, machine_high])) = (
        start.get(4..6).and_then(|bytes| bytes.first_chunk::<2>()),
        start.get(16..20).and_then(|bytes| bytes.first_chunk::<4>()),
    ) else {
        return cut_off();
    };
    let bits = if class == 2 { 64 } else { 32 };
    if bits != usize::BITS || (order == 2) != cfg!(target_endian = "big") {
        return Some(format!(
            "it is a library for {bits}-bit {}-endian machines",
            if order == 2 { "big" } else { "little" }
        ));
    }
    let number = |low, high| {
        if order == 2 {
            u16::from_be_bytes([low, high])
        } else {
            u16::from_le_bytes([low, high])
        }
    };
    let machine = number(machine_low, machine_high);
    let machines = [
        (62, "x86_64"),
        (183, "aarch64"),
        (243, "riscv64"),
        (40, "arm"),
        (3, "x86"),
    ];
    let name = machines
        .iter()
        .find(|(number, _)| *number == machine)
        .map(|(_, name)| *name);
    if name != Some(std::env::consts::ARCH)
        && machines
            .iter()
            .any(|(_, name)| *name == std::env::consts::ARCH)
    {
        let name = name.map_or_else(|| format!("machine number {machine}"), str::to_owned);
        return Some(format!(
            "it is a library for {name}, and this machine is {}",
            std::env::consts::ARCH
        ));
    }
    if bits == 64 {
        // The table of sections stands at the end of a file. Loading a file that was cut off, by a full disk or a copy
        // that is still under way, would end the process where the missing pages are touched.
        let Some(table) = start
            .get(0x28..0x30)
            .and_then(|bytes| bytes.first_chunk::<8>())
        else {
            return cut_off();
        };
        let Some(&[size_low, size_high, count_low, count_high]) = start
            .get(0x3a..0x3e)
            .and_then(|bytes| bytes.first_chunk::<4>())
        else {
            return cut_off();
        };
        let table = if order == 2 {
            u64::from_be_bytes(*table)
        } else {
            u64::from_le_bytes(*table)
        };
        let size =
            u64::from(number(size_low, size_high)) * u64::from(number(count_low, count_high));
        let end = table.saturating_add(size);
        if end > length_bytes {
            return Some(format!(
                "it is a shared library cut off after {length_bytes} of {end} bytes"
            ));
        }
    }
    match number(type_low, type_high) {
        SHARED => None,
        1 => Some("it is an object file".to_owned()),
        2 => Some("it is a program".to_owned()),
        4 => Some("it is a core dump".to_owned()),
        other => Some(format!(
            "it is an ELF file of type {other}, not a shared library"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn check(bytes: &[u8]) -> Result<String, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        inspect(file.path()).map_err(|error| {
            assert!(error.help().is_some(), "{error} without help");
            error.to_string().rsplit(": ").next().unwrap().to_owned()
        })
    }

    fn library() -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16] = 3;
        bytes[18] = if cfg!(target_arch = "aarch64") {
            183
        } else {
            62
        };
        bytes
    }

    #[test]
    fn other_files_are_named_for_what_they_are() {
        for (bytes, expected) in [
            (&b""[..], "it is empty"),
            (b"hello there", "it is a text file"),
            (b"#!/bin/sh\n", "it is a script"),
            (b"MZ\x90\x00", "it is a Windows program or library"),
            (b"!<arch>\n", "it is a static library"),
            (b"\x89PNG\r\n", "it is a picture"),
            (b"\xff\xfe\x00\x80", "it is not a shared library"),
            (
                b"\x7fELF\x02\x01\x01",
                "it is a shared library cut off in its header",
            ),
        ] {
            assert_eq!(check(bytes).unwrap_err(), expected);
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(
            inspect(folder.path())
                .unwrap_err()
                .to_string()
                .ends_with("it is a folder")
        );
        assert!(matches!(
            inspect(&folder.path().join("none")),
            Err(LoaderError::Unreadable { .. })
        ));
    }

    #[test]
    fn libraries_of_other_machines_are_refused() {
        let mut bytes = library();
        bytes[18] = 8;
        assert!(
            check(&bytes)
                .unwrap_err()
                .starts_with("it is a library for machine number 8, and this machine is")
        );
        let mut bytes = library();
        bytes[4] = 1;
        assert_eq!(
            check(&bytes).unwrap_err(),
            "it is a library for 32-bit little-endian machines"
        );
        let mut bytes = library();
        bytes[16] = 1;
        assert_eq!(check(&bytes).unwrap_err(), "it is an object file");
    }

    #[test]
    fn the_entry_point_is_found_wherever_it_lies() {
        assert_eq!(
            check(&library()).unwrap_err(),
            "it is a library without the entry point of a plugin"
        );
        let first = ENTRY_SYMBOL.len() - 1 + CHUNK_BYTES;
        for before in [
            64,
            first - ENTRY_SYMBOL.len(),
            first - 20,
            first - 1,
            first,
            first + CHUNK_BYTES - 5,
        ] {
            let mut bytes = library();
            bytes.resize(before, 1);
            bytes.extend_from_slice(ENTRY_SYMBOL.as_bytes());
            bytes.extend_from_slice(&[0; 100]);
            let hash = check(&bytes).unwrap_or_else(|error| panic!("at {before}: {error}"));
            assert_eq!(hash, format!("{:x}", Sha256::digest(&bytes)), "at {before}");
        }
    }
}
