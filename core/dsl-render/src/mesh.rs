//! Meshes: triangles with colours, and the files that they are read from.
//!
//! Axes are those of glTF: right-handed, +Y up, the front of a thing towards +Z. Files of other kinds are taken as they are.
//! Colours are linear (not sRGB) red, green and blue, 0..1. Everything is opaque and seen from both sides.

use std::path::Path;

use glam::{Vec2, Vec3};

use crate::error::RenderError;
use crate::texture::Texture;

mod gltf;
mod obj;
mod ply;

/// File name endings, in lower case, of the meshes that [`Mesh::open`] reads.
pub const EXTENSIONS: [&str; 4] = ["glb", "gltf", "obj", "ply"];

/// Triangles with what is needed to draw them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mesh {
    /// Corners of faces.
    pub vertices: Vec<Vertex>,
    /// Triangles.
    pub faces: Vec<Face>,
    /// Pictures that faces refer to.
    pub textures: Vec<Texture>,
}

/// A corner of faces.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vertex {
    /// Place.
    pub position: Vec3,
    /// Unit normal; zero where the file has none. A face with such a corner is shaded flat.
    pub normal: Vec3,
    /// Linear colour; multiplies the texture where there is one.
    pub color: Vec3,
    /// Place in the texture: 0..1 from its top left corner, repeated outside.
    pub uv: Vec2,
}

/// A triangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Face {
    /// Indices of its vertices.
    pub corners: [u32; 3],
    /// Index of its texture.
    pub texture: Option<u32>,
}

/// To which size a mesh is brought; its bounding box is centred on the origin in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// The longest side of the bounding box is 1 (SyncDreamer).
    MaxSide,
    /// The diagonal of the bounding box is 1 (Era3D).
    Diagonal,
    /// The farthest vertex has the distance 1.
    BoundingSphere,
}

impl Vertex {
    /// A white vertex without normal.
    pub const fn at(position: Vec3) -> Self {
        Self {
            position,
            normal: Vec3::ZERO,
            color: Vec3::ONE,
            uv: Vec2::ZERO,
        }
    }
}

impl Mesh {
    /// Reads a glTF (`.glb`, or `.gltf` with the files it names), OBJ (with its materials) or PLY file; the name's ending
    /// says which.
    ///
    /// Base colours are read: factor, vertex colours and texture, multiplied. OBJ's `Kd` and PLY's colours are display (sRGB)
    /// values. Points and lines are left out.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged, has no faces, numbers that are not finite, or indices out of range; data or
    /// pictures that it names and that are not there.
    pub fn open(path: &Path) -> Result<Self, RenderError> {
        let bytes = std::fs::read(path).map_err(|error| RenderError::io(path, error))?;
        Self::from_bytes(&bytes, path)
    }

    /// As [`Mesh::open`] for the bytes of a file. `path` says the format, is named in errors, and its folder is where further
    /// files are looked for.
    ///
    /// # Errors
    /// As [`Mesh::open`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, RenderError> {
        let extension = path.extension().and_then(|extension| extension.to_str());
        let mesh = match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("glb" | "gltf") => gltf::read(bytes, path)?,
            Some("obj") => obj::read(bytes, path)?,
            Some("ply") => ply::read(bytes, path)?,
            _ => return Err(RenderError::UnknownFormat { path: path.into() }),
        };
        mesh.check(path)?;
        Ok(mesh)
    }

    /// Checks what drawing relies on; `path` is named in errors.
    ///
    /// # Errors
    /// No faces, numbers that are not finite, indices out of range.
    pub fn check(&self, path: &Path) -> Result<(), RenderError> {
        if self.faces.is_empty() {
            return Err(RenderError::NoFaces { path: path.into() });
        }
        for (vertex, corner) in self.vertices.iter().enumerate() {
            let flaw = [
                ("position", corner.position.is_finite()),
                ("normal", corner.normal.is_finite()),
                ("colour", corner.color.is_finite()),
                ("texture coordinate", corner.uv.is_finite()),
            ]
            .into_iter()
            .find(|(_, finite)| !finite);
            if let Some((what, _)) = flaw {
                return Err(RenderError::NotFinite {
                    path: path.into(),
                    what,
                    vertex,
                });
            }
        }
        for face in &self.faces {
            let out_of = |index: u32, count: usize| index as usize >= count;
            if let Some(&index) =
                (face.corners.iter()).find(|&&index| out_of(index, self.vertices.len()))
            {
                return Err(RenderError::IndexOutOfRange {
                    path: path.into(),
                    index: index.into(),
                    vertices: self.vertices.len(),
                });
            }
            if let Some(texture) = face.texture
                && out_of(texture, self.textures.len())
            {
                return Err(RenderError::missing(path, format!("texture {texture}")));
            }
        }
        Ok(())
    }

    /// Smallest and largest coordinates of the vertices that faces use.
    ///
    /// # Panics
    /// Where an index is out of range, see [`Mesh::check`].
    pub fn bounds(&self) -> (Vec3, Vec3) {
        let none = (Vec3::INFINITY, Vec3::NEG_INFINITY);
        (self.faces.iter().flat_map(|face| face.corners)).fold(none, |(low, high), corner| {
            let position = self.vertices[corner as usize].position;
            (low.min(position), high.max(position))
        })
    }

    /// The mesh with its bounding box centred on the origin and brought to a size; `path` is named in errors.
    ///
    /// # Errors
    /// A mesh without any extent, or one so large that numbers overflow.
    pub fn normalized(mut self, to: Normalization, path: &Path) -> Result<Self, RenderError> {
        let (low, high) = self.bounds();
        let (center, extent) = (low * 0.5 + high * 0.5, high - low);
        let size = match to {
            Normalization::MaxSide => extent.max_element(),
            Normalization::Diagonal => extent.length(),
            Normalization::BoundingSphere => (self.faces.iter())
                .flat_map(|face| face.corners)
                .map(|corner| (self.vertices[corner as usize].position - center).length())
                .fold(0.0, f32::max),
        };
        if !(size.is_finite() && size > 0.0) {
            return Err(RenderError::NoExtent { path: path.into() });
        }
        for vertex in &mut self.vertices {
            vertex.position = (vertex.position - center) / size;
        }
        Ok(self)
    }

    /// The mesh turned about the vertical axis, counter-clockwise as seen from above.
    #[must_use]
    pub fn turned(mut self, degrees: f64) -> Self {
        let turn = glam::Mat3::from_rotation_y(degrees.to_radians() as f32);
        for vertex in &mut self.vertices {
            vertex.position = turn * vertex.position;
            vertex.normal = turn * vertex.normal;
        }
        self
    }

    /// Memory that the mesh takes, in bytes.
    pub fn size_bytes(&self) -> u64 {
        let textures: usize = self.textures.iter().map(Texture::size_bytes).sum();
        (size_of_val(&*self.vertices) + size_of_val(&*self.faces) + textures) as u64
    }
}

#[cfg(test)]
mod tests;
