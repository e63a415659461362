//! Manifest and interfaces.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use dsl_abi::{
    AbiError, BatchColumns, BatchView, Extension, RawErrorCode, Tensor,
    abi_stable::{
        library::LibHeader,
        sabi_trait::TD_Opaque,
        std_types::{RErr, RNone, ROk, ROption, RResult, RSome, RStr, RString},
    },
    host::HostObject,
    root::{Entry, header},
    self_test::{SELF_TEST_V1, SelfTestInterface},
    task::{
        DatasetMethods_TO, DatasetObject, EvaluatorObject, TASK_V1, TaskInterface, TaskMethods,
        TaskMethods_TO, TaskObject,
    },
};

use crate::{
    batch::{self, Points},
    told,
};

struct Rough;

const MANIFEST: &str = r#"{"id":"rough","name":"Rough","description":"Wrong below the SDK","version":"0.1.0","license":"MIT",
    "authors":"Nobody","sdk":"none","rustc":"rustc","target":"some","panic_strategy":"unwind","extensions":["dsl.task/1"]}"#;

impl Entry for Rough {
    extern "C" fn manifest() -> RString {
        assert!(!told("panic-in-manifest"), "told to panic in the manifest");
        if told("slow-manifest") {
            thread::sleep(Duration::from_millis(300));
        }
        if told("manifest-no-json") {
            return "id: rough".into();
        }
        if told("manifest-id") {
            return MANIFEST.replace("\"rough\"", "\"../rough\"").into();
        }
        if told("manifest-incomplete") {
            return r#"{"id":"rough","name":"Rough","description":"","version":"0.1.0","extensions":["dsl.task/1"]}"#.into();
        }
        if told("panic-abort") {
            return MANIFEST.replace("\"unwind\"", "\"abort\"").into();
        }
        if told("manifest-changes") {
            static TIMES: AtomicU64 = AtomicU64::new(0);
            let version = format!("0.1.{}", TIMES.fetch_add(1, Ordering::SeqCst));
            return MANIFEST.replace("0.1.0", &version).into();
        }
        if told("manifest-lists-more") {
            return MANIFEST
                .replace("[\"dsl.task/1\"", "[\"dsl.task/1\", \"dsl.assets/1\"")
                .into();
        }
        MANIFEST.into()
    }

    extern "C" fn extension(id: RStr<'_>) -> ROption<Extension> {
        static TASK: TaskInterface = TaskInterface {
            config_schema,
            default_config,
            host_defaults,
            open,
        };
        static SELF_TEST: SelfTestInterface = SelfTestInterface {
            panic: self_test_panic,
            log: self_test_log,
            nothing: self_test_nothing,
        };
        if id.as_str() == SELF_TEST_V1 && told("self-test-lies") {
            return RSome(Extension::new(&SELF_TEST));
        }
        if id.as_str() == TASK_V1
            || told("offers-everything")
                && !["dsl.assets/1", "dsl.buckets/1"].contains(&id.as_str())
        {
            RSome(Extension::new(&TASK))
        } else {
            RNone
        }
    }
}

extern "C" fn self_test_panic(_: RStr<'_>) -> RResult<(), AbiError> {
    RErr(error(RawErrorCode::PANIC, "something panicked somewhere"))
}

extern "C" fn self_test_log(_: HostObject, _: RStr<'_>) -> RResult<(), AbiError> {
    ROk(())
}

extern "C" fn self_test_nothing() -> RResult<(), AbiError> {
    ROk(())
}

extern "C" fn config_schema() -> RResult<RString, AbiError> {
    if told("schema-no-schema") {
        return ROk(r#"{"type": "objekt"}"#.into());
    }
    if told("accepts-anything") {
        return ROk(r#"{"type": "object"}"#.into());
    }
    if told("names-no-key") {
        return ROk(r#"{"type": "object", "properties": {"some": {"type": "integer"}}}"#.into());
    }
    ROk(r#"{"type": "object", "properties": {}, "additionalProperties": false}"#.into())
}

extern "C" fn default_config() -> RResult<RString, AbiError> {
    if told("default-no-fit") || told("names-no-key") {
        return ROk(r#"{"some": 1}"#.into());
    }
    ROk("{}".into())
}

extern "C" fn host_defaults() -> RResult<RString, AbiError> {
    if told("host-defaults-list") {
        return ROk("[]".into());
    }
    ROk("{}".into())
}

fn error(code: RawErrorCode, message: &str) -> AbiError {
    AbiError {
        code,
        message: message.into(),
        help: RString::new(),
        detail: RString::new(),
    }
}

extern "C" fn open(config: RStr<'_>, _: HostObject) -> RResult<TaskObject, AbiError> {
    if told("names-no-key") && config.as_str() != r#"{"some":1}"# {
        return RErr(error(RawErrorCode::CONFIG, "that will not do"));
    }
    if told("abort-at-exit") || told("hang-at-exit") {
        unsafe extern "C" {
            fn atexit(call: extern "C" fn()) -> std::ffi::c_int;
        }
        // SAFETY: the library stays loaded, and the function with it.
        unsafe { atexit(at_exit) };
    }
    if config.as_str() != "{}"
        && !["accepts-anything", "default-no-fit", "names-no-key"]
            .map(told)
            .contains(&true)
    {
        return RErr(error(
            RawErrorCode::CONFIG,
            "expected no keys below `task`, not even `no_such_key_as_this`",
        ));
    }
    ROk(TaskMethods_TO::from_value(Task, TD_Opaque))
}

struct Task;

impl TaskMethods for Task {
    fn describe(&self) -> RResult<RString, AbiError> {
        if told("describe-no-json") {
            return ROk("point".into());
        }
        ROk(r#"{"target":"point","injections":[],"sample_prompts":[]}"#.into())
    }

    fn splits(&self) -> RResult<RString, AbiError> {
        ROk(r#"["train"]"#.into())
    }

    fn dataset(&self, split: RStr<'_>) -> RResult<DatasetObject, AbiError> {
        if split.as_str() != "train" {
            return RErr(error(
                RawErrorCode::UNSUPPORTED,
                &format!("there is no split `{split}`"),
            ));
        }
        ROk(DatasetMethods_TO::from_value(Points::new(), TD_Opaque))
    }

    fn evaluator(&self) -> RResult<ROption<EvaluatorObject>, AbiError> {
        ROk(RNone)
    }

    fn conditions(&self, inputs: RStr<'_>) -> RResult<BatchColumns, AbiError> {
        if ["conditions-target", "conditions-abort"].map(told) == [false; 2] {
            return RErr(error(RawErrorCode::UNSUPPORTED, "there are no inputs"));
        }
        if inputs.as_str() != "{}" {
            return RErr(error(RawErrorCode::CONFIG, "expected no keys"));
        }
        ROk(batch::target_as_condition())
    }

    fn picture(&self, _: &BatchView<'_>) -> RResult<ROption<Tensor>, AbiError> {
        let wrong = ["picture-four-channels", "picture-null", "picture-abort"];
        match wrong.map(told).contains(&true) {
            true => ROk(RSome(batch::picture())),
            false => ROk(RNone),
        }
    }
}

extern "C" fn at_exit() {
    match told("hang-at-exit") {
        true => thread::sleep(Duration::from_secs(1_000_000)),
        false => std::process::abort(),
    }
}

/// Runs when the library is loaded.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    if told("exit-at-load") {
        std::process::exit(0);
    }
}

/// The entry symbol.
#[allow(non_upper_case_globals)]
#[unsafe(no_mangle)]
pub static _1as_0lib_1header_0root_bmodule_bloader: LibHeader = header::<Rough>();
