//! Panics end here: a panic that crossed the boundary would end the host's process.

use std::{
    any::Any,
    backtrace::Backtrace,
    cell::{Cell, RefCell},
    ops::{Deref, DerefMut},
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::{Mutex, Once},
};

use dsl_abi::{
    AbiError,
    abi_stable::std_types::{RErr, ROk, RResult},
};

use crate::{ErrorCode, PluginError};

struct Report {
    message: String,
    location: String,
    backtrace: String,
}

thread_local! {
    /// How many guarded calls stand on this thread's stack.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The last panic of this thread.
    static LAST: RefCell<Option<Report>> = const { RefCell::new(None) };
}

/// The last panic of a thread that the plugin started itself: its payload may be carried to a guarded thread (a thread
/// pool does so), but the hook runs where the panic began.
static ELSEWHERE: Mutex<Option<Report>> = Mutex::new(None);

/// Runs the body of an entry point; a panic in it becomes an error.
pub(crate) fn guard<T>(body: impl FnOnce() -> Result<T, PluginError>) -> RResult<T, AbiError> {
    match catch(body) {
        Ok(value) => ROk(value),
        Err(error) => RErr(error.into()),
    }
}

pub(crate) fn catch<T>(body: impl FnOnce() -> Result<T, PluginError>) -> Result<T, PluginError> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    install_hook();
    DEPTH.set(DEPTH.get() + 1);
    let leave = Leave;
    // A guarded call may stand inside the unwinding of another, which is told later.
    let before = LAST.take();
    let outcome = panic::catch_unwind(AssertUnwindSafe(body));
    drop(leave);
    let outcome = outcome.unwrap_or_else(|payload| Err(describe(payload)));
    LAST.set(before);
    outcome
}

fn describe(payload: Box<dyn Any + Send>) -> PluginError {
    let message = message_of(&*payload);
    // Dropping the payload runs code of the plugin, which may panic again.
    std::mem::forget(payload);
    // A payload that is thrown again passes no hook: the last panic may be another one, which the author has caught.
    let last = LAST.take().filter(|report| report.message == message);
    let report = last.or_else(|| {
        let mut elsewhere = ELSEWHERE
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        elsewhere.take_if(|report| report.message == message)
    });
    let (location, backtrace) = report.map_or_else(Default::default, |report| {
        (format!(" at {}", report.location), report.backtrace)
    });
    PluginError::new(
        ErrorCode::Panic,
        format!("the plugin panicked{location}: {message}"),
    )
    .with_help("this is a mistake in the plugin; tell its authors, with the detail")
    .with_detail(backtrace)
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    (payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned()))
    .or_else(|| payload.downcast_ref::<String>().cloned())
    .unwrap_or_else(|| "a payload that is not text".to_owned())
}

/// Keeps message, location and backtrace, which `catch_unwind` does not tell. A library's hook is its own: the host's
/// stays as it is. Outside guarded calls the hook that stood before does its work.
fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let report = Report {
                message: message_of(info.payload()),
                location: info
                    .location()
                    .map_or_else(|| "an unknown place".into(), ToString::to_string),
                backtrace: Backtrace::force_capture().to_string(),
            };
            if DEPTH.get() > 0 {
                LAST.set(Some(report));
            } else {
                *ELSEWHERE
                    .lock()
                    .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(report);
                before(info);
            }
        }));
    });
}

/// A value of the plugin that the host drops: a panic in its `drop` is caught as well.
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("only `drop` takes the value")
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("only `drop` takes the value")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        let dropped = catch(|| {
            drop(value);
            Ok(())
        });
        if let Err(error) = dropped {
            tracing::error!(
                "while dropping a {}: {}",
                std::any::type_name::<T>(),
                error.message
            );
        }
    }
}
