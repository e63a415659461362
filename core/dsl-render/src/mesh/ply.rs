//! PLY, text and binary: vertices with colours and normals, polygons as fans of triangles.

use std::path::Path;

use glam::Vec3;
use ply_rs_bw::parser::Parser;
use ply_rs_bw::ply::{DefaultElement, Property};

use super::{Face, Mesh, Vertex};
use crate::color::srgb_to_linear;
use crate::error::RenderError;

pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Mesh, RenderError> {
    let ply = Parser::<DefaultElement>::new()
        .read_ply(&mut &bytes[..])
        .map_err(|error| RenderError::format(path, "PLY", error))?;
    let mut mesh = Mesh::default();
    for element in ply.payload.get("vertex").into_iter().flatten() {
        let three = |names: [&str; 3]| -> Option<Vec3> {
            let [x, y, z] = names.map(|name| number(element, name));
            Some(Vec3::new(x?, y?, z?))
        };
        let Some(position) = three(["x", "y", "z"]) else {
            let cause = "a vertex without the properties x, y and z";
            return Err(RenderError::format(path, "PLY", cause));
        };
        let color = color(element, ["red", "green", "blue"])
            .or_else(|| color(element, ["diffuse_red", "diffuse_green", "diffuse_blue"]));
        mesh.vertices.push(Vertex {
            normal: three(["nx", "ny", "nz"]).map_or(Vec3::ZERO, Vec3::normalize_or_zero),
            color: color.unwrap_or(Vec3::ONE),
            ..Vertex::at(position)
        });
    }
    for element in ply.payload.get("face").into_iter().flatten() {
        let indices = ["vertex_indices", "vertex_index"]
            .iter()
            .find_map(|name| element.get(*name))
            .and_then(indices);
        let Some(indices) = indices else {
            let cause = "a face without a list `vertex_indices` of whole numbers";
            return Err(RenderError::format(path, "PLY", cause));
        };
        let vertices = mesh.vertices.len();
        let checked = |&index: &i64| {
            (u32::try_from(index).ok())
                .filter(|&index| (index as usize) < vertices)
                .ok_or(RenderError::IndexOutOfRange {
                    path: path.into(),
                    index: index.unsigned_abs(),
                    vertices,
                })
        };
        let indices = indices
            .iter()
            .map(checked)
            .collect::<Result<Vec<u32>, _>>()?;
        for pair in indices.windows(2).skip(1) {
            mesh.faces.push(Face {
                corners: [indices[0], pair[0], pair[1]],
                texture: None,
            });
        }
    }
    Ok(mesh)
}

fn number(element: &DefaultElement, name: &str) -> Option<f32> {
    Some(match *element.get(name)? {
        Property::Char(value) => f32::from(value),
        Property::UChar(value) => f32::from(value),
        Property::Short(value) => f32::from(value),
        Property::UShort(value) => f32::from(value),
        Property::Int(value) => value as f32,
        Property::UInt(value) => value as f32,
        Property::Float(value) => value,
        Property::Double(value) => value as f32,
        _ => return None,
    })
}

/// Linear colour of display values: bytes, shorts, or floats in 0..1.
fn color(element: &DefaultElement, names: [&str; 3]) -> Option<Vec3> {
    let [r, g, b] = names.map(|name| {
        let most = match element.get(name)? {
            Property::UChar(_) | Property::Char(_) => 255.0,
            Property::UShort(_) | Property::Short(_) => 65_535.0,
            _ => 1.0,
        };
        Some(srgb_to_linear(number(element, name)? / most))
    });
    Some(Vec3::new(r?, g?, b?))
}

fn indices(property: &Property) -> Option<Vec<i64>> {
    fn all<T: Copy + Into<i64>>(values: &[T]) -> Vec<i64> {
        values.iter().map(|&value| value.into()).collect()
    }
    Some(match property {
        Property::ListChar(values) => all(values),
        Property::ListUChar(values) => all(values),
        Property::ListShort(values) => all(values),
        Property::ListUShort(values) => all(values),
        Property::ListInt(values) => all(values),
        Property::ListUInt(values) => all(values),
        _ => return None,
    })
}
