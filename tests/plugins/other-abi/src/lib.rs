//! A plugin whose `dsl.task/1` is laid out as no version ever was: a host must refuse it before calling anything in it.

use abi_stable::{
    StableAbi,
    library::LibHeader,
    std_types::{RNone, ROption, RSome, RStr, RString},
};
use dsl_abi::{
    Extension,
    root::{Entry, header},
    task::TASK_V1,
};

/// Another interface under the known id.
#[repr(C)]
#[derive(StableAbi)]
pub struct TaskInterface {
    /// Takes an argument that the real one does not take.
    pub config_schema: extern "C" fn(language: u32) -> RString,
}

extern "C" fn config_schema(_: u32) -> RString {
    // A host that calls this has skipped its check.
    std::process::abort()
}

struct OtherAbi;

impl Entry for OtherAbi {
    extern "C" fn manifest() -> RString {
        r#"{"id":"other-abi","name":"Other ABI","description":"Never loads","version":"0.0.1","extensions":["dsl.task/1"]}"#
            .into()
    }

    extern "C" fn extension(id: RStr<'_>) -> ROption<Extension> {
        static TASK: TaskInterface = TaskInterface { config_schema };
        if id.as_str() == TASK_V1 {
            RSome(Extension::new(&TASK))
        } else {
            RNone
        }
    }
}

/// The entry symbol.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static _1as_0lib_1header_0root_bmodule_bloader: LibHeader = header::<OtherAbi>();
