//! Bytes that one side allocates and the other reads without a copy.

use std::ffi::c_void;

use abi_stable::StableAbi;

/// Bytes owned by whoever allocated them; dropping the buffer, on either side, calls the owner's release function.
///
/// Alignment: the first byte is aligned at least as the elements need (4 for `f32`, 8 for `i64`), which the host checks.
/// Memory of ordinary vectors satisfies that; 64-byte alignment is welcome and never required, since the host's kernels
/// read unaligned vectors.
#[repr(C)]
#[derive(StableAbi)]
pub struct Buffer {
    ptr: *const u8,
    len: usize,
    owner: *mut c_void,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
}

// SAFETY: the bytes are read-only once a buffer exists, and `from_vec` accepts only owners that are `Send`.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

/// Element types that every byte pattern and every byte order of this machine can be read as.
///
/// # Safety
/// Implementors have no padding and no invalid bit patterns.
pub unsafe trait Element: Copy + Send + 'static {}
// SAFETY: plain number.
unsafe impl Element for u8 {}
// SAFETY: plain number.
unsafe impl Element for f32 {}
// SAFETY: plain number.
unsafe impl Element for i64 {}

impl Buffer {
    /// Hands a vector over without copying it.
    pub fn from_vec<T: Element>(values: Vec<T>) -> Self {
        unsafe extern "C" fn release<T>(owner: *mut c_void) {
            // SAFETY: `owner` is the box made below, and a buffer is dropped once.
            drop(unsafe { Box::from_raw(owner.cast::<Vec<T>>()) });
        }
        let values = Box::new(values);
        let (ptr, len) = (values.as_ptr().cast(), size_of_val(values.as_slice()));
        Self {
            ptr,
            len,
            owner: Box::into_raw(values).cast(),
            release: Some(release::<T>),
        }
    }

    /// What no memory can be like, in words, if the buffer is like that: it comes from another program.
    pub fn breach(&self) -> Option<String> {
        let fits = isize::try_from(self.len).is_ok()
            && (self.ptr as usize).checked_add(self.len).is_some();
        match () {
            () if self.len == 0 => None,
            () if self.ptr.is_null() => Some(format!("a null pointer to {} bytes", self.len)),
            () if !fits => Some(format!("{} bytes, more than there can be", self.len)),
            () => None,
        }
    }

    /// The bytes; none where there is a [`Buffer::breach`].
    pub fn as_bytes(&self) -> &[u8] {
        if self.len == 0 || self.breach().is_some() {
            // A foreign buffer may pair length 0 with a null pointer.
            return &[];
        }
        // SAFETY: whoever made the buffer promises `len` readable bytes at `ptr` until `release` is called, which only
        // `drop` does.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: `owner` and `release` came together from the maker of the buffer, and this runs once.
            unsafe { release(self.owner) }
        }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

/// Bytes of a slice of numbers, in this machine's byte order.
pub fn bytes_of<T: Element>(values: &[T]) -> &[u8] {
    // SAFETY: an `Element` has no padding, and `u8` has no alignment to satisfy.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The numbers behind bytes, or `None` when address or length do not fit the element type.
pub fn elements_of<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    if bytes.is_empty() {
        return Some(&[]);
    }
    // SAFETY: every bit pattern is a valid `Element`; `align_to` itself takes care of alignment and length.
    let (before, elements, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_crosses_without_a_copy() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32).collect();
        let address = values.as_ptr().cast::<u8>();
        let buffer = Buffer::from_vec(values);
        assert_eq!(buffer.as_bytes().as_ptr(), address);
        assert_eq!(elements_of::<f32>(buffer.as_bytes()).unwrap()[999], 999.0);
    }

    #[test]
    fn release_is_called_once_and_by_drop() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        unsafe extern "C" fn count(owner: *mut c_void) {
            // SAFETY: the owner below is this static.
            unsafe { &*owner.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
        }
        static RELEASED: AtomicUsize = AtomicUsize::new(0);
        let owner = (&raw const RELEASED).cast_mut().cast();
        let buffer = Buffer {
            ptr: std::ptr::null(),
            len: 0,
            owner,
            release: Some(count),
        };
        assert!(buffer.as_bytes().is_empty());
        assert_eq!(RELEASED.load(Ordering::SeqCst), 0);
        drop(buffer);
        assert_eq!(RELEASED.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn memory_that_cannot_be_is_told_and_never_read() {
        let buffer = |ptr: usize, len: usize| Buffer {
            ptr: ptr as *const u8,
            len,
            owner: std::ptr::null_mut(),
            release: None,
        };
        assert_eq!(Buffer::from_vec(vec![1_u8]).breach(), None);
        assert_eq!(buffer(0, 0).breach(), None);
        for (ptr, len, found) in [
            (0, 8, "a null pointer to 8 bytes"),
            (16, usize::MAX, "more than there can be"),
            (16, isize::MAX as usize + 1, "more than there can be"),
            (usize::MAX - 3, 8, "more than there can be"),
        ] {
            let buffer = buffer(ptr, len);
            assert!(buffer.breach().unwrap().contains(found), "{ptr} {len}");
            assert!(buffer.as_bytes().is_empty());
        }
    }

    #[test]
    fn misaligned_or_cut_bytes_are_not_read_as_numbers() {
        let values = [1_i64, 2];
        let bytes = bytes_of(&values);
        assert_eq!(elements_of::<i64>(bytes), Some(&values[..]));
        assert_eq!(elements_of::<i64>(&bytes[1..9]), None);
        assert_eq!(elements_of::<i64>(&bytes[..12]), None);
        assert_eq!(elements_of::<i64>(&[]), Some(&[][..]));
    }
}
