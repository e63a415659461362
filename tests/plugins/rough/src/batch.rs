//! Batches whose memory is not what it should be.

use std::{
    ffi::c_void,
    mem::{ManuallyDrop, transmute},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use dsl_abi::{
    AbiError, BatchColumns, Buffer, RawDType, RawErrorCode, Tensor, TextColumn,
    abi_stable::std_types::{RErr, ROk, RResult, RSlice, RString},
    task::DatasetMethods,
};

use crate::told;

const COUNT: u64 = 50;

/// A buffer as it is laid out, with its parts in the open.
#[repr(C)]
struct Parts {
    ptr: *const u8,
    len: usize,
    owner: *mut c_void,
    release: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl Parts {
    fn of(buffer: Buffer) -> Self {
        // SAFETY: both are laid out in C's way with the same fields.
        unsafe { transmute(ManuallyDrop::new(buffer)) }
    }

    fn buffer(self) -> Buffer {
        // SAFETY: as above; what is in it is wrong on purpose.
        unsafe { transmute(self) }
    }
}

/// Memory that batches lend without ever owning it.
static LENT: [AtomicU32; 512] = [const { AtomicU32::new(0) }; 512];

unsafe extern "C" fn nothing(_: *mut c_void) {}

unsafe extern "C" fn free(owner: *mut c_void) {
    unsafe extern "C" {
        fn free(memory: *mut c_void);
    }
    // SAFETY: none; the allocator ends the process when it sees it.
    unsafe { free(owner) }
}

unsafe extern "C" fn abort(_: *mut c_void) {
    std::process::abort()
}

/// A page that is taken away when the dataset is dropped, while batches lend it.
#[cfg(target_os = "linux")]
mod page {
    use std::ffi::{c_int, c_long, c_void};

    const BYTES: usize = 4096;

    unsafe extern "C" {
        fn mmap(
            address: *mut c_void,
            bytes: usize,
            protection: c_int,
            flags: c_int,
            file: c_int,
            offset: c_long,
        ) -> *mut c_void;
        fn munmap(address: *mut c_void, bytes: usize) -> c_int;
    }

    pub(super) fn new() -> *mut c_void {
        const READ_WRITE: c_int = 3;
        const PRIVATE_ANONYMOUS: c_int = 0x22;
        // SAFETY: asks for new memory.
        unsafe {
            mmap(
                std::ptr::null_mut(),
                BYTES,
                READ_WRITE,
                PRIVATE_ANONYMOUS,
                -1,
                0,
            )
        }
    }

    pub(super) fn take_away(page: *mut c_void) {
        // SAFETY: none for those who still read it, which is what this is for.
        unsafe { munmap(page, BYTES) };
    }
}

/// The target, which is no condition.
pub(crate) fn target_as_condition() -> BatchColumns {
    let mut parts = Parts::of(Buffer::from_vec(vec![0.25_f32; 2]));
    if told("conditions-abort") {
        parts.release = Some(abort);
    }
    let target = Tensor {
        name: "point".into(),
        dtype: RawDType::F32,
        shape: vec![1, 2].into(),
        data: parts.buffer(),
    };
    BatchColumns {
        tensors: vec![target].into(),
        texts: vec![].into(),
    }
}

/// A picture of 2×2 that is none.
pub(crate) fn picture() -> Tensor {
    let channels = if told("picture-four-channels") { 4 } else { 3 };
    let mut parts = Parts::of(Buffer::from_vec(vec![0_u8; 4 * channels]));
    if told("picture-null") {
        parts.ptr = std::ptr::null();
    }
    if told("picture-abort") {
        parts.release = Some(abort);
    }
    Tensor {
        name: "picture".into(),
        dtype: RawDType::U8,
        shape: vec![2, 2, channels as u64].into(),
        data: parts.buffer(),
    }
}

pub(crate) struct Points {
    page: *mut c_void,
    /// Whether a call has failed.
    has_failed: AtomicBool,
}

// SAFETY: the page is only read.
unsafe impl Send for Points {}
// SAFETY: as above.
unsafe impl Sync for Points {}

impl Points {
    pub(crate) fn new() -> Self {
        for value in &LENT {
            value.store(0.25_f32.to_bits(), Ordering::SeqCst);
        }
        let mut page = std::ptr::null_mut();
        #[cfg(target_os = "linux")]
        if told("lends-and-unmaps") {
            page = page::new();
        }
        Self {
            page,
            has_failed: AtomicBool::new(false),
        }
    }
}

impl Drop for Points {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if !self.page.is_null() {
            page::take_away(self.page);
        }
        if told("lends-and-reuses") {
            for value in &LENT {
                value.store(0.75_f32.to_bits(), Ordering::SeqCst);
            }
        }
    }
}

impl DatasetMethods for Points {
    fn len(&self) -> RResult<u64, AbiError> {
        ROk(COUNT)
    }

    fn columns(&self) -> RResult<RString, AbiError> {
        if told("columns-twice") {
            return ROk(
                r#"[{"name":"point","dtype":"f32","shape":[2],"role":"vector"},
                {"name":"point","dtype":"f32","shape":[2],"role":"vector"}]"#
                    .into(),
            );
        }
        if ["text-abort", "text-not-utf8", "text-offsets", "text-null"]
            .iter()
            .any(|fault| told(fault))
        {
            return ROk(
                r#"[{"name":"point","dtype":"f32","shape":[2],"role":"vector"},
                {"name":"text","dtype":"text","shape":[],"role":"text"}]"#
                    .into(),
            );
        }
        ROk(r#"[{"name":"point","dtype":"f32","shape":[2],"role":"vector"}]"#.into())
    }

    fn batch(
        &self,
        indices: RSlice<'_, u64>,
        _: RSlice<'_, u64>,
        _: bool,
    ) -> RResult<BatchColumns, AbiError> {
        assert!(!told("panic-in-batch"), "told to panic without a guard");
        if let Some(index) = indices.iter().find(|index| **index >= COUNT)
            && !told("any-index")
        {
            self.has_failed.store(true, Ordering::SeqCst);
            return RErr(AbiError {
                code: RawErrorCode::CONTRACT,
                message: format!("there is no sample {index}").into(),
                help: RString::new(),
                detail: RString::new(),
            });
        }
        let count = indices.len();
        let value = match told("remembers-errors") && self.has_failed.load(Ordering::SeqCst) {
            true => 0.75_f32,
            false => 0.25,
        };
        let data = Buffer::from_vec(vec![value; 2 * count]);
        let (mut dtype, mut shape) = (RawDType::F32, vec![count as u64, 2]);
        let not_owned = |ptr: *const u8, len: usize| {
            Parts {
                ptr,
                len,
                owner: std::ptr::null_mut(),
                release: None,
            }
            .buffer()
        };
        let data = if told("null-pointer") {
            not_owned(std::ptr::null(), 8 * count)
        } else if told("no-memory") {
            not_owned(16 as *const u8, 8 * count)
        } else if told("endless-memory") {
            not_owned((&raw const LENT).cast(), usize::MAX - 7)
        } else if told("lends-and-unmaps") {
            not_owned(self.page.cast_const().cast(), 8 * count)
        } else if told("never-released") {
            let mut parts = Parts::of(data);
            parts.release = None;
            parts.buffer()
        } else if told("abort-in-release-of-a-wrong-batch") {
            shape = vec![count as u64, 3];
            let mut parts = Parts::of(data);
            parts.release = Some(abort);
            parts.buffer()
        } else if told("wrong-release") {
            let mut parts = Parts::of(data);
            // Where no allocation can begin: the allocator looks at the address first.
            parts.owner = (&raw const LENT)
                .cast_mut()
                .cast::<u8>()
                .wrapping_add(33)
                .cast();
            parts.release = Some(free);
            parts.buffer()
        } else if told("lends-and-reuses") {
            drop(data);
            let ptr = (&raw const LENT).cast();
            Parts {
                ptr,
                len: 8 * count,
                owner: std::ptr::null_mut(),
                release: Some(nothing),
            }
            .buffer()
        } else if told("misaligned") {
            let bytes = Buffer::from_vec(vec![0_i64; count + 1]);
            let mut parts = Parts::of(bytes);
            // SAFETY: one byte into memory of 8 more.
            (parts.ptr, parts.len) = (unsafe { parts.ptr.add(1) }, 8 * count);
            parts.buffer()
        } else if told("short-buffer") {
            let mut parts = Parts::of(data);
            parts.len = parts.len.saturating_sub(4);
            parts.buffer()
        } else if told("unknown-dtype") {
            dtype = RawDType(99);
            data
        } else if told("shape-overflow") {
            shape = vec![count as u64, u64::MAX];
            data
        } else {
            data
        };
        let (bytes, offsets) = match () {
            () if told("text-not-utf8") => (vec![0xFF; count], (0..=count as i64).collect()),
            () if told("text-offsets") => (vec![b'a'; count], vec![count as i64; count + 1]),
            () => (vec![b'a'; count], (0..=count as i64).collect::<Vec<i64>>()),
        };
        let text = |bytes| {
            vec![TextColumn {
                name: "text".into(),
                bytes,
                offsets: Buffer::from_vec(offsets),
            }]
        };
        let texts = if told("text-not-utf8") || told("text-offsets") {
            text(Buffer::from_vec(bytes))
        } else if told("text-abort") {
            let mut parts = Parts::of(Buffer::from_vec(bytes));
            parts.release = Some(abort);
            text(parts.buffer())
        } else if told("text-null") {
            text(not_owned(std::ptr::null(), count))
        } else {
            vec![]
        };
        ROk(BatchColumns {
            tensors: vec![Tensor {
                name: "point".into(),
                dtype,
                shape: shape.into(),
                data,
            }]
            .into(),
            texts: texts.into(),
        })
    }
}
