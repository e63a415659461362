//! Views of meshes: files, cameras, a rasteriser, and the camera protocols of multi-view papers.
//!
//! Used by the multi-view plugins, and by whoever measures meshes. It knows neither plugins nor networks.
//!
//! ```
//! use dsl_render::{Camera, Mesh, Normalization, Projection, RenderOptions, render};
//!
//! # fn main() -> Result<(), dsl_render::RenderError> {
//! let ply = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n\
//!     element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n2 0 0\n0 2 0\n3 0 1 2\n";
//! let path = std::path::Path::new("triangle.ply");
//! let mesh = Mesh::from_bytes(ply, path)?.normalized(Normalization::MaxSide, path)?;
//! let camera = Camera::orbit(0.0, 0.0, 3.0, Projection::Orthographic { width: 2.0 })?;
//! let view = render(&mesh, &camera, &RenderOptions { size: 64, ..RenderOptions::default() })?;
//! // Half of a unit square, in a picture of area 4.
//! let covered = view.alpha.iter().sum::<f32>() / (64.0 * 64.0);
//! assert!((covered - 0.125).abs() < 0.005);
//! # Ok(())
//! # }
//! ```

mod cache;
pub mod camera;
pub mod color;
mod error;
#[cfg(feature = "furniture")]
pub mod furniture;
mod mesh;
pub mod objects;
mod pixels;
pub mod protocol;
mod random;
mod raster;
mod sheet;
mod subject;
mod texture;
mod views;

pub use cache::Cache;
pub use camera::{Camera, Projection};
pub use error::RenderError;
pub use glam;
pub use mesh::{EXTENSIONS, Face, Mesh, Normalization, Vertex};
pub use pixels::{Layer, Pixels, append_chw};
pub use random::Random;
pub use raster::{Light, RenderOptions, Shading, View, render};
pub use sheet::Sheet;
pub use subject::subject;
pub use texture::Texture;
pub use views::Views;
