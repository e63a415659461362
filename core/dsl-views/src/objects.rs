//! Objects that are drawn, their meshes kept in memory.

use dsl_render::objects::Object;
use dsl_render::{Cache, Camera, Mesh, Normalization, RenderOptions, View, render};
use dsl_sdk::PluginError;

use crate::failed;

/// How objects are drawn, and how much of it is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawing {
    /// The size that meshes are brought to.
    pub normalization: Normalization,
    /// Width and height of views, in pixels.
    pub image_size: u32,
    /// Samples of a pixel in each direction.
    pub supersampling: u32,
    /// Memory for meshes and views, in MiB.
    pub cache_mib: u64,
}

/// The objects of a split. `[any thread]`
#[derive(Debug)]
pub struct Objects {
    list: Vec<Object>,
    drawing: Drawing,
    meshes: Cache<Mesh>,
}

impl Objects {
    /// Nothing is read before it is asked for.
    pub fn new(list: Vec<Object>, drawing: Drawing) -> Self {
        // Meshes, and what is drawn of them, have a half each.
        let bytes = max_bytes(&drawing) / 2;
        Self {
            meshes: Cache::new(list.len(), bytes),
            list,
            drawing,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Width and height of views, in pixels.
    pub fn image_size(&self) -> u32 {
        self.drawing.image_size
    }

    /// Memory for meshes and views. Of this meshes take a half; where views are read and no mesh is, it is free.
    pub fn max_bytes(&self) -> u64 {
        max_bytes(&self.drawing)
    }

    /// The object at a place.
    ///
    /// # Errors
    /// A broken contract: a place past the end.
    pub fn at(&self, place: usize) -> Result<&Object, PluginError> {
        self.list
            .get(place)
            .ok_or_else(|| self.past_the_end(place as u64))
    }

    /// The place of a sample's object.
    pub(crate) fn place(&self, index: u64) -> Result<usize, PluginError> {
        usize::try_from(index)
            .ok()
            .filter(|&place| place < self.len())
            .ok_or_else(|| self.past_the_end(index))
    }

    fn past_the_end(&self, index: u64) -> PluginError {
        let count = self.len();
        PluginError::contract(format!("index {index} of a dataset of {count} samples"))
    }

    /// A view of an object. Whether its mesh came from memory changes nothing.
    ///
    /// # Errors
    /// A mesh that cannot be read, and a place past the end.
    pub fn draw(&self, place: usize, camera: &Camera) -> Result<View, PluginError> {
        let object = self.at(place)?;
        let mesh = self.meshes.get_or_make(
            place,
            || object.mesh(self.drawing.normalization).map_err(failed),
            Mesh::size_bytes,
        )?;
        let options = RenderOptions {
            size: self.drawing.image_size,
            supersampling: self.drawing.supersampling,
            ..RenderOptions::default()
        };
        render(&mesh, camera, &options).map_err(failed)
    }
}

fn max_bytes(drawing: &Drawing) -> u64 {
    drawing.cache_mib.saturating_mul(1 << 20)
}

#[cfg(test)]
mod tests {
    use dsl_render::{Projection, furniture};

    use super::*;

    #[test]
    fn views_are_the_same_with_and_without_memory() {
        let camera = Camera::orbit(0.0, 0.0, 3.0, Projection::Orthographic { width: 1.0 }).unwrap();
        let [kept, made] = [u64::MAX, 0].map(|cache_mib| {
            let drawing = Drawing {
                normalization: Normalization::MaxSide,
                image_size: 16,
                supersampling: 2,
                cache_mib,
            };
            let objects = Objects::new(furniture::splits().train, drawing);
            let views = [(); 2].map(|()| objects.draw(3, &camera).unwrap().alpha);
            assert_eq!(views[0], views[1]);
            assert_eq!(objects.meshes.used_bytes() > 0, cache_mib > 0);
            let error = objects.draw(49, &camera).unwrap_err();
            assert!(error.message.contains("index 49 of a dataset of 49"));
            assert!(objects.place(u64::MAX).is_err());
            views[0].clone()
        });
        assert_eq!(kept, made);
        assert!(kept.iter().any(|&share| share > 0.0));
    }
}
