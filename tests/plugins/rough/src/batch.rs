//! Batches whose memory is not what it should be.

use std::{
    ffi::c_void,
    mem::{ManuallyDrop, transmute},
    sync::atomic::{AtomicU32, Ordering},
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

pub(crate) struct Points;

impl Points {
    pub(crate) fn new() -> Self {
        for value in &LENT {
            value.store(0.25_f32.to_bits(), Ordering::SeqCst);
        }
        Self
    }
}

impl Drop for Points {
    fn drop(&mut self) {
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
        if told("text") || told("text-not-utf8") || told("text-offsets") {
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
            return RErr(AbiError {
                code: RawErrorCode::CONTRACT,
                message: format!("there is no sample {index}").into(),
                help: RString::new(),
                detail: RString::new(),
            });
        }
        let count = indices.len();
        let data = Buffer::from_vec(vec![0.25_f32; 2 * count]);
        let (mut dtype, mut shape) = (RawDType::F32, vec![count as u64, 2]);
        let data = if told("null-pointer") {
            drop(data);
            Parts {
                ptr: 16 as *const u8,
                len: 8 * count,
                owner: std::ptr::null_mut(),
                release: None,
            }
            .buffer()
        } else if told("wrong-release") {
            let mut parts = Parts::of(data);
            parts.owner = (&raw const LENT).cast_mut().cast();
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
        let texts = if told("text-not-utf8") || told("text-offsets") {
            vec![TextColumn {
                name: "text".into(),
                bytes: Buffer::from_vec(bytes),
                offsets: Buffer::from_vec(offsets),
            }]
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
