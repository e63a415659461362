//! A plugin's self-test, from the host's side.

use std::sync::Arc;

use dsl_abi::self_test::SelfTestInterface;

use crate::{HostCallbacks, LoaderError, call::Caller, host, in_call::Label};

/// What a plugin does on demand, so that a check sees what a host would see. `[any thread]`
pub struct SelfTest {
    caller: Caller,
    callbacks: Arc<dyn HostCallbacks>,
    interface: &'static SelfTestInterface,
    nothing: &'static Label,
}

impl SelfTest {
    pub(crate) fn new(
        caller: Caller,
        callbacks: Arc<dyn HostCallbacks>,
        interface: &'static SelfTestInterface,
    ) -> Self {
        Self {
            nothing: caller.label("self-test `nothing`"),
            caller,
            callbacks,
            interface,
        }
    }

    /// Makes the plugin panic with `message`, and gives the error that comes back.
    pub fn panic(&self, message: &str) -> LoaderError {
        let call = "self-test `panic`";
        let outcome = self
            .caller
            .call(call, || (self.interface.panic)(message.into()));
        outcome.err().unwrap_or_else(|| {
            self.caller
                .contract(call, "an error of the code panic", "a success")
        })
    }

    /// Makes the plugin log `message` as information, with the field `number` of 7.
    ///
    /// # Errors
    /// An error of the plugin.
    pub fn log(&self, message: &str) -> Result<(), LoaderError> {
        let host = host::object(&self.caller.plugin, &self.callbacks);
        self.caller.call("self-test `log`", || {
            (self.interface.log)(host, message.into())
        })
    }

    /// Goes into the plugin and back, past a log event of the level trace: what every call costs.
    ///
    /// # Errors
    /// An error of the plugin.
    pub fn nothing(&self) -> Result<(), LoaderError> {
        self.caller
            .call_as(self.nothing, "self-test `nothing`", || {
                (self.interface.nothing)()
            })
    }
}

impl std::fmt::Debug for SelfTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfTest")
            .field("plugin", &self.caller.plugin)
            .finish_non_exhaustive()
    }
}
