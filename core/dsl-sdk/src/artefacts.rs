//! Files that an evaluation leaves.

use dsl_abi::{Buffer, check::check_artefacts, task::Artefact};

use crate::PluginError;

/// Files that an evaluation leaves beside its metrics. The host decides in which folder they are written.
#[derive(Debug, Default)]
pub struct Artefacts(Vec<File>);

#[derive(Debug)]
struct File {
    name: String,
    media_type: String,
    bytes: Vec<u8>,
}

impl Artefacts {
    /// Adds a file. `name` is a file name with extension, without folders, used once in an evaluation: letters, digits,
    /// `.`, `_` and `-`. `media_type` is such as `image/png` or `text/csv`.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        media_type: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
    ) {
        self.0.push(File {
            name: name.into(),
            media_type: media_type.into(),
            bytes: bytes.into(),
        });
    }

    /// The file of that name, for an author's own tests.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        (self.0.iter())
            .find(|file| file.name == name)
            .map(|file| file.bytes.as_slice())
    }

    pub(crate) fn into_abi(self) -> Result<Vec<Artefact>, PluginError> {
        let found: Vec<_> = (self.0.iter())
            .map(|file| {
                (
                    file.name.as_str(),
                    file.media_type.as_str(),
                    file.bytes.len() as u64,
                )
            })
            .collect();
        check_artefacts(&found).map_err(|breach| {
            PluginError::contract(format!(
                "artefact `{}`: expected {}, found {}",
                breach.column, breach.expected, breach.found
            ))
            .with_help("this is a mistake in the plugin; tell its authors")
        })?;
        Ok((self.0.into_iter())
            .map(|file| Artefact {
                name: file.name.into(),
                media_type: file.media_type.into(),
                data: Buffer::from_vec(file.bytes),
            })
            .collect())
    }
}
