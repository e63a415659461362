//! glTF 2.0, binary and text: the default scene, its nodes' transforms applied.

use std::path::Path;

use glam::{Mat3, Mat4, Vec2, Vec3};
use gltf::buffer::Source;
use gltf::image::Source as ImageSource;
use gltf::mesh::Mode;
use gltf::{Accessor, Document, Gltf, Node, Primitive, buffer};

use super::{Face, Mesh, Vertex};
use crate::error::RenderError;
use crate::texture::Texture;

/// Nodes below nodes; a file whose nodes form a ring would never end.
const MAX_DEPTH: usize = 64;

pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Mesh, RenderError> {
    let gltf = Gltf::from_slice(bytes).map_err(|error| RenderError::format(path, "glTF", error))?;
    let buffers = buffers(&gltf.document, gltf.blob.clone(), path)?;
    let mut reading = Reading {
        path,
        buffers: &buffers,
        textures: vec![None; gltf.textures().len()],
        mesh: Mesh::default(),
    };
    let scene = gltf.default_scene().or_else(|| gltf.scenes().next());
    match scene {
        Some(scene) => {
            for node in scene.nodes() {
                reading.node(&node, Mat4::IDENTITY, 0)?;
            }
        }
        // A library of meshes without a scene: each as it is.
        None => {
            for mesh in gltf.meshes() {
                for primitive in mesh.primitives() {
                    reading.primitive(&primitive, Mat4::IDENTITY)?;
                }
            }
        }
    }
    Ok(reading.mesh)
}

fn buffers(
    document: &Document,
    mut blob: Option<Vec<u8>>,
    path: &Path,
) -> Result<Vec<buffer::Data>, RenderError> {
    let mut all = Vec::new();
    for buffer in document.buffers() {
        let name = match buffer.source() {
            Source::Bin => "the binary chunk".to_owned(),
            Source::Uri(uri) => {
                check_uri(uri, path)?;
                format!("`{}`", uri.chars().take(80).collect::<String>())
            }
        };
        let data = buffer::Data::from_source_and_blob(buffer.source(), path.parent(), &mut blob)
            .map_err(|error| RenderError::missing(path, format!("{name}: {error}")))?;
        if data.len() < buffer.length() {
            let cause = format!("{name} has {} of {} bytes", data.len(), buffer.length());
            return Err(RenderError::missing(path, cause));
        }
        all.push(data);
    }
    Ok(all)
}

/// The parser's own reading of addresses panics on text that is not UTF-8 once its escapes are resolved.
fn check_uri(uri: &str, path: &Path) -> Result<(), RenderError> {
    let bytes = uri.as_bytes();
    let mut resolved = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten();
        let value = escape
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        at += if value.is_some() { 3 } else { 1 };
        resolved.push(value.unwrap_or(bytes[at - 1]));
    }
    match String::from_utf8(resolved) {
        Ok(_) => Ok(()),
        Err(_) => Err(RenderError::missing(path, format!("`{uri}` is no address"))),
    }
}

struct Reading<'a> {
    path: &'a Path,
    buffers: &'a [buffer::Data],
    /// Place in the mesh of each of the file's textures, once read.
    textures: Vec<Option<u32>>,
    mesh: Mesh,
}

impl Reading<'_> {
    fn node(&mut self, node: &Node<'_>, parent: Mat4, depth: usize) -> Result<(), RenderError> {
        if depth > MAX_DEPTH {
            let cause = format!("nodes are nested more than {MAX_DEPTH} deep");
            return Err(RenderError::format(self.path, "glTF", cause));
        }
        let transform = parent * Mat4::from_cols_array_2d(&node.transform().matrix());
        for primitive in node.mesh().iter().flat_map(|mesh| mesh.primitives()) {
            self.primitive(&primitive, transform)?;
        }
        for child in node.children() {
            self.node(&child, transform, depth + 1)?;
        }
        Ok(())
    }

    fn primitive(&mut self, primitive: &Primitive<'_>, to: Mat4) -> Result<(), RenderError> {
        if matches!(
            primitive.mode(),
            Mode::Points | Mode::Lines | Mode::LineLoop | Mode::LineStrip
        ) {
            return Ok(());
        }
        for (_, accessor) in primitive.attributes() {
            self.check_accessor(&accessor)?;
        }
        if let Some(accessor) = primitive.indices() {
            self.check_accessor(&accessor)?;
        }
        let buffers = self.buffers;
        let reader = primitive.reader(|buffer| Some(&buffers.get(buffer.index())?.0[..]));
        let Some(positions) = reader.read_positions() else {
            return Err(RenderError::missing(self.path, "positions of a primitive"));
        };
        let positions: Vec<Vec3> = positions
            .map(|position| to.transform_point3(position.into()))
            .collect();
        // Normals stay at right angles to the surface under the inverse transpose.
        let turn = Mat3::from_mat4(to).inverse().transpose();
        let normals: Vec<Vec3> = reader
            .read_normals()
            .map(|normals| {
                normals
                    .map(|normal| (turn * Vec3::from(normal)).normalize_or_zero())
                    .collect()
            })
            .unwrap_or_default();
        let material = primitive.material();
        let surface = material.pbr_metallic_roughness();
        let factor = Vec3::from_slice(&surface.base_color_factor()[..3]);
        let colors: Vec<Vec3> = reader
            .read_colors(0)
            .map(|colors| colors.into_rgb_f32().map(Vec3::from).collect())
            .unwrap_or_default();
        let (texture, uvs) = match surface.base_color_texture() {
            None => (None, Vec::new()),
            Some(info) => match reader.read_tex_coords(info.tex_coord()) {
                None => (None, Vec::new()),
                Some(uvs) => (
                    Some(self.texture(&info.texture())?),
                    uvs.into_f32().map(Vec2::from).collect(),
                ),
            },
        };
        let base = self.mesh.vertices.len() as u32;
        let count = positions.len();
        for (at, position) in positions.into_iter().enumerate() {
            self.mesh.vertices.push(Vertex {
                position,
                normal: normals.get(at).copied().unwrap_or_default(),
                color: factor * colors.get(at).copied().unwrap_or(Vec3::ONE),
                uv: uvs.get(at).copied().unwrap_or_default(),
            });
        }
        let indices: Vec<u32> = match (reader.read_indices(), primitive.indices()) {
            (Some(indices), _) => indices.into_u32().collect(),
            (None, Some(_)) => {
                return Err(RenderError::missing(self.path, "indices of a primitive"));
            }
            (None, None) => (0..count as u32).collect(),
        };
        if let Some(&index) = indices.iter().find(|&&index| index as usize >= count) {
            return Err(RenderError::IndexOutOfRange {
                path: self.path.into(),
                index: index.into(),
                vertices: count,
            });
        }
        let corners: Vec<[u32; 3]> = match primitive.mode() {
            Mode::TriangleStrip => (indices.windows(3)).map(|w| [w[0], w[1], w[2]]).collect(),
            Mode::TriangleFan => (indices.windows(2).skip(1))
                .map(|pair| [indices[0], pair[0], pair[1]])
                .collect(),
            _ => (indices.chunks_exact(3))
                .map(|t| [t[0], t[1], t[2]])
                .collect(),
        };
        self.mesh
            .faces
            .extend(corners.into_iter().map(|corners| Face {
                corners: corners.map(|corner| base + corner),
                texture,
            }));
        Ok(())
    }

    /// That an accessor lies inside its buffer: the parser computes with these numbers as they are.
    fn check_accessor(&self, accessor: &Accessor<'_>) -> Result<(), RenderError> {
        let cause = |cause: &str| {
            let cause = format!("accessor {} {cause}", accessor.index());
            Err(RenderError::missing(self.path, cause))
        };
        if accessor.count() == 0 {
            return cause("is empty");
        }
        let sparse = accessor.sparse().map_or(1, |sparse| sparse.count());
        if sparse == 0 || sparse > accessor.count() {
            return cause("has an impossible number of sparse values");
        }
        let Some(view) = accessor.view() else {
            return Ok(());
        };
        let stride = view.stride().unwrap_or(accessor.size());
        let end = (accessor.count() - 1)
            .checked_mul(stride)
            .and_then(|start| start.checked_add(accessor.size()))
            .and_then(|end| end.checked_add(accessor.offset()));
        let view_end = view.offset().checked_add(view.length());
        let buffer = self.buffers.get(view.buffer().index());
        if view_end.is_none_or(|end| end > buffer.map_or(0, |buffer| buffer.len())) {
            return cause("lies outside of its buffer");
        }
        if end.is_none_or(|end| end > view.length()) {
            return cause("is longer than its buffer view");
        }
        Ok(())
    }

    fn texture(&mut self, texture: &gltf::Texture<'_>) -> Result<u32, RenderError> {
        if let Some(Some(known)) = self.textures.get(texture.index()) {
            return Ok(*known);
        }
        let path = self.path;
        let bytes = match texture.source().source() {
            ImageSource::View { view, .. } => {
                let end = view.offset().checked_add(view.length());
                (self.buffers.get(view.buffer().index()))
                    .and_then(|buffer| buffer.get(view.offset()..end?))
                    .map(<[u8]>::to_vec)
                    .ok_or_else(|| RenderError::missing(path, "a picture outside of its buffer"))?
            }
            ImageSource::Uri { uri, .. } => {
                check_uri(uri, path)?;
                // The same schemes as for buffers.
                buffer::Data::from_source(Source::Uri(uri), path.parent())
                    .map_err(|error| {
                        let uri: String = uri.chars().take(80).collect();
                        RenderError::missing(path, format!("the picture `{uri}`: {error}"))
                    })?
                    .0
            }
        };
        let place = self.mesh.textures.len() as u32;
        self.mesh.textures.push(Texture::decode(&bytes, path)?);
        if let Some(slot) = self.textures.get_mut(texture.index()) {
            *slot = Some(place);
        }
        Ok(place)
    }
}
