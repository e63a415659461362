//! Views of several objects as they lie in the columns of a batch.

use crate::pixels::Pixels;

/// Network values of shape `[objects, views, 3, side, side]`, in −1..1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Views<'a> {
    /// How many objects.
    pub objects: usize,
    /// How many views of each.
    pub views: usize,
    /// Width and height in pixels.
    pub side: usize,
    values: &'a [f32],
}

impl<'a> Views<'a> {
    /// From a column's shape and values; one of four lengths, `[objects, 3, side, side]`, has one view of each. Nothing where
    /// they are not so.
    pub fn new(shape: &[u64], values: &'a [f32]) -> Option<Self> {
        let (objects, views, side) = match *shape {
            [objects, views, 3, side, width] if side == width => (objects, views, side),
            [objects, 3, side, width] if side == width => (objects, 1, side),
            _ => return None,
        };
        let [objects, views, side] = [objects, views, side].map(|length| length as usize);
        (values.len() == objects * views * 3 * side * side).then_some(Self {
            objects,
            views,
            side,
            values,
        })
    }

    /// Shape of one view.
    pub fn shape(&self) -> [usize; 3] {
        [3, self.side, self.side]
    }

    /// The values of one view, `[3, side, side]`; none where there is no such view.
    pub fn values(&self, object: usize, view: usize) -> &'a [f32] {
        let length = 3 * self.side * self.side;
        let start = (object * self.views + view) * length;
        let inside = object < self.objects && view < self.views;
        (self.values.get(start..start + length))
            .filter(|_| inside)
            .unwrap_or_default()
    }

    /// One view as a picture.
    pub fn pixels(&self, object: usize, view: usize) -> Option<Pixels> {
        let values = self.values(object, view);
        (!values.is_empty()).then(|| Pixels::from_chw(values, self.side as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_found_in_their_column() {
        let values: Vec<f32> = (0..2 * 2 * 3).map(|at| at as f32 / 12.0).collect();
        let views = Views::new(&[2, 2, 3, 1, 1], &values).unwrap();
        assert_eq!(views.values(1, 0), &values[6..9]);
        assert!(views.values(2, 0).is_empty() && views.pixels(0, 2).is_none());
        assert_eq!(
            Views::new(&[4, 3, 1, 1], &values).unwrap().values(3, 0),
            &values[9..]
        );
        assert!(Views::new(&[2, 2, 3, 1, 2], &values).is_none());
        assert!(Views::new(&[2, 2, 3, 1, 1], &values[1..]).is_none());
    }
}
