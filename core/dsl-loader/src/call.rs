//! Results of plugin calls, turned into the host's errors.

use std::{
    fmt::Display,
    mem::ManuallyDrop,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use dsl_abi::{
    AbiError,
    abi_stable::std_types::{RErr, ROk, RResult, RString},
};
use serde::de::DeserializeOwned;

use crate::{
    ErrorCode, LoaderError,
    in_call::{Label, enter, label},
};

/// Who is called: puts the plugin's name and the call into every error.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) plugin: Arc<str>,
}

impl Caller {
    /// Names a call for messages about calls that do not come back.
    pub(crate) fn label(&self, call: impl Display) -> &'static Label {
        label(&self.plugin, &call.to_string())
    }

    /// Makes a call. What the plugin allocated is released by code of the plugin: `body` turns it into the host's own, or
    /// into something [`Held`].
    pub(crate) fn call<T>(
        &self,
        call: impl Display,
        body: impl FnOnce() -> RResult<T, AbiError>,
    ) -> Result<T, LoaderError> {
        let label = self.label(&call);
        self.call_as(label, call, body)
    }

    /// Makes one of very many calls, whose errors have a longer name than its label.
    pub(crate) fn call_as<T>(
        &self,
        label: &'static Label,
        call: impl Display,
        body: impl FnOnce() -> RResult<T, AbiError>,
    ) -> Result<T, LoaderError> {
        // Until the end of the error, whose texts are the plugin's.
        let _entered = enter(label);
        match body() {
            ROk(value) => Ok(value),
            RErr(error) => Err(LoaderError::Plugin {
                plugin: self.plugin.to_string(),
                call: call.to_string(),
                code: ErrorCode::from_raw(error.code),
                message: error.message.into(),
                help: error.help.as_str().into(),
                detail: error.detail.as_str().into(),
            }),
        }
    }

    /// Makes a call that answers with JSON.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        call: impl Display,
        expected: &str,
        body: impl FnOnce() -> RResult<RString, AbiError>,
    ) -> Result<T, LoaderError> {
        let text = self.call(&call, || body().map(String::from))?;
        self.read(call, expected, &text)
    }

    /// Reads JSON that a call answered with.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        call: impl Display,
        expected: &str,
        text: &str,
    ) -> Result<T, LoaderError> {
        serde_json::from_str(text)
            .map_err(|error| self.contract(call, expected, format!("something else: {error}")))
    }

    pub(crate) fn contract(
        &self,
        call: impl Display,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> LoaderError {
        LoaderError::Contract {
            plugin: self.plugin.to_string(),
            call: call.to_string(),
            expected: expected.into(),
            found: found.into(),
        }
    }
}

/// An object of the plugin: dropping it is a call as well.
pub(crate) struct Held<T> {
    object: ManuallyDrop<T>,
    label: &'static Label,
}

impl<T> Held<T> {
    pub(crate) fn new(caller: &Caller, what: impl Display, object: T) -> Self {
        Self::labelled(caller.label(format_args!("release of {what}")), object)
    }

    pub(crate) const fn labelled(label: &'static Label, object: T) -> Self {
        Self {
            object: ManuallyDrop::new(object),
            label,
        }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let _entered = enter(self.label);
        // SAFETY: this runs once, and nobody sees the object afterwards.
        unsafe { ManuallyDrop::drop(&mut self.object) }
    }
}
