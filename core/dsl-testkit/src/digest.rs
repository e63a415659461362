//! Hashes: of a file, and of what a dataset gives.

use std::{fmt::Write, fs::File, io, path::Path};

use sha2::{Digest, Sha256};

use crate::{
    case::{Outcome, Verdict},
    context::{Context, columns_of, rows, seeds, some_indices},
};

fn hex(hasher: Sha256) -> String {
    let mut text = String::new();
    for byte in hasher.finalize() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(crate) fn file_sha256(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex(hasher))
}

/// A hash of some samples of every split, with and without random changes; the message of the verdict.
pub(crate) fn digest(context: &Context) -> Verdict {
    samples_digest(context).unwrap_or_else(|verdict| verdict)
}

fn samples_digest(context: &Context) -> Outcome {
    let (_, task) = context.task()?;
    let mut hasher = Sha256::new();
    for split in task.splits() {
        let dataset = task.dataset(split)?;
        if dataset.is_empty() {
            continue;
        }
        let indices = some_indices(&dataset, 8);
        for augment in [false, true] {
            let columns = dataset.batch(&indices, &seeds(&indices, 1), augment)?;
            for (name, rows) in rows(&columns_of(&dataset), &columns) {
                hasher.update(format!("{split}/{name}/{}", rows.len()));
                for row in rows {
                    hasher.update((row.len() as u64).to_le_bytes());
                    hasher.update(&row);
                }
            }
        }
    }
    Ok(Verdict::passed(hex(hasher)))
}
