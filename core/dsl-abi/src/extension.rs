//! Interfaces handed over by id, with their layout.

use std::ffi::c_void;

use abi_stable::{
    StableAbi, abi_stability::abi_checking::check_layout_compatibility, type_layout::TypeLayout,
};

/// An interface handed over by id. Its layout travels with it, and [`Extension::get`] checks it.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Extension {
    layout: &'static TypeLayout,
    interface: *const c_void,
}

// SAFETY: `new` takes only a shared reference to a `Sync` value that lives for ever, and `get` gives only that back.
unsafe impl Send for Extension {}
// SAFETY: as above; the structure itself is never written to.
unsafe impl Sync for Extension {}

/// The interface behind an id is laid out otherwise than the reader was compiled for.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the interface has another layout than the one expected here")]
pub struct LayoutMismatch {
    /// The whole report of the layout check; long.
    pub report: String,
}

impl Extension {
    /// Wraps an interface for the other side.
    pub fn new<T: StableAbi + Sync>(interface: &'static T) -> Self {
        Self {
            layout: T::LAYOUT,
            interface: std::ptr::from_ref(interface).cast(),
        }
    }

    /// The interface, if its layout is the one that this side was compiled with.
    ///
    /// # Errors
    /// [`LayoutMismatch`] when the other side was built against another draft, or gave another interface for this id.
    pub fn get<T: StableAbi>(self) -> Result<&'static T, LayoutMismatch> {
        check_layout_compatibility(T::LAYOUT, self.layout).map_err(|error| LayoutMismatch {
            report: error.to_string(),
        })?;
        // SAFETY: `new` made the pointer from a `&'static` of the type whose layout travels with it, and that layout
        // was just found to be the layout of `T`. Plugins are never unloaded, so `'static` holds.
        Ok(unsafe { &*self.interface.cast::<T>() })
    }
}

#[cfg(test)]
mod tests {
    use abi_stable::StableAbi;

    use super::Extension;

    #[repr(C)]
    #[derive(StableAbi, Debug, PartialEq)]
    struct One {
        number: u64,
    }

    #[repr(C)]
    #[derive(StableAbi, Debug)]
    struct Another {
        number: u32,
    }

    #[test]
    fn a_wrong_type_for_an_id_is_an_error() {
        static ONE: One = One { number: 7 };
        let extension = Extension::new(&ONE);
        assert_eq!(extension.get::<One>().unwrap(), &ONE);
        assert!(
            extension
                .get::<Another>()
                .unwrap_err()
                .report
                .contains("Another")
        );
    }
}
