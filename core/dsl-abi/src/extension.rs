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

/// An interface handed over by id that belongs to the receiver, such as a service of the host: dropping it, on either
/// side, calls the maker's release function. Its layout travels with it, and [`Service::get`] checks it.
#[repr(C)]
#[derive(StableAbi)]
pub struct Service {
    layout: &'static TypeLayout,
    interface: *mut c_void,
    release: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: `new` takes only `Send` and `Sync` values, and `get` gives only shared references to them.
unsafe impl Send for Service {}
// SAFETY: as above.
unsafe impl Sync for Service {}

impl Service {
    /// Wraps an interface for the other side, which then owns it.
    pub fn new<T: StableAbi + Send + Sync + 'static>(interface: T) -> Self {
        unsafe extern "C" fn release<T>(interface: *mut c_void) {
            // SAFETY: the pointer is the box made below, and a service is dropped once.
            drop(unsafe { Box::from_raw(interface.cast::<T>()) });
        }
        Self {
            layout: T::LAYOUT,
            interface: Box::into_raw(Box::new(interface)).cast(),
            release: release::<T>,
        }
    }

    /// The interface, if its layout is the one that this side was compiled with.
    ///
    /// # Errors
    /// [`LayoutMismatch`], as for [`Extension::get`].
    pub fn get<T: StableAbi + 'static>(&self) -> Result<&T, LayoutMismatch> {
        check_layout_compatibility(T::LAYOUT, self.layout).map_err(|error| LayoutMismatch {
            report: error.to_string(),
        })?;
        // SAFETY: `new` made the pointer from a box of the type whose layout travels with it, that layout was just
        // found to be the layout of `T`, and the box lives as long as `self`.
        Ok(unsafe { &*self.interface.cast::<T>() })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // SAFETY: pointer and function came together from `new`, and this runs once.
        unsafe { (self.release)(self.interface) }
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use abi_stable::{StableAbi, std_types::RArc};

    use super::{Extension, Service};

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

    #[test]
    fn a_service_is_checked_and_released_by_whoever_drops_it() {
        #[repr(C)]
        #[derive(StableAbi)]
        struct Counted {
            count: RArc<u64>,
        }
        static DROPPED: AtomicU64 = AtomicU64::new(0);
        impl Drop for Counted {
            fn drop(&mut self) {
                DROPPED.fetch_add(*self.count, Ordering::SeqCst);
            }
        }
        let service = Arc::new(Service::new(Counted {
            count: RArc::new(3),
        }));
        assert_eq!(*service.get::<Counted>().unwrap().count, 3);
        assert!(service.get::<Another>().is_err());
        let second = service.clone();
        drop(service);
        assert_eq!(DROPPED.load(Ordering::SeqCst), 0);
        drop(second);
        assert_eq!(DROPPED.load(Ordering::SeqCst), 3);
    }
}
