//! Triangles on their way into the picture: seen from the camera, cut at the near plane, and as linear functions of the
//! picture's samples.

use glam::{DVec2, DVec3, Mat3, Vec3};

use crate::camera::{Camera, Projection};
use crate::mesh::{Mesh, Vertex};

/// Nothing nearer to a pinhole than this is drawn.
const NEAR: f32 = 1e-4;
/// Samples on an edge belong to both triangles; which of them is drawn does not show, but none at all would.
const EDGE: f64 = 1e-7;

/// The triangles of a mesh for one camera.
pub(super) struct Triangles<'a> {
    mesh: &'a Mesh,
    /// Corners that the near plane made, numbered after the mesh's own.
    cut: Vec<Vertex>,
    pub(super) list: Vec<Triangle>,
}

/// A triangle in a picture of samples.
pub(super) struct Triangle {
    /// First row, and the one after the last.
    pub(super) rows: [usize; 2],
    /// Weights of the corners: `a x + b y + c` at the sample in column x and row y.
    weights: [[f64; 3]; 3],
    /// The same for how near the surface is: 1 / depth for a pinhole, −depth for parallel rays.
    nearness: [f64; 3],
    /// 1 / depth of the corners; 1 for parallel rays.
    inverse_depths: [f32; 3],
    corners: [u32; 3],
    texture: Option<u32>,
    /// Normal of its plane, towards the camera, in the world.
    normal: Vec3,
    smooth: bool,
}

/// What a sample shows.
pub(super) struct Seen {
    pub(super) color: Vec3,
    pub(super) normal: Vec3,
    pub(super) depth: f32,
}

impl<'a> Triangles<'a> {
    pub(super) fn new(mesh: &'a Mesh, camera: &Camera, side: usize) -> Self {
        let (rotation, translation) = camera.parts();
        let (turn, shift) = (rotation.as_mat3(), translation.as_vec3());
        let seen: Vec<Vec3> = (mesh.vertices.iter())
            .map(|vertex| turn * vertex.position + shift)
            .collect();
        let mut triangles = Self {
            mesh,
            cut: Vec::new(),
            list: Vec::with_capacity(mesh.faces.len()),
        };
        let lens = Lens {
            projection: camera.projection(),
            side: side as f64,
            to_world: turn.transpose(),
        };
        for face in &mesh.faces {
            let points = face.corners.map(|corner| seen[corner as usize]);
            let smooth = (face.corners.iter())
                .all(|&corner| mesh.vertices[corner as usize].normal != Vec3::ZERO);
            let mut add = |points: [Vec3; 3], corners: [u32; 3]| {
                let triangle = lens.triangle(points, corners, face.texture, smooth);
                triangles.list.extend(triangle);
            };
            if matches!(lens.projection, Projection::Orthographic { .. })
                || points.iter().all(|point| point.z >= NEAR)
            {
                add(points, face.corners);
            } else if points.iter().any(|point| point.z >= NEAR) {
                let (points, corners) = triangles.cut(points, face.corners);
                for at in 2..points.len() {
                    triangles.list.extend(lens.triangle(
                        [points[0], points[at - 1], points[at]],
                        [corners[0], corners[at - 1], corners[at]],
                        face.texture,
                        smooth,
                    ));
                }
            }
        }
        triangles
    }

    /// The part in front of the near plane: three or four corners.
    fn cut(&mut self, points: [Vec3; 3], corners: [u32; 3]) -> (Vec<Vec3>, Vec<u32>) {
        let (mut kept, mut names) = (Vec::with_capacity(4), Vec::with_capacity(4));
        for at in 0..3 {
            let next = (at + 1) % 3;
            let (here, there) = (points[at], points[next]);
            if here.z >= NEAR {
                kept.push(here);
                names.push(corners[at]);
            }
            if (here.z >= NEAR) != (there.z >= NEAR) {
                let share = (NEAR - here.z) / (there.z - here.z);
                let (a, b) = (*self.vertex(corners[at]), *self.vertex(corners[next]));
                names.push((self.mesh.vertices.len() + self.cut.len()) as u32);
                self.cut.push(Vertex {
                    position: a.position.lerp(b.position, share),
                    normal: a.normal.lerp(b.normal, share),
                    color: a.color.lerp(b.color, share),
                    uv: a.uv.lerp(b.uv, share),
                });
                kept.push(here.lerp(there, share).with_z(NEAR));
            }
        }
        (kept, names)
    }

    fn vertex(&self, number: u32) -> &Vertex {
        let own = self.mesh.vertices.len();
        (self.mesh.vertices.get(number as usize))
            .unwrap_or_else(|| &self.cut[number as usize - own])
    }

    /// What the triangle shows at a sample.
    pub(super) fn seen(
        &self,
        triangle: &Triangle,
        column: usize,
        row: usize,
        parallel: bool,
    ) -> Seen {
        let (x, y) = (column as f64, row as f64);
        let at = |[a, b, c]: [f64; 3]| (a * x + b * y + c) as f32;
        let nearness = at(triangle.nearness);
        let depth = if parallel { -nearness } else { 1.0 / nearness };
        let scale = if parallel { 1.0 } else { depth };
        let weights: [f32; 3] = std::array::from_fn(|corner| {
            at(triangle.weights[corner]) * triangle.inverse_depths[corner] * scale
        });
        let corners = triangle.corners.map(|corner| self.vertex(corner));
        let mix = |value: fn(&Vertex) -> Vec3| {
            weights[0] * value(corners[0])
                + weights[1] * value(corners[1])
                + weights[2] * value(corners[2])
        };
        let mut color = mix(|vertex| vertex.color);
        if let Some(texture) = triangle.texture {
            let uv = (0..3)
                .map(|corner| weights[corner] * corners[corner].uv)
                .sum();
            color *= self.mesh.textures[texture as usize].sample(uv);
        }
        let mut normal = triangle.normal;
        if triangle.smooth {
            let smooth = mix(|vertex| vertex.normal).normalize_or_zero();
            if smooth != Vec3::ZERO {
                // Both sides of a surface are drawn, and each sees its own.
                normal = if smooth.dot(normal) < 0.0 {
                    -smooth
                } else {
                    smooth
                };
            }
        }
        Seen {
            color,
            normal,
            depth,
        }
    }
}

/// From the camera's axes to samples.
struct Lens {
    projection: Projection,
    side: f64,
    to_world: Mat3,
}

impl Lens {
    /// Nothing for a triangle that is seen edge-on, or lies outside of the picture.
    fn triangle(
        &self,
        points: [Vec3; 3],
        corners: [u32; 3],
        texture: Option<u32>,
        smooth: bool,
    ) -> Option<Triangle> {
        // In units of samples, the centre of the first at 0.
        let places: [DVec2; 3] = points.map(|point| {
            let point = point.as_dvec3();
            let scale = match self.projection {
                Projection::Perspective { focal } => focal / point.z,
                Projection::Orthographic { width } => 1.0 / width,
            };
            (point.truncate() * scale + 0.5) * self.side - 0.5
        });
        let [p, q, r] = places;
        let (low, high) = (p.min(q).min(r), p.max(q).max(r));
        let area = (q - p).perp_dot(r - p);
        if area.is_nan() || area.abs() <= 1e-12 || high.x < 0.0 || low.x > self.side {
            return None;
        }
        let rows = [
            low.y.ceil().max(0.0) as usize,
            ((high.y.floor() + 1.0).max(0.0)).min(self.side) as usize,
        ];
        if rows[0] >= rows[1] {
            return None;
        }
        // The weight of a corner is the area that its opposite edge spans with the sample, over the whole.
        let weight = |from: DVec2, to: DVec2| {
            let along = (to - from) / area;
            [-along.y, along.x, along.y * from.x - along.x * from.y]
        };
        let weights = [weight(q, r), weight(r, p), weight(p, q)];
        let inverse = |point: Vec3| match self.projection {
            Projection::Perspective { .. } => 1.0 / f64::from(point.z),
            Projection::Orthographic { .. } => -f64::from(point.z),
        };
        let near = DVec3::from_array(points.map(inverse));
        let nearness = std::array::from_fn(|term| {
            near.dot(DVec3::from_array(weights.map(|weight| weight[term])))
        });
        let mut normal = (points[1] - points[0])
            .cross(points[2] - points[0])
            .normalize_or_zero();
        let to_camera = match self.projection {
            Projection::Perspective { .. } => -points[0],
            Projection::Orthographic { .. } => Vec3::NEG_Z,
        };
        if normal.dot(to_camera) < 0.0 {
            normal = -normal;
        }
        Some(Triangle {
            rows,
            weights,
            nearness,
            inverse_depths: match self.projection {
                Projection::Perspective { .. } => points.map(|point| 1.0 / point.z),
                Projection::Orthographic { .. } => [1.0; 3],
            },
            corners,
            texture,
            normal: self.to_world * normal,
            smooth,
        })
    }
}

impl Triangle {
    /// Columns of a row that the triangle covers: the first, and the one after the last.
    pub(super) fn span(&self, row: usize, side: usize) -> Option<(usize, usize)> {
        let (mut left, mut right) = (0.0_f64, side as f64 - 1.0);
        for [a, b, c] in self.weights {
            // a x + rest >= -EDGE
            let rest = b * row as f64 + c + EDGE;
            if a > 0.0 {
                left = left.max(-rest / a);
            } else if a < 0.0 {
                right = right.min(-rest / a);
            } else if rest < 0.0 {
                return None;
            }
        }
        let (left, right) = (left.ceil(), right.floor() + 1.0);
        (left < right).then_some((left as usize, right as usize))
    }

    /// Nearness in a row as `a x + b`.
    pub(super) fn nearness_in_row(&self, row: usize) -> [f64; 2] {
        let [a, b, c] = self.nearness;
        [a, b * row as f64 + c]
    }
}
