//! Pictures against closed forms: spheres, cubes and squares, of which every pixel is known.

use dsl_render::glam::Vec3;
use dsl_render::{
    Camera, Face, Light, Mesh, Projection, RenderOptions, Shading, Vertex, View, render,
};

const PARALLEL: Projection = Projection::Orthographic { width: 2.0 };
const PINHOLE: Projection = Projection::Perspective {
    focal: 280.0 / 256.0,
};

/// A mesh of quadrilaterals, each of one colour.
fn quads(all: &[([Vec3; 4], Vec3)]) -> Mesh {
    let mut mesh = Mesh::default();
    for (corners, color) in all {
        let base = mesh.vertices.len() as u32;
        mesh.vertices.extend(corners.map(|corner| Vertex {
            color: *color,
            ..Vertex::at(corner)
        }));
        for corners in [[0, 1, 2], [0, 2, 3]] {
            mesh.faces.push(Face {
                corners: corners.map(|corner| base + corner),
                texture: None,
            });
        }
    }
    mesh
}

/// A square that faces +Z.
fn square(center: Vec3, side: f32, color: Vec3) -> ([Vec3; 4], Vec3) {
    let corner = |x: f32, y: f32| center + Vec3::new(x, y, 0.0) * side / 2.0;
    (
        [
            corner(-1.0, -1.0),
            corner(1.0, -1.0),
            corner(1.0, 1.0),
            corner(-1.0, 1.0),
        ],
        color,
    )
}

/// A cube of side 1 around the origin.
fn cube() -> Mesh {
    let mut faces = Vec::new();
    for axis in 0..3 {
        for side in [-0.5_f32, 0.5] {
            let corner = |u: f32, v: f32| {
                let mut point = [0.0; 3];
                (point[axis], point[(axis + 1) % 3], point[(axis + 2) % 3]) = (side, u, v);
                Vec3::from(point)
            };
            faces.push((
                [
                    corner(-0.5, -0.5),
                    corner(0.5, -0.5),
                    corner(0.5, 0.5),
                    corner(-0.5, 0.5),
                ],
                Vec3::ONE,
            ));
        }
    }
    quads(&faces)
}

/// A sphere around the origin, with the normals of a sphere.
fn sphere(radius: f32, steps: u32) -> Mesh {
    let mut mesh = Mesh::default();
    for row in 0..=steps {
        for column in 0..=2 * steps {
            let (polar, around) = (
                std::f32::consts::PI * row as f32 / steps as f32,
                std::f32::consts::PI * column as f32 / steps as f32,
            );
            let normal = Vec3::new(
                polar.sin() * around.cos(),
                polar.cos(),
                polar.sin() * around.sin(),
            );
            mesh.vertices.push(Vertex {
                normal,
                ..Vertex::at(radius * normal)
            });
        }
    }
    let at = |row: u32, column: u32| row * (2 * steps + 1) + column;
    for row in 0..steps {
        for column in 0..2 * steps {
            let [a, b, c, d] = [
                at(row, column),
                at(row, column + 1),
                at(row + 1, column + 1),
                at(row + 1, column),
            ];
            for corners in [[a, b, c], [a, c, d]] {
                mesh.faces.push(Face {
                    corners,
                    texture: None,
                });
            }
        }
    }
    mesh
}

fn camera(azimuth: f64, elevation: f64, projection: Projection) -> Camera {
    Camera::orbit(azimuth, elevation, 1.5, projection).unwrap()
}

fn draw(mesh: &Mesh, camera: &Camera, size: u32, supersampling: u32) -> View {
    let options = RenderOptions {
        size,
        supersampling,
        shading: Shading::Flat,
    };
    render(mesh, camera, &options).unwrap()
}

/// Centre of a pixel, 0..1 over the picture.
fn place(pixel: usize, size: u32) -> [f64; 2] {
    let size = size as usize;
    [pixel % size, pixel / size].map(|at| (at as f64 + 0.5) / size as f64)
}

#[test]
fn depth_and_normals_of_a_sphere() {
    let (mesh, radius) = (sphere(0.5, 96), 0.5);
    for projection in [PARALLEL, PINHOLE] {
        let camera = camera(40.0, 25.0, projection);
        let view = draw(&mesh, &camera, 64, 1);
        let mut seen = 0;
        for pixel in 0..64 * 64 {
            let at = place(pixel, 64);
            // Where the pixel's ray meets the sphere: |o + t d| = r.
            let (near, far) = (camera.unproject(at, 0.5), camera.unproject(at, 1.5));
            let ray = std::array::from_fn::<f64, 3, _>(|i| far[i] - near[i]);
            let dot = |a: [f64; 3], b: [f64; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
            let (a, b, c) = (
                dot(ray, ray),
                dot(near, ray),
                dot(near, near) - radius * radius,
            );
            let discriminant = b * b - a * c;
            if discriminant < 0.0 {
                assert!(view.alpha[pixel] == 0.0 && view.depth[pixel].is_infinite());
                continue;
            }
            let share = (-b - discriminant.sqrt()) / a;
            let normal = std::array::from_fn::<f64, 3, _>(|i| (near[i] + share * ray[i]) / radius);
            // Towards the outline a polygon of chords differs more and more.
            if discriminant < 0.02 {
                continue;
            }
            seen += 1;
            assert!((f64::from(view.depth[pixel]) - (0.5 + share)).abs() < 2e-3);
            let found = view.normal[pixel];
            let error = (0..3)
                .map(|i| (f64::from(found[i]) - normal[i]).abs())
                .fold(0.0, f64::max);
            assert!(error < 0.01, "{found} for {normal:?}");
        }
        assert!(seen > 400, "{seen}");
    }
}

#[test]
fn normals_and_depth_of_a_cube() {
    let camera = camera(90.0, 0.0, PARALLEL);
    let view = draw(&cube(), &camera, 32, 2);
    for pixel in 0..32 * 32 {
        let inside = place(pixel, 32).iter().all(|at| (at - 0.5).abs() < 0.25);
        assert_eq!(view.alpha[pixel], f32::from(u8::from(inside)));
        if inside {
            assert!((view.normal[pixel] - Vec3::X).length() < 1e-6);
            assert!((view.depth[pixel] - 1.0).abs() < 1e-6);
            let [x, y, z] = view.camera_normals(&camera)[pixel];
            assert!(x.abs() < 1e-6 && y.abs() < 1e-6 && (z + 1.0).abs() < 1e-6);
        }
    }
    // From above the front, both visible faces appear, each with its own normal.
    let view = draw(&cube(), &self::camera(0.0, 45.0, PINHOLE), 64, 1);
    let normals = |wanted: Vec3| {
        (view.normal.iter())
            .filter(|n| (**n - wanted).length() < 1e-5)
            .count()
    };
    let covered = view.alpha.iter().filter(|alpha| **alpha > 0.0).count();
    assert!(normals(Vec3::Y) > 300 && normals(Vec3::Z) > 300);
    assert_eq!(normals(Vec3::Y) + normals(Vec3::Z), covered);
}

#[test]
fn a_known_point_is_in_a_known_pixel() {
    let camera = camera(-75.0, 12.0, PINHOLE);
    for (point, size) in [([0.21, -0.13, 0.3], 64_u32), ([-0.3, 0.25, -0.1], 41)] {
        // A small tetrahedron around it.
        let center = Vec3::from(point.map(|x| x as f32));
        let corners = [
            [1.0, 1.0, 1.0],
            [1.0, -1.0, -1.0],
            [-1.0, 1.0, -1.0],
            [-1.0, -1.0, 1.0],
        ];
        let mesh = Mesh {
            vertices: corners
                .map(|c| Vertex::at(center + 0.02 * Vec3::from(c)))
                .into(),
            faces: [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
                .map(|corners| Face {
                    corners,
                    texture: None,
                })
                .into(),
            ..Mesh::default()
        };
        let view = draw(&mesh, &camera, size, 4);
        let (at, depth) = camera.project(point).unwrap();
        let pixel = at.map(|at| (at * f64::from(size)) as usize);
        let found = pixel[1] * size as usize + pixel[0];
        assert!(view.alpha[found] > 0.3, "{}", view.alpha[found]);
        assert!((f64::from(view.depth[found]) - depth).abs() < 0.03);
        // The centre of what is covered is the place itself.
        let mass: f32 = view.alpha.iter().sum();
        for (axis, at) in at.into_iter().enumerate() {
            let mean: f64 = (0..view.alpha.len())
                .map(|pixel| f64::from(view.alpha[pixel]) * place(pixel, size)[axis])
                .sum::<f64>()
                / f64::from(mass);
            assert!((mean - at).abs() < 0.5 / f64::from(size), "{mean} for {at}");
        }
    }
}

#[test]
fn coverage_is_area() {
    // Eight samples a pixel: an edge is at most one sample off.
    for (side, size) in [(0.7_f32, 64), (1.234, 50)] {
        let mesh = quads(&[square(Vec3::ZERO, side, Vec3::ONE)]);
        // Orthographic: side over width, squared. The camera's distance does not matter.
        for distance in [1.0, 30.0] {
            let camera = Camera::orbit(0.0, 0.0, distance, PARALLEL).unwrap();
            let view = draw(&mesh, &camera, size, 8);
            let covered = view.alpha.iter().sum::<f32>() / (size * size) as f32;
            assert!((covered - (side / 2.0).powi(2)).abs() < 4e-3, "{covered}");
        }
        // A pinhole: focal times side over distance. Turned by 60°, half as much for parallel rays.
        let view = draw(
            &mesh,
            &camera(0.0, 0.0, Projection::Perspective { focal: 0.9 }),
            size,
            8,
        );
        let covered = view.alpha.iter().sum::<f32>() / (size * size) as f32;
        assert!(
            (covered - (0.9 * side / 1.5).powi(2)).abs() < 4e-3,
            "{covered}"
        );
        let view = draw(&mesh, &camera(60.0, 0.0, PARALLEL), size, 8);
        let covered = view.alpha.iter().sum::<f32>() / (size * size) as f32;
        assert!(
            (covered - (side / 2.0).powi(2) / 2.0).abs() < 4e-3,
            "{covered}"
        );
    }
}

#[test]
fn no_gaps_between_triangles() {
    // Every sample inside the outline of a closed surface is covered.
    let view = draw(&sphere(0.5, 40), &camera(13.0, 7.0, PARALLEL), 200, 1);
    for pixel in 0..200 * 200 {
        let [x, y] = place(pixel, 200).map(|at| 2.0 * (at - 0.5));
        if x.hypot(y) < 0.49 {
            assert_eq!(view.alpha[pixel], 1.0);
        }
    }
}

#[test]
fn what_is_nearer_is_seen_whatever_the_order() {
    let (near, far) = (
        square(Vec3::new(0.0, 0.0, 0.4), 0.5, Vec3::X),
        square(Vec3::new(0.0, 0.0, -0.4), 0.9, Vec3::Y),
    );
    for projection in [PARALLEL, PINHOLE] {
        let camera = camera(0.0, 0.0, projection);
        let views = [[near, far], [far, near]].map(|order| draw(&quads(&order), &camera, 32, 2));
        assert_eq!(views[0], views[1]);
        assert_eq!(views[0].color[16 * 32 + 16], Vec3::X);
        let green = views[0].color.iter().filter(|color| **color == Vec3::Y);
        assert!(green.count() > 50);
        // From behind it is the other way round.
        let behind = draw(
            &quads(&[near, far]),
            &self::camera(180.0, 0.0, projection),
            32,
            2,
        );
        assert_eq!(behind.color[16 * 32 + 16], Vec3::Y);
    }
}

#[test]
fn colours_are_interpolated_in_space() {
    // A floor from depth 1 to depth 3: the middle of its colours lies at depth 2, not in the middle of the picture.
    let corner = |x: f32, z: f32, color: f32| Vertex {
        color: Vec3::splat(color),
        ..Vertex::at(Vec3::new(x, -0.5, z))
    };
    let mesh = Mesh {
        vertices: vec![
            corner(-9.0, 1.0, 0.0),
            corner(9.0, 1.0, 0.0),
            corner(9.0, -1.0, 1.0),
            corner(-9.0, -1.0, 1.0),
        ],
        faces: [[0, 1, 2], [0, 2, 3]]
            .map(|corners| Face {
                corners,
                texture: None,
            })
            .into(),
        textures: vec![],
    };
    let camera = Camera::orbit(0.0, 0.0, 2.0, Projection::Perspective { focal: 1.0 }).unwrap();
    let view = draw(&mesh, &camera, 128, 1);
    for pixel in (0..128 * 128).filter(|&pixel| view.alpha[pixel] > 0.0) {
        let depth = 0.5 / (place(pixel, 128)[1] - 0.5);
        assert!((f64::from(view.depth[pixel]) - depth).abs() < 1e-3);
        assert!((f64::from(view.color[pixel].x) - (depth - 1.0) / 2.0).abs() < 1e-3);
    }
}

#[test]
fn what_reaches_behind_the_camera_is_cut() {
    // A floor under the camera fills the lower half and nothing else.
    let floor = quads(&[(
        [
            Vec3::new(-500.0, -0.5, 500.0),
            Vec3::new(500.0, -0.5, 500.0),
            Vec3::new(500.0, -0.5, -500.0),
            Vec3::new(-500.0, -0.5, -500.0),
        ],
        Vec3::ONE,
    )]);
    let view = draw(&floor, &camera(0.0, 0.0, PINHOLE), 32, 1);
    for pixel in 0..32 * 32 {
        assert_eq!(view.alpha[pixel] == 1.0, pixel / 32 >= 16, "{pixel}");
    }
    let behind = quads(&[square(Vec3::new(0.0, 0.0, 3.0), 1.0, Vec3::ONE)]);
    let view = draw(&behind, &camera(0.0, 0.0, PINHOLE), 32, 1);
    assert!(view.alpha.iter().all(|alpha| *alpha == 0.0));
}

#[test]
fn lambert_is_a_cosine() {
    let mesh = quads(&[square(Vec3::ZERO, 1.0, Vec3::splat(0.5))]);
    let options = RenderOptions {
        size: 8,
        supersampling: 1,
        shading: Shading::Lambert {
            ambient: 0.2,
            lights: vec![Light {
                azimuth: 60.0,
                elevation: 0.0,
                intensity: 0.6,
            }],
        },
    };
    let seen = |azimuth: f64| {
        let view = render(&mesh, &camera(azimuth, 0.0, PARALLEL), &options).unwrap();
        view.color[4 * 8 + 4].x
    };
    assert!((seen(0.0) - 0.5 * (0.2 + 0.6 * 0.5)).abs() < 1e-6);
    // The other side is in the dark, but for what comes from everywhere.
    assert!((seen(180.0) - 0.5 * 0.2).abs() < 1e-6);
}

#[test]
fn edges_are_mixed_in_linear_light() {
    let mesh = quads(&[square(Vec3::new(-0.5, 0.0, 0.0), 1.0, Vec3::ZERO)]);
    // The square covers the left half of a picture whose one pixel is then half black.
    let camera = Camera::orbit(0.0, 0.0, 1.0, Projection::Orthographic { width: 1.0 }).unwrap();
    let view = draw(&mesh, &camera, 1, 8);
    assert_eq!(view.alpha, [0.5]);
    let [[red, ..]] = view.over([1.0; 3]).rgb[..] else {
        unreachable!()
    };
    assert!((red * 255.0 - 187.5).abs() < 1.0, "{red}");
}

#[test]
fn the_same_twice_and_wrong_sizes() {
    let (mesh, camera) = (sphere(0.4, 20), camera(33.0, 10.0, PINHOLE));
    let options = RenderOptions {
        size: 40,
        ..RenderOptions::default()
    };
    assert_eq!(
        render(&mesh, &camera, &options).unwrap(),
        render(&mesh, &camera, &options).unwrap()
    );
    for (size, supersampling) in [(0, 1), (8, 0), (1 << 20, 1), (u32::MAX, u32::MAX)] {
        let options = RenderOptions {
            size,
            supersampling,
            shading: Shading::Headlight,
        };
        assert!(
            render(&mesh, &camera, &options)
                .unwrap_err()
                .to_string()
                .contains("supersampling")
        );
    }
}
