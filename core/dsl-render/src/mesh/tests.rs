//! What files hold, and every way in which they can be wrong.

use std::path::Path;

use super::*;

const PLY: &str = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n\
    property uchar red\nproperty uchar green\nproperty uchar blue\nelement face 1\n\
    property list uchar int vertex_indices\nend_header\n0 0 0 255 0 0\n1 0 0 255 0 0\n1 1 0 255 0 0\n0 1 0 255 0 188\n4 0 1 2 3\n";

const OBJ: &str = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";

fn read(name: &str, text: impl AsRef<[u8]>) -> Result<Mesh, RenderError> {
    Mesh::from_bytes(text.as_ref(), Path::new(name))
}

#[track_caller]
fn refused(name: &str, text: impl AsRef<[u8]>, expected: &str) {
    let error = read(name, text)
        .expect_err("this file is wrong")
        .to_string();
    assert!(error.contains(expected) && error.contains(name), "{error}");
}

/// A triangle as glTF with its buffer inside; `edit` changes the document.
fn triangle(edit: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let mut bin = Vec::new();
    for value in [0.0_f32, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0] {
        bin.extend(value.to_le_bytes());
    }
    for index in [0_u16, 1, 2, 0] {
        bin.extend(index.to_le_bytes());
    }
    bin.extend([255, 0, 0, 255, 255, 0, 0, 255, 0, 0, 255, 255]);
    let mut document = serde_json::json!({
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "translation": [0.0, 0.0, 2.0], "scale": [2.0, 1.0, 1.0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "COLOR_0": 2}, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.5, 1.0, 0.25, 1.0]}}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0.0, 0.0, 0.0], "max": [1.0, 1.0, 0.0]},
            {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
            {"bufferView": 2, "componentType": 5121, "count": 3, "type": "VEC4", "normalized": true},
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 6},
            {"buffer": 0, "byteOffset": 44, "byteLength": 12},
        ],
        "buffers": [{"byteLength": bin.len()}],
    });
    edit(&mut document);
    let mut text = serde_json::to_vec(&document).unwrap();
    text.resize(text.len().next_multiple_of(4), b' ');
    let mut glb = b"glTF".to_vec();
    glb.extend(2_u32.to_le_bytes());
    glb.extend(((28 + text.len() + bin.len()) as u32).to_le_bytes());
    glb.extend((text.len() as u32).to_le_bytes());
    glb.extend(b"JSON");
    glb.extend(text);
    glb.extend((bin.len() as u32).to_le_bytes());
    glb.extend(b"BIN\0");
    glb.extend(bin);
    glb
}

#[test]
fn gltf_has_transforms_and_colours() {
    let mesh = read("a.glb", triangle(|_| ())).unwrap();
    assert_eq!(mesh.faces[0].corners, [0, 1, 2]);
    assert_eq!(mesh.vertices[1].position, Vec3::new(2.0, 0.0, 2.0));
    assert_eq!(mesh.vertices[0].color, Vec3::new(0.5, 0.0, 0.0));
    assert_eq!(mesh.vertices[2].color, Vec3::new(0.0, 0.0, 0.25));
    assert_eq!(mesh.vertices[0].normal, Vec3::ZERO);
}

#[test]
fn gltf_that_lies_about_its_data_is_refused() {
    refused(
        "a.glb",
        triangle(|d| d["accessors"][0]["count"] = 4.into()),
        "longer than its buffer view",
    );
    refused(
        "a.glb",
        triangle(|d| d["accessors"][1]["count"] = 0.into()),
        "a.glb",
    );
    refused(
        "a.glb",
        triangle(|d| d["bufferViews"][1]["byteLength"] = 60_000.into()),
        "outside of its buffer",
    );
    refused(
        "a.glb",
        triangle(|d| d["accessors"][1]["byteOffset"] = u64::MAX.into()),
        "a.glb",
    );
    refused(
        "a.glb",
        triangle(|d| d["buffers"][0]["byteLength"] = 4096.into()),
        "bytes",
    );
    refused(
        "a.glb",
        triangle(|d| d["bufferViews"][1]["byteOffset"] = 44.into()),
        "vertices",
    );
    refused(
        "a.glb",
        triangle(|d| d["buffers"][0]["uri"] = "gone.bin".into()),
        "gone.bin",
    );
    refused(
        "a.glb",
        triangle(|d| d["buffers"][0]["uri"] = "%ff%fe.bin".into()),
        "no address",
    );
    refused(
        "a.glb",
        triangle(|d| d["nodes"][0]["children"] = serde_json::json!([0])),
        "nested",
    );
    refused(
        "a.glb",
        triangle(|d| d["meshes"][0]["primitives"][0]["mode"] = 0.into()),
        "no faces",
    );
    refused("a.glb", &triangle(|_| ())[..100], "glTF");
    refused("a.gltf", "{}", "glTF");
}

#[test]
fn ply_has_polygons_and_colours() {
    let mesh = read("a.ply", PLY).unwrap();
    assert_eq!(mesh.faces.len(), 2);
    assert_eq!(mesh.faces[1].corners, [0, 2, 3]);
    assert_eq!(mesh.vertices[0].color, Vec3::X);
    assert!((mesh.vertices[3].color.z - 0.503).abs() < 0.01);
}

#[test]
fn obj_has_materials() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.obj");
    let picture = image::RgbImage::from_fn(2, 1, |x, _| image::Rgb([255 * x as u8, 0, 0]));
    picture.save(folder.path().join("t.png")).unwrap();
    std::fs::write(
        folder.path().join("a.mtl"),
        "newmtl m\nKd 1 0.5 0\nmap_Kd t.png\n",
    )
    .unwrap();
    let text =
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.25 0\nvt 0.75 0\nusemtl m\nf 1/1 2/2 3/1\n";
    std::fs::write(&path, text).unwrap();
    let mesh = Mesh::open(&path).unwrap();
    assert!((mesh.vertices[0].color.y - 0.214).abs() < 0.01);
    let texture = &mesh.textures[mesh.faces[0].texture.unwrap() as usize];
    let red = |corner: usize| texture.sample(mesh.vertices[corner].uv).x;
    assert_eq!((red(0), red(1)), (0.0, 1.0));
    // Without its materials it is white; without a picture that it names it is refused.
    std::fs::remove_file(folder.path().join("t.png")).unwrap();
    assert!(Mesh::open(&path).unwrap_err().to_string().contains("t.png"));
    std::fs::remove_file(folder.path().join("a.mtl")).unwrap();
    assert_eq!(Mesh::open(&path).unwrap().vertices[0].color, Vec3::ONE);
}

#[test]
fn flaws_are_named() {
    for value in [f32::NAN, f32::INFINITY] {
        // x of the second vertex.
        let mut glb = triangle(|_| ());
        let at = glb.len() - 56 + 12;
        glb[at..at + 4].copy_from_slice(&value.to_le_bytes());
        refused("a.glb", glb, "not finite, at vertex 1");
    }
    refused(
        "a.ply",
        PLY.replace("0 1 0 255 0 188", "nan 1 0 255 0 0"),
        "PLY",
    );
    refused("a.ply", PLY.replace("4 0 1 2 3", "4 0 1 2 9"), "vertex 9");
    refused("a.ply", PLY.replace("4 0 1 2 3", "4 0 1 2 -1"), "vertices");
    refused("a.ply", PLY.replace("4 0 1 2 3", "2 0 1"), "no faces");
    refused(
        "a.ply",
        PLY.replace("float x", "float w"),
        "properties x, y and z",
    );
    refused("a.ply", &PLY[..120], "PLY");
    refused("a.ply", "", "PLY");
    refused("a.obj", "v 0 0 0\n", "no faces");
    refused("a.obj", "", "no faces");
    refused("a.obj", OBJ.replace("v 1 0 0", "v nan 0 0"), "a.obj");
    refused("a.obj", OBJ.replace("f 1 2 3", "f 1 2 7"), "out of bounds");
    refused("a.obj", OBJ.replace("f 1 2 3", "f 1 2 x"), "OBJ");
    refused("a.stl", "solid", "expected .glb");
    refused("a", "", "expected .glb");
    let error = Mesh::open(Path::new("/nowhere/a.glb"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/nowhere/a.glb"), "{error}");
}

#[test]
fn sizes_are_as_asked_for() {
    let box_of = |sides: Vec3| Mesh {
        vertices: [Vec3::ZERO, sides, sides.with_z(0.0)]
            .map(|corner| Vertex::at(corner + 7.0))
            .into(),
        faces: vec![Face {
            corners: [0, 1, 2],
            texture: None,
        }],
        textures: vec![],
    };
    let path = Path::new("box");
    let size = |to: Normalization| {
        let mesh = box_of(Vec3::new(3.0, 4.0, 12.0))
            .normalized(to, path)
            .unwrap();
        let (low, high) = mesh.bounds();
        assert!((low + high).length() < 1e-5);
        (high - low).max_element()
    };
    assert!((size(Normalization::MaxSide) - 1.0).abs() < 1e-6);
    assert!((size(Normalization::Diagonal) - 12.0 / 13.0).abs() < 1e-6);
    assert!((size(Normalization::BoundingSphere) - 24.0 / 13.0).abs() < 1e-6);
    let error = box_of(Vec3::ZERO).normalized(Normalization::MaxSide, path);
    assert!(error.unwrap_err().to_string().contains("single point"));
}

#[test]
fn turning_goes_from_the_front_to_the_right() {
    let mut mesh = read("a.obj", OBJ).unwrap();
    mesh.vertices[0].position = Vec3::Z;
    let turned = mesh.turned(90.0);
    assert!((turned.vertices[0].position - Vec3::X).length() < 1e-6);
}
