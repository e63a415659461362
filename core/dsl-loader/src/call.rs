//! Results of plugin calls, turned into the host's errors.

use std::{fmt::Display, sync::Arc};

use dsl_abi::{
    AbiError,
    abi_stable::std_types::{RErr, ROk, RResult, RString},
};
use serde::de::DeserializeOwned;

use crate::{ErrorCode, LoaderError};

/// Who is called: puts the plugin's name and the call into every error.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) plugin: Arc<str>,
}

impl Caller {
    pub(crate) fn check<T>(
        &self,
        call: impl Display,
        result: RResult<T, AbiError>,
    ) -> Result<T, LoaderError> {
        match result {
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

    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        call: impl Display,
        expected: &str,
        result: RResult<RString, AbiError>,
    ) -> Result<T, LoaderError> {
        let text = self.check(&call, result)?;
        serde_json::from_str(&text)
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
