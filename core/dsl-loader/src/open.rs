//! Loads a library and checks its root module.

use std::path::Path;

use dsl_abi::{
    PluginRef,
    abi_stable::library::{AbiHeaderRef, ROOT_MODULE_LOADER_NAME_WITH_NUL},
};

use crate::LoaderError;

/// Loads the library at a canonical path and gives its root module. The library stays loaded until the process ends.
pub(crate) fn root_module(path: &Path) -> Result<PluginRef, LoaderError> {
    let load_failed = |error: libloading::Error| LoaderError::LoadFailed {
        path: path.to_owned(),
        reason: std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string),
    };
    // SAFETY: loading runs initialisers of the library, which is what the user asked for by naming it; nothing weaker
    // can be said of native code.
    #[cfg(unix)]
    let library = unsafe {
        use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
        // NOW: a symbol that is missing fails here, not in the middle of a run. LOCAL: two plugins never see each
        // other's symbols.
        libloading::Library::from(
            Library::open(Some(path), RTLD_NOW | RTLD_LOCAL).map_err(load_failed)?,
        )
    };
    // SAFETY: as above.
    #[cfg(not(unix))]
    let library = unsafe { libloading::Library::new(path).map_err(load_failed)? };

    // SAFETY: the symbol is abi_stable's own, and `upgrade` checks the magic text and the version that it begins with.
    let header =
        unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
            .map(|header| *header);
    // Its thread-locals and its static data outlive every handle. Forgotten before the errors below, which may hold
    // references into it.
    std::mem::forget(library);
    let header = header.map_err(|_| LoaderError::NotAPlugin {
        path: path.to_owned(),
        found: "it is a library that does not export the entry point of a plugin".to_owned(),
        help: "a plugin is built with `dsl_sdk::export_plugin!`".to_owned(),
    })?;
    let other_abi = |error: dsl_abi::abi_stable::library::LibraryError| {
        let report = error.to_string();
        LoaderError::OtherAbi {
            path: path.to_owned(),
            reason: short_reason(&report),
            detail: report,
        }
    };
    // `init_root_module` on this header, and not the cached loading functions of abi_stable: they keep one module for
    // each type, so that a second plugin would silently be the first.
    header
        .upgrade()
        .map_err(other_abi)?
        .init_root_module::<PluginRef>()
        .map_err(other_abi)
}

/// The last finding of a layout report, on one line. Reports have hundreds of lines; the last finding is the innermost.
pub(crate) fn short_reason(report: &str) -> String {
    const MAX_CHARS: usize = 200;
    let lines: Vec<&str> = report
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let finding = lines.iter().rposition(|line| line.starts_with("Error:"));
    let words = lines[finding.unwrap_or(0)..]
        .iter()
        .take(if finding.is_some() { 12 } else { 3 });
    let text = words
        .copied()
        .collect::<Vec<_>>()
        .join(" ")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let mut short: String = text.chars().take(MAX_CHARS).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
