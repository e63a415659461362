//! Wavefront OBJ with MTL materials.

use std::collections::HashMap;
use std::path::Path;

use glam::{Vec2, Vec3};
use tobj::{LoadOptions, Material};

use super::{Face, Mesh, Vertex};
use crate::color::srgb_to_linear;
use crate::error::RenderError;
use crate::texture::Texture;

pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Mesh, RenderError> {
    let options = LoadOptions {
        triangulate: true,
        single_index: true,
        ignore_points: true,
        ignore_lines: true,
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let (models, materials) = tobj::load_obj_buf(&mut &bytes[..], &options, |name| {
        tobj::load_mtl(folder.join(name))
    })
    .map_err(|error| RenderError::format(path, "OBJ", error))?;
    // Many exporters leave the materials behind: the mesh is then white.
    let materials = materials.unwrap_or_default();
    let mut mesh = Mesh::default();
    let mut textures = HashMap::new();
    for model in models {
        let model = model.mesh;
        let material = model.material_id.and_then(|id| materials.get(id));
        let texture = material
            .and_then(|material| material.diffuse_texture.as_deref())
            .filter(|_| !model.texcoords.is_empty())
            .map(|name| texture(&mut mesh, &mut textures, folder, name))
            .transpose()?;
        let color = material
            .and_then(|material: &Material| material.diffuse)
            .map_or(Vec3::ONE, |display| Vec3::from(display.map(srgb_to_linear)));
        let base = mesh.vertices.len() as u32;
        let three =
            |values: &[f32], at: usize| values.get(3 * at..3 * at + 3).map(Vec3::from_slice);
        for (at, position) in model.positions.chunks_exact(3).enumerate() {
            let own = three(&model.vertex_color, at)
                .map_or(Vec3::ONE, |display| display.map(srgb_to_linear));
            let uv = (model.texcoords.get(2 * at..2 * at + 2))
                .map_or(Vec2::ZERO, |uv| Vec2::new(uv[0], 1.0 - uv[1]));
            mesh.vertices.push(Vertex {
                position: Vec3::from_slice(position),
                normal: three(&model.normals, at).map_or(Vec3::ZERO, Vec3::normalize_or_zero),
                color: color * own,
                uv,
            });
        }
        mesh.faces
            .extend(model.indices.chunks_exact(3).map(|corners| Face {
                corners: [base + corners[0], base + corners[1], base + corners[2]],
                texture,
            }));
    }
    Ok(mesh)
}

fn texture(
    mesh: &mut Mesh,
    known: &mut HashMap<String, u32>,
    folder: &Path,
    name: &str,
) -> Result<u32, RenderError> {
    if let Some(&place) = known.get(name) {
        return Ok(place);
    }
    let path = folder.join(name.replace('\\', "/"));
    let bytes = std::fs::read(&path).map_err(|error| RenderError::io(&path, error))?;
    let place = mesh.textures.len() as u32;
    mesh.textures.push(Texture::decode(&bytes, &path)?);
    known.insert(name.to_owned(), place);
    Ok(place)
}
