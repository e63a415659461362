//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A file or folder cannot be read.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not of the format that its name says, or is damaged.
    #[error("`{path}` is not a whole {format} file: {cause}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Such as `glTF`.
        format: &'static str,
        /// What the parser says.
        cause: String,
    },
    /// A file whose name has another ending than those of the formats that are read.
    #[error("`{path}` is no mesh that can be read: expected .glb, .gltf, .obj or .ply")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A mesh without a single triangle.
    #[error("the mesh `{path}` has no faces")]
    NoFaces {
        /// The file.
        path: PathBuf,
    },
    /// A number that is not finite.
    #[error("the mesh `{path}` has a {what} that is not finite, at vertex {vertex}")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// Such as `position`.
        what: &'static str,
        /// Place of the vertex, from 0.
        vertex: usize,
    },
    /// A face that names a vertex that is not there.
    #[error("the mesh `{path}` has a face with vertex {index}, but only {vertices} vertices")]
    IndexOutOfRange {
        /// The file.
        path: PathBuf,
        /// The index, from 0.
        index: u64,
        /// How many there are.
        vertices: usize,
    },
    /// A buffer of a glTF file that is not there, or is too short.
    #[error("the mesh `{path}` wants data that is not there: {cause}")]
    MissingData {
        /// The file.
        path: PathBuf,
        /// Which data.
        cause: String,
    },
    /// A mesh without any extent.
    #[error("the mesh `{path}` is a single point, and cannot be brought to a size")]
    NoExtent {
        /// The file.
        path: PathBuf,
    },
    /// A picture that cannot be read, or is not as it has to be.
    #[error("the picture `{path}` cannot be used: {cause}")]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A folder that is not laid out as it has to be.
    #[error("`{path}`: {found}; expected {expected}")]
    Layout {
        /// The folder or file.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// A number that a camera or a view cannot have.
    #[error("`{field}` is {found}, expected {expected}")]
    Setting {
        /// Its name.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl RenderError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn format(path: &Path, format: &'static str, cause: impl ToString) -> Self {
        Self::Format {
            path: path.to_owned(),
            format,
            cause: cause.to_string(),
        }
    }

    pub(crate) fn missing(path: &Path, cause: impl ToString) -> Self {
        Self::MissingData {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }

    pub(crate) fn picture(path: &Path, cause: impl ToString) -> Self {
        Self::Picture {
            path: path.to_owned(),
            cause: cause.to_string(),
        }
    }

    pub(crate) fn layout(path: &Path, found: impl ToString, expected: impl ToString) -> Self {
        Self::Layout {
            path: path.to_owned(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// What to do about it; may be empty.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Io { .. } => {
                "check the path; a relative one starts at the folder from which the program was called"
            }
            Self::Format { .. } | Self::MissingData { .. } | Self::IndexOutOfRange { .. } => {
                "write the file again with a modelling program (a .glb has everything in one file), or leave it out"
            }
            Self::UnknownFormat { .. } => "convert it, for instance to .glb",
            Self::NoFaces { .. } | Self::NotFinite { .. } | Self::NoExtent { .. } => {
                "mend the mesh, or leave it out"
            }
            Self::Picture { .. } => {
                "PNG, JPEG and WebP are read; replace the picture, or leave it out"
            }
            Self::Layout { .. } | Self::Setting { .. } => "",
        }
    }
}
